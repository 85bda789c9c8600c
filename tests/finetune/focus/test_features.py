"""Features of slices: same tiles for a stack, any image size, encoders by their weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import save_file

from luxvox.configs.errors import InputError
from luxvox.data.focus_lists import read_focus_list
from luxvox.data.focus_row import FocusRow
from luxvox.data.focus_tiles import frame_stack
from luxvox.finetune.focus.features import describe_rows, focus_features_command
from luxvox.finetune.focus.table import read_table
from luxvox.models.checkpoint import save_weights
from luxvox.models.dense import DenseConfig, DenseModel
from luxvox.models.quality import QualityConfig, QualityEncoder
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.focus_features import FeatureRecipe, SliceFeatures

TIMM = "timm:test_resnet.r160_in1k"


def saved(folder: Path, architecture: dict, model: torch.nn.Module, prefix: str = "") -> Path:
    tensors = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    config = {
        "architecture": architecture, "normalisation": "x", "voxel_size_range_um": None,
        "stains": [], "structures": [], "recipe": {}, "data": {}, "licence": "x",
    }  # fmt: skip
    return save_weights(folder, tensors, config, "card")


@pytest.fixture(scope="module")
def dense_weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = DenseConfig(channels=(4, 8, 16), depths=2, text_dim=8, condition_width=4)
    model = DenseModel(EncoderConfig(width=24, depth=2, heads=2), config)
    parts = {
        "encoder_name": "vit",
        "encoder": model.encoder.config.model_dump(mode="json"),
        "dense": config.model_dump(mode="json"),
        "crop_shape": [16, 16, 16],
    }
    return saved(tmp_path_factory.mktemp("dense") / "weights", parts, model, "dense.")


@pytest.fixture(scope="module")
def quality_weights(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    config = QualityConfig(channels=(8, 16))
    parts = {"kind": "quality", "quality": config.model_dump(mode="json")}
    return saved(tmp_path_factory.mktemp("quality") / "weights", parts, QualityEncoder(config))


def test_features_tell_blur(sweep):
    stack = sweep(1).astype(np.float32)
    features = SliceFeatures(FeatureRecipe())
    found = features.describe_all(stack, frame_stack(stack, FeatureRecipe().rule))
    assert found.shape == (11, 20)
    assert (np.argmax(found, axis=0) == 5).sum() > 12
    again = features.describe_all(2 * stack + 70, frame_stack(2 * stack + 70, FeatureRecipe().rule))
    assert again == pytest.approx(found, rel=2e-2, abs=2e-2)  # gain and offset of the camera


def test_our_encoder_and_its_detail_stream(sweep, dense_weights):
    stack = sweep(2, side=57).astype(np.float32)  # no whole patches
    recipe = FeatureRecipe(parts=(f"encoder:{dense_weights}",))
    features = SliceFeatures(recipe)
    found = features.describe_all(stack, frame_stack(stack, recipe.rule))
    assert found.shape == (11, 2 * (24 + 24 + 4 + 8 + 16))
    assert found.std(0).min() > 0
    assert np.abs(found[0] - found[10]).max() < np.abs(found[0] - found[5]).max()


def test_timm_without_a_download(sweep, tmp_path):
    stack = sweep(3).astype(np.float32)
    recipe = FeatureRecipe(parts=(TIMM,))
    frame = frame_stack(stack, recipe.rule)
    first, second = SliceFeatures(recipe), SliceFeatures(recipe)
    assert first.fingerprint() == second.fingerprint()  # random weights are the same every time
    found = first.describe_all(stack, frame)
    assert found == pytest.approx(second.describe_all(stack, frame))
    assert found.std(0).max() > 0
    import timm

    torch.manual_seed(9)
    model = timm.create_model("test_resnet.r160_in1k", pretrained=False)  # with its classifier
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    named = SliceFeatures(FeatureRecipe(parts=(f"{TIMM}@{tmp_path / 'w.safetensors'}",)))
    assert named.fingerprint() != first.fingerprint()
    with pytest.raises(InputError, match="no such model"):
        SliceFeatures(FeatureRecipe(parts=("timm:no_such_net",)))


def test_timm_weights_come_from_the_cache_that_is_set(tmp_path, monkeypatch, capsys):
    import timm

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    SliceFeatures(FeatureRecipe(parts=(TIMM,)))
    shown = capsys.readouterr().err
    assert f"{TIMM}: no weights of it on this machine, so they are random" in shown
    assert shown.count("\n") == 1
    repo = tmp_path / "models--timm--test_resnet.r160_in1k"
    found = []
    for seed, commit in ((1, "b" * 40), (2, "a" * 40)):  # by name, the older one would be last
        torch.manual_seed(seed)
        model = timm.create_model("test_resnet.r160_in1k", pretrained=False)
        place = repo / "snapshots" / commit
        place.mkdir(parents=True)
        save_file(model.state_dict(), place / "model.safetensors")
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / "main").write_text(commit)
        cached = SliceFeatures(FeatureRecipe(parts=(TIMM,)))
        named = SliceFeatures(FeatureRecipe(parts=(f"{TIMM}@{place / 'model.safetensors'}",)))
        assert cached.fingerprint() == named.fingerprint()
        found.append(cached.fingerprint())
    assert found[0] != found[1]
    assert "random" not in capsys.readouterr().err


def test_parts_are_joined(sweep, quality_weights):
    stack = sweep(4).astype(np.float32)
    alone = FeatureRecipe(parts=(f"quality:{quality_weights}",))
    both = FeatureRecipe(parts=("classical", *alone.parts))
    frame = frame_stack(stack, both.rule)
    quality = SliceFeatures(alone).describe_all(stack, frame)
    assert quality.shape == (11, 2 * 2 * (8 + 16))
    joined = SliceFeatures(both).describe_all(stack, frame)
    assert joined.shape == (11, 20 + quality.shape[1])
    assert joined[:, 20:] == pytest.approx(quality)


@pytest.mark.parametrize(
    "name", ["sharp", "encoder", "classical:x", "quality:nowhere", "encoder:no"]
)
def test_unknown_parts_are_refused(name):
    with pytest.raises(InputError, match=r"expected|no such folder|no "):
        SliceFeatures(FeatureRecipe(parts=(name,)))


@pytest.mark.parametrize("side", [16, 64])
def test_small_images_and_single_slices(side, sweep, tmp_path, quality_weights):
    """An image smaller than a patch crashed the older workflow."""
    tifffile.imwrite(tmp_path / "one.tif", sweep(5, side=side, planes=(0,))[0])
    row = FocusRow(tmp_path / "one.tif", "s", 0)
    recipe = FeatureRecipe(parts=("classical", f"quality:{quality_weights}", TIMM))
    table = describe_rows([row], recipe)
    assert len(table.features) == 1
    assert np.isfinite(table.features[table.valid]).all()


def test_tables_are_written_and_read(stacks, tmp_path):
    path = tmp_path / "out" / "features.csv"
    focus_features_command(str(stacks), path, FeatureRecipe(tile=32))
    table = read_table(path)
    assert len(table.rows) == 121
    assert table.recipe == FeatureRecipe(tile=32)
    rows = [r for r in read_focus_list(stacks) if r.stack_id == "S004"]
    same = describe_rows(rows, FeatureRecipe(tile=32))
    inside = [r.stack_id == "S004" for r in table.rows]
    assert [r.z_index for r in same.rows] == list(range(-5, 6))
    assert table.features[inside] == pytest.approx(same.features, rel=1e-5)
    text = path.read_text()
    assert str(tmp_path) not in text
    assert text.startswith("image_path,stack_id,channel,z_index,")


def test_empty_slices_are_rows_without_features(sweep, tmp_path):
    rng = np.random.default_rng(0)
    stack = sweep(6)
    stack[2] = rng.poisson(12, stack[2].shape) + 100
    rows = []
    for z, image in enumerate([*stack, *np.zeros((2, 64, 64), np.uint16)]):
        tifffile.imwrite(tmp_path / f"{z}.tif", image)
        rows.append(FocusRow(tmp_path / f"{z}.tif", "black" if z > 10 else "s", z))
    table = describe_rows(rows, FeatureRecipe())
    assert {r.key[::2] for r, why in zip(table.rows, table.reasons, strict=True) if why} == {
        ("s", 2), ("black", 11), ("black", 12),
    }  # fmt: skip
    assert np.isnan(table.features[~table.valid]).all()
    assert np.isfinite(table.features[table.valid]).all()


def test_features_from_elsewhere(tmp_path):
    """A table of Re-IQA, say: any columns of numbers."""
    path = tmp_path / "mic.csv"
    path.write_text("image_path,a,b\nS1/S1_z-1.tif,0.5,2\nS1/S1_z0.tif,1.5,3\n")
    table = read_table(path)
    assert table.recipe is None
    assert table.features.tolist() == [[0.5, 2], [1.5, 3]]
    assert [row.key for row in table.rows] == [("S1", "", -1), ("S1", "", 0)]
    path.write_text("image_path,a\nS1/S1_z-1.tif,many\n")
    with pytest.raises(InputError, match="a feature is no number"):
        read_table(path)
    path.write_text("image_path,a\nS1/S1_z-1.tif,1\nS1/S1_z-1.tif,2\n")
    with pytest.raises(InputError, match="already"):
        read_table(path)
