"""Evaluation: numbers are those of the metrics, in every format; the support is marked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
import torch

import luxvox
from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.data.manifest import read_dataset
from luxvox.data.open import open_volume
from luxvox.data.save import save_labels, save_volume
from luxvox.finetune import evaluate as module
from luxvox.finetune.evaluate import evaluate
from luxvox.finetune.examples import load_example
from luxvox.models.dense import (
    ClassifyConfig,
    DenseConfig,
    DenseModel,
    RestoreConfig,
    SegmentConfig,
)
from luxvox.models.metrics.restoration import restoration_metrics
from luxvox.models.metrics.segmentation import segmentation_metrics
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.image import classify_image, predict_image
from luxvox.predict.task_weights import TaskConfig, load_task, save_task

HEADS = {
    "segment": SegmentConfig(), "labels": SegmentConfig(classes=3), "restore": RestoreConfig(),
    "classify": ClassifyConfig(classes=2),
}  # fmt: skip
KEYS = {"dice", "cldice", "nsd", "object_f1", "panoptic_quality"}


@pytest.fixture
def make_run(tmp_path: Path):
    """A RUN whose model has learnt nothing: its answers are odd, and differ from voxel to voxel."""

    def made(name: str = "run", support: tuple[str, ...] = (), **task: Any) -> Path:
        torch.manual_seed(0)
        config = DenseConfig(
            channels=(4, 8, 16), depths=2, text_dim=8, condition_width=4, heads=HEADS
        )
        model = DenseModel(EncoderConfig(width=24, depth=2, heads=2), config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        known = {"task": "segment", "head": "segment", "tile": (16, 24, 24), **task}
        save_task(tmp_path / name / "weights", model, TaskConfig(**known), {}, "card")
        groups = [f"g{identity[1:]}" for identity in support]
        metrics = {"support": list(support), "support_groups": groups}
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
        return tmp_path / name

    return made


def test_samples_and_means_are_those_of_the_metrics(
    make_run, labelled_row, write_list, tmp_path
) -> None:
    run, listing = make_run(), write_list([labelled_row(n) for n in range(3)])
    result = evaluate(run, listing, tmp_path / "out" / "a.json")
    assert result == json.loads((tmp_path / "out" / "a.json").read_text())
    weights = load_task(run)
    for sample, row in zip(result["samples"], read_dataset(listing).rows, strict=True):
        example = load_example(row, "segment")
        found = predict_image(weights, example.image, example.voxel_size_um)[0] > 0.5
        assert example.labels is not None
        wanted = segmentation_metrics(found, example.labels, example.voxel_size_um, example.counts)
        assert wanted.keys() >= KEYS
        assert {name: sample[name] for name in wanted} == pytest.approx(wanted)
        assert sample["id"] == row.id
    for name in KEYS:
        held = [sample[name] for sample in result["samples"]]
        assert result["mean"][name] == pytest.approx(np.mean(held))
    assert len({sample["dice"] for sample in result["samples"]}) == 3
    html = (tmp_path / "out" / "a.html").read_text()
    assert html.count("data:image/png") == 2  # light and dark
    assert "Best, median, worst" in html
    assert "http" not in html


@pytest.mark.parametrize("task", ["segment", "restore"])
def test_other_voxels_are_resampled_as_predict_does(
    make_run, labelled_row, write_list, write, balls, capsys, task: str
) -> None:
    from luxvox.data.manifest import open_row
    from luxvox.models.metrics.objects import object_metrics
    from luxvox.models.metrics.restoration import restoration_metrics
    from luxvox.predict.volume import predict_volume

    row = labelled_row(1, target=write("target", balls(1)[0] // 2))
    fine = {"voxel_size_um": (2.0, 0.4, 0.4), "task": task, "head": task}  # the row's are 1 across
    run, listing = make_run(task, **fine), write_list([row])
    sample = evaluate(run, listing)["samples"][0]
    assert "resampled" in capsys.readouterr().err
    volume = open_row(row)
    found = predict_volume(load_task(run), volume)
    example = load_example(row, task)
    if task == "segment":
        wanted = segmentation_metrics(found > 0, example.labels, example.voxel_size_um, None)
        assert sample["dice"] == pytest.approx(wanted["dice"])
        objects = predict_volume(load_task(run), volume, instances=True)
        numbered = object_metrics(objects, example.instances)
        assert sample["numbered_object_f1"] == pytest.approx(numbered["object_f1"])
    else:
        wanted = restoration_metrics(found, open_volume(row.target).read()[0].astype(float))
        assert sample["psnr"] == pytest.approx(wanted["psnr"], abs=1e-3)
    plain = make_run("plain", **{**fine, "voxel_size_um": None})
    key = "dice" if task == "segment" else "psnr"
    assert evaluate(plain, listing)["samples"][0][key] != pytest.approx(sample[key])


def test_what_was_learnt_from_is_marked_and_left_out_of_a_second_mean(
    make_run, labelled_row, write_list
) -> None:
    rows = [labelled_row(n) for n in range(3)]
    rows[2] = replace(rows[2], group="g0")  # the animal of the first
    result = evaluate(make_run(support=("v0",)), write_list(rows))
    assert [sample["in_support"] for sample in result["samples"]] == [True, False, False]
    assert [sample["group_in_support"] for sample in result["samples"]] == [True, False, True]
    held = [sample["dice"] for sample in result["samples"]]
    assert result["mean"]["dice"] == pytest.approx(np.mean(held))
    assert result["mean_without_support"]["dice"] == pytest.approx(np.mean(held[1:]))
    assert result["mean_other_groups"]["dice"] == pytest.approx(held[1])
    assert any("learnt from" in note for note in result["notes"])
    none = evaluate(make_run("other"), write_list(rows))
    assert "mean_without_support" not in none


def test_ignored_voxels_change_nothing(make_run, labelled_row, write_list, write, balls) -> None:
    run = make_run()
    _, labels = balls(0)
    other = labels.copy()
    labels[:, :8], other[:, :8] = 9, 9
    path = write("ignored", labels)
    row = labelled_row(0, labels=path)
    listing = write_list([row])
    text = listing.read_text().replace("structure\n", "structure,ignore_label\n")
    listing.write_text(text.replace("nuclei\n", "nuclei,9\n"))
    first = evaluate(run, listing)
    assert first["samples"][0]["dice"] < 1
    # Other ignored values where nothing counts: the same score.
    other[:, :8] = 8
    save_volume(other, path, voxel_size_um=(2.0, 1.0, 1.0), overwrite=True)
    listing.write_text(listing.read_text().replace("nuclei,9\n", "nuclei,8 9\n"))
    assert evaluate(run, listing)["samples"] == first["samples"]


def test_a_row_of_which_nothing_counts_is_not_perfect(make_run, labelled_row, write) -> None:
    ignored = write("ignored", np.full((20, 32, 32), 255, np.uint8))
    row = labelled_row(0, labels=ignored, ignore_label=(255,))
    weights = load_task(make_run())
    with pytest.raises(InputError, match="every voxel of the labels is ignored"):
        module._segment(weights, load_example(row, "segment"), np.zeros((20, 32, 32), int))


def test_without_a_voxel_size_surfaces_are_measured_in_voxels(
    make_run, labelled_row, write_list, write, balls
) -> None:
    image, labels = balls(1)
    row = labelled_row(1, image=write("i", image, None), labels=write("l", labels, None))
    result = evaluate(make_run(), write_list([row]))
    sample = result["samples"][0]
    assert sample["spacing_known"] is False
    assert 0 <= sample["nsd"] <= 1
    assert result["mean"]["nsd"] == sample["nsd"]
    assert any("no known voxel size" in note for note in result["notes"])


def test_several_classes_are_judged_by_their_values(
    make_run, labelled_row, write_list, write, balls
) -> None:
    _, labels = balls(2)
    labels = np.where(labels > 3, 7, np.where(labels > 0, 40, 0)).astype(np.uint8)
    run = make_run(head="labels", classes=("none", "a", "b"), label_values=(0, 40, 7))
    result = evaluate(run, write_list([labelled_row(2, labels=write("two", labels))]))
    sample = result["samples"][0]
    assert {"dice/1", "dice/2"} < set(sample)
    assert sample["dice"] == pytest.approx((sample["dice/1"] + sample["dice/2"]) / 2)
    weights = load_task(run)
    example = load_example(labelled_row(2), "segment")
    found = predict_image(weights, example.image, example.voxel_size_um).argmax(0)
    overlap = 2 * ((found == 1) & (labels == 40)).sum()
    assert sample["dice/1"] == pytest.approx(overlap / ((found == 1).sum() + (labels == 40).sum()))


def test_restoration_stands_beside_the_image_as_it_is(
    make_run, labelled_row, write_list, write, balls, tmp_path
) -> None:
    _, labels = balls(3)
    clean = (200.0 + 120 * (labels > 0)).astype(np.float32)
    clean += np.random.default_rng(0).normal(0, 1, clean.shape).astype(np.float32)
    row = labelled_row(3, labels=None, target=write("clean", clean))
    same = labelled_row(4, labels=None)
    same = replace(same, target=same.image)
    run = make_run(task="restore", head="restore")
    result = evaluate(run, write_list([row, same]), tmp_path / "r.json")
    first, second = result["samples"]
    wanted = restoration_metrics(luxvox.open_volume(row.image).read()[0].astype(float), clean)
    for name, value in wanted.items():
        assert first[f"identity_{name}"] == pytest.approx(value, rel=1e-3)
        assert first[name] != pytest.approx(value, rel=1e-3)
    assert second["identity_psnr"] == 100.0  # infinite, cut
    assert np.isfinite(list(result["mean"].values())).all()


def test_classes_are_counted(make_run, labelled_row, write_list, tmp_path) -> None:
    rows = [labelled_row(n, labels=None, class_name="ab"[n % 2]) for n in range(4)]
    run = make_run(task="classify", head="classify", classes=("a", "b"))
    result = evaluate(run, write_list(rows), tmp_path / "c.json")
    weights = load_task(run)
    right = 0
    for sample, row in zip(result["samples"], rows, strict=True):
        example = load_example(row, "classify")
        wanted = classify_image(weights, example.image, example.voxel_size_um)
        assert list(sample["probabilities"].values()) == pytest.approx(wanted.tolist(), abs=1e-6)
        assert sample["found"] == "ab"[int(wanted.argmax())]
        right += sample["found"] == sample["class"] == row.class_name
    assert result["mean"].keys() == {"accuracy", "balanced_accuracy", "macro_f1"}
    assert result["mean"]["accuracy"] == right / 4
    assert np.sum(result["confusion"]) == 4
    with pytest.raises(InputError, match=r"v1.*class 'x', expected one of those learnt from: a, b"):
        evaluate(run, write_list([rows[0], replace(rows[1], class_name="x")]))


def test_the_table_of_a_classifier_says_what_was_found(
    make_run, labelled_row, write_list, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    rows = [labelled_row(n, labels=None, class_name="axons") for n in range(2)]
    run = make_run(task="classify", head="classify", classes=("axons", "vessels"))
    words = ["evaluate", str(run), str(write_list(rows)), "--json", str(tmp_path / "o.json")]
    assert run_command(words) == 0
    shown = capsys.readouterr().out
    assert "probability_of_truth" in shown
    assert "balanced_accuracy" in shown
    assert shown.count("axons") >= 2
    assert "probability_of_truth" in (tmp_path / "o.html").read_text()


@pytest.mark.parametrize("layout", ["flat", "nnunet", "tiff", "nifti", "zarr"])
def test_every_layout_gives_the_same_numbers(
    layout, make_run, labelled_row, write_list, balls, tmp_path
) -> None:
    run, (image, labels) = make_run(), balls(5)
    wanted = evaluate(run, write_list([labelled_row(5)]))["samples"][0]
    folder = tmp_path / layout
    folder.mkdir()
    affine = np.diag([1.0, 1.0, 2.0, 1.0])

    def nifti(name: str, array: Any) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        volume = nibabel.nifti1.Nifti1Image(array.T, affine)
        volume.header.set_xyzt_units("micron")
        nibabel.save(volume, folder / name)

    source = folder
    if layout == "flat":
        nifti("cell_nucleus_patch_001_vol002_ch0.nii.gz", image)
        nifti("cell_nucleus_patch_001_vol002_ch0_label.nii.gz", labels)
    elif layout == "nnunet":
        nifti("imagesTr/case_1_0000.nii.gz", image)
        nifti("labelsTr/case_1.nii.gz", (labels > 0).astype(np.uint8))
        card = {"channel_names": {"0": "dye"}, "labels": {"background": 0, "nuclei": 1}}
        (folder / "dataset.json").write_text(json.dumps(card))
    else:
        source = folder / "dataset.csv"
        source.write_text(
            "id,image,labels,voxel_size_um\n"
            + {
                "tiff": "a,i.tif,l.tif,2 1 1\n",
                "nifti": "a,i.nii.gz,l.nii,2 1 1\n",
                "zarr": "a,i.ome.zarr,i.ome.zarr/labels/balls,\n",
            }[layout]
        )
        if layout == "tiff":
            tifffile.imwrite(folder / "i.tif", image)
            tifffile.imwrite(folder / "l.tif", labels)
        elif layout == "nifti":
            nifti("i.nii.gz", image)
            nifti("l.nii", labels)
        else:
            store = save_volume(image, folder / "i.ome.zarr", voxel_size_um=(2.0, 1.0, 1.0))
            save_labels(labels, store, "balls", voxel_size_um=(2.0, 1.0, 1.0))
    found = evaluate(run, source)["samples"][0]
    assert {k: found[k] for k in KEYS} == pytest.approx({k: wanted[k] for k in KEYS}, abs=1e-6)


def test_mistakes_are_one_line_and_exit_code_2(
    make_run, labelled_row, write_list, write, balls, tmp_path, capsys
) -> None:
    run, listing = str(make_run()), str(write_list([labelled_row(0)]))

    def fails(words: list[str], expected: str) -> None:
        assert run_command(["evaluate", *words]) == 2
        shown = capsys.readouterr().err
        assert expected in shown
        assert shown.count("error: ") == 1

    fails([run, listing, "--task", "restore"], "fine-tuned for task 'segment'")
    fails([run, listing, "--json", str(tmp_path / "out.txt")], "expected a name in .json")
    (tmp_path / "folder.json").mkdir()
    fails([run, listing, "--json", str(tmp_path / "folder.json")], "a folder, expected the name")
    fails([run, str(tmp_path / "no.csv")], "no such file")
    _, labels = balls(0)
    small = write("small", labels[:10])
    fails([run, str(write_list([labelled_row(0, labels=small)]))], "labels of (10, 32, 32) voxels")
    fails([run, str(write_list([labelled_row(0, labels=None)]))], "no labels, which segment needs")
    (Path(run) / "metrics.json").write_text("{")
    fails([run, str(write_list([labelled_row(0)]))], "metrics.json: damaged")


def test_the_table_names_every_sample(
    make_run, labelled_row, write_list, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    listing = write_list([labelled_row(0), labelled_row(1)])
    assert run_command(["evaluate", str(make_run(support=("v0",))), str(listing)]) == 0
    shown = capsys.readouterr().out
    assert "v0 *" in shown
    assert "mean_without_support" in shown
