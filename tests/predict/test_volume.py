"""One file in, one file out: grids, units, formats and refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import luxvox
from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.data.normalize import measure_intensity, normalize
from luxvox.models.dense import (
    ClassifyConfig,
    DenseConfig,
    DenseModel,
    RestoreConfig,
    SegmentConfig,
)
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.image import predict_image
from luxvox.predict.task_weights import TaskConfig, TaskWeights, save_task
from luxvox.predict.volume import predict_volume, save_result

SIZE = (4.0, 1.5, 1.5)
HEADS = {
    "segment": SegmentConfig(), "labels": SegmentConfig(classes=3), "restore": RestoreConfig(),
    "classify": ClassifyConfig(classes=2),
}  # fmt: skip


@pytest.fixture(scope="module")
def weights() -> TaskWeights:
    torch.manual_seed(0)
    config = DenseConfig(channels=(4, 8, 16), depths=2, text_dim=8, condition_width=4, heads=HEADS)
    model = DenseModel(EncoderConfig(width=24, depth=2, heads=2), config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    task = TaskConfig(task="segment", head="segment", structure="dots", tile=(16, 16, 16))
    return TaskWeights(model, task, "toy")


def with_task(weights: TaskWeights, **changes: object) -> TaskWeights:
    return replace(weights, task=weights.task.model_copy(update=changes))


def written_run(folder: Path, weights: TaskWeights, **changes: object) -> str:
    task = weights.task.model_copy(update=changes)
    save_task(folder / "weights", weights.model, task, {}, "card", torch.zeros(1, 8))
    return str(folder)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    image = np.random.default_rng(0).poisson(80.0, (18, 24, 30)).astype(np.uint16)
    image[5:9, 6:12, 8:14] += 400
    return luxvox.save_volume(image, tmp_path / "in.ome.zarr", voxel_size_um=SIZE)


def test_labels_are_the_thresholded_probabilities_of_the_normalised_volume(weights, path):
    volume = luxvox.open_volume(path)
    probability = predict_volume(weights, volume, probabilities=True)
    image = normalize(volume.read()[0], measure_intensity(volume))
    assert np.allclose(probability, predict_image(weights, image, SIZE)[0])
    middle = float(np.median(probability))
    found = predict_volume(weights, volume, threshold=middle)
    assert found.dtype == np.uint8
    assert np.array_equal(found, probability > middle)
    calibrated = with_task(weights, threshold=middle)
    assert np.array_equal(found, predict_volume(calibrated, volume))


def test_several_labels_come_out_as_the_values_that_went_in(weights, path):
    several = with_task(
        weights, head="labels", classes=("none", "a", "b"), label_values=(0, 300, 7)
    )
    volume = luxvox.open_volume(path)
    found = predict_volume(several, volume)
    probability = predict_volume(several, volume, probabilities=True)
    assert found.dtype == np.uint16
    assert np.array_equal(found, np.array([0, 300, 7])[probability.argmax(0)])
    with pytest.raises(InputError, match="--instances does not fit several classes"):
        predict_volume(several, volume, instances=True)


def test_restored_images_have_the_intensities_of_the_volume(weights, path):
    restore = with_task(weights, task="restore", head="restore")
    head = weights.model.heads["restore"]
    kept = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()  # the residual is nothing: what comes out went in
    volume = luxvox.open_volume(path)
    restored = predict_volume(restore, volume)
    head.load_state_dict(kept)
    assert restored.dtype == np.float32
    assert np.allclose(restored, volume.read()[0], rtol=1e-4, atol=1e-2)
    assert not np.allclose(restored, predict_volume(restore, volume), rtol=1e-2)


def test_instances_number_the_same_foreground(weights, path):
    volume = luxvox.open_volume(path)
    objects = predict_volume(weights, volume, instances=True)
    assert objects.dtype == np.uint32
    assert np.array_equal(objects > 0, predict_volume(weights, volume) > 0)


@pytest.mark.parametrize(
    "name", ["out.ome.zarr", "out.ome.tif", "out.nii.gz", "in.ome.zarr/labels/dots"]
)
def test_the_grid_and_the_voxel_size_are_kept(weights, path, tmp_path, name, capsys):
    run, out = written_run(tmp_path / "run", weights), tmp_path / name
    assert run_command(["predict", run, str(path), str(out)]) == 0
    assert "% of the voxels are foreground" in capsys.readouterr().out
    back = luxvox.open_volume(out)
    assert back.shape == (18, 24, 30)
    assert back.voxel_size_um == SIZE
    assert np.array_equal(back.read()[0], predict_volume(weights, luxvox.open_volume(path)))
    # A second time it stands there already, and that is said before any work.
    assert run_command(["predict", run, str(path), str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run_command(["predict", run, str(path), str(out), "--overwrite"]) == 0


def test_channels_are_chosen(weights, tmp_path):
    image = np.random.default_rng(0).poisson(80.0, (2, 16, 16, 16)).astype(np.uint16)
    path = luxvox.save_volume(
        image, tmp_path / "two.ome.zarr", voxel_size_um=None, axes="czyx", channel_names=["a", "b"]
    )
    with pytest.raises(InputError, match=r"2 channels \(0 'a', 1 'b'\).*--channel"):
        predict_volume(weights, luxvox.open_volume(path))
    run = written_run(tmp_path / "run", weights)
    out = tmp_path / "out.ome.tif"
    assert run_command(["predict", run, str(path), str(out), "--channel", "b"]) == 0
    wanted = predict_volume(weights, luxvox.open_volume(path, channel=1))
    assert np.array_equal(luxvox.open_volume(out).read()[0], wanted)


def test_what_does_not_fit_is_one_line_and_exit_code_2(weights, path, tmp_path, capsys):
    run = written_run(tmp_path / "run", weights)
    restore = written_run(tmp_path / "restore", weights, task="restore", head="restore")
    classify = written_run(
        tmp_path / "classify", weights, task="classify", head="classify", classes=("a", "b")
    )
    out = str(tmp_path / "out.ome.zarr")
    for words, expected in (
        ([run, str(path), out, "--task", "restore"], "fine-tuned for task 'segment'"),
        ([restore, str(path), out, "--threshold", "0.3"], "--threshold does not fit"),
        ([run, str(path), out, "--threshold", "3"], "expected 0 to 1"),
        ([run, str(path), out, "--probabilities", "--instances"], "choose one"),
        ([classify, str(path), out, "--threshold", "0.3"], "--threshold does not fit"),
        ([classify, str(path), out.replace("zarr", "nii")], "only OME-Zarr and OME-TIFF"),
        (
            [run, str(path), str(tmp_path / "out.png")],
            "expected a name in .ome.zarr, .ome.tif or .nii.gz",
        ),
        ([run, str(path), str(path)], "over its own source"),
        ([run, str(path), str(tmp_path / "none.zarr" / "labels" / "x")], "no Zarr store"),
        (["nowhere", str(path), out], "no weights of that name"),
        ([run, str(tmp_path / "no.tif"), out], "no such file"),
        ([restore, str(path), f"{path}/labels/x"], "expected labels in that place"),
    ):
        assert run_command(["predict", *words]) == 2, words
        shown = capsys.readouterr().err
        assert expected in shown
        assert shown.count("error: ") == 1
    assert not Path(out).exists()


def test_too_little_memory_is_said_before_reading(weights, path, monkeypatch):
    monkeypatch.setattr("luxvox.predict.memory.free_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"18 x 24 x 30 voxels: needs about .* GiB of memory"):
        predict_volume(weights, luxvox.open_volume(path))


def test_far_voxel_sizes_are_warned_of_in_one_line(weights, path, capsys):
    predict_volume(with_task(weights, voxel_size_um=(1.0, 0.1, 0.1)), luxvox.open_volume(path))
    note, warning = capsys.readouterr().err.splitlines()
    assert note.startswith("note: ")
    assert "read as 1 x 0.375 x 0.375 um (level 0, resampled)" in note  # never over 4 times finer
    assert warning.startswith("warning: ")
    assert "coarser along y, x" in warning


def test_results_without_a_voxel_size_can_be_written(tmp_path):
    out = save_result(np.ones((2, 4, 8, 8), np.float32), tmp_path / "p.ome.zarr", None)
    assert luxvox.open_volume(out).num_channels == 2
    assert luxvox.open_volume(out).voxel_size_um is None
