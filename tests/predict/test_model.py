"""Loading a run and embedding with it: shapes, order, meaning, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import luxvox
from luxvox.configs.errors import InputError
from luxvox.configs.load import load_recipe
from luxvox.pretrain.recipe import PretrainRecipe
from luxvox.pretrain.run import pretrain

WORDS = [
    "data.crop.shape=[16,16,16]", "steps=2", "batch_size=4", "threads=1", "tracker=none",
    "decoder.width=24", "decoder.depth=1", "decoder.heads=2", "evaluate.crops_per_volume=1",
    "evaluate.every_steps=null",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "run"
    words = [f"data={simulated}", f"out={out}", *WORDS]
    pretrain(load_recipe("pretrain/demo.yaml", PretrainRecipe, words))
    return out


def test_embed_gives_unit_vectors_on_a_grid_that_covers_the_volume(
    run: Path, simulated: Path
) -> None:
    model = luxvox.load(run)
    volume = luxvox.open_volume(simulated.parent / "sim_00000.ome.zarr")
    vectors = model.embed(volume)
    origins = model.crop_origins(volume)
    assert vectors.dtype == np.float32
    assert vectors.shape == (8, model.embed_dim)  # 32^3 in crops of 16^3
    assert origins[0] == (0, 0, 0)
    assert origins[1] == (0, 0, 16)
    assert origins[-1] == (16, 16, 16)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.ptp(vectors, axis=0).max() > 1e-4  # crops differ


def test_embed_does_not_depend_on_the_batch(run: Path, simulated: Path) -> None:
    model = luxvox.load(run / "weights")
    path = simulated.parent / "sim_00002.ome.zarr"
    assert np.allclose(model.embed(path), model.embed(path, batch_size=3), atol=1e-5)


def test_gain_and_offset_of_the_camera_change_nothing(
    run: Path, simulated: Path, tmp_path: Path
) -> None:
    model = luxvox.load(run)
    volume = luxvox.open_volume(simulated.parent / "sim_00001.ome.zarr")
    brighter = volume.read()[0].astype(np.float32) * 3 + 500
    size = volume.voxel_size_um
    luxvox.save_volume(brighter, tmp_path / "bright.ome.zarr", voxel_size_um=size)
    assert np.allclose(model.embed(volume), model.embed(tmp_path / "bright.ome.zarr"), atol=1e-3)


def test_a_volume_that_is_no_multiple_of_the_crop_is_covered_to_its_ends(
    run: Path, tmp_path: Path
) -> None:
    model = luxvox.load(run)
    noise = np.random.default_rng(0).normal(100, 10, (9, 20, 40)).astype(np.float32)
    luxvox.save_volume(noise, tmp_path / "odd.ome.zarr", voxel_size_um=None)
    volume = luxvox.open_volume(tmp_path / "odd.ome.zarr")
    assert model.crop_origins(volume) == [
        (z, y, x) for z in (0, 1) for y in (0, 4) for x in (0, 16, 24)
    ]
    assert model.embed(volume).shape == (12, model.embed_dim)


def test_sentences_land_in_the_same_space(run: Path) -> None:
    model = luxvox.load(run)
    vectors = model.embed_text(["branching vessels", "round nuclei"])
    assert vectors.shape == (2, model.embed_dim)
    assert not np.allclose(vectors[0], vectors[1])
    assert np.allclose(model.embed_text("round nuclei"), vectors[1:], atol=1e-6)


def test_an_encoder_without_a_decoder_predicts_nothing(run: Path, simulated: Path) -> None:
    with pytest.raises(InputError, match=r"without a decoder.*luxvox finetune"):
        luxvox.load(run).predict(simulated.parent / "sim_00000.ome.zarr")


def test_a_flat_volume_and_a_folder_without_weights_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights in it"):
        luxvox.load(tmp_path)
    thin = np.random.default_rng(0).normal(100, 10, (4, 32, 32)).astype(np.float32)
    luxvox.save_volume(thin, tmp_path / "thin.ome.zarr", voxel_size_um=None)
    with pytest.raises(InputError, match="4 voxels along z"):
        luxvox.load(run).embed(tmp_path / "thin.ome.zarr")
    with pytest.raises(InputError, match=r"type ndarray.*save_volume"):
        luxvox.load(run).embed(thin)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("key", "value"),
    [("architecture", []), ("crop_shape", "abc"), ("encoder", {"nosuch": 1}), ("text", None)],
)
def test_a_config_that_describes_no_model_is_named(run: Path, tmp_path: Path, key, value) -> None:
    shutil.copytree(run / "weights", tmp_path / "w")
    config = json.loads((tmp_path / "w" / "config.json").read_text())
    place = config if key == "architecture" else config["architecture"]
    place[key] = value
    (tmp_path / "w" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json: no model can be built") as caught:
        luxvox.load(tmp_path / "w")
    assert "\n" not in str(caught.value)


def test_crops_have_the_size_in_um_that_the_model_was_trained_with(
    simulated: Path, tmp_path: Path
) -> None:
    words = [f"data={simulated}", f"out={tmp_path / 'run'}", *WORDS, "objective.text=0"]
    words.append("data.crop.voxel_size_um=[3,3,3]")
    pretrain(load_recipe("pretrain/demo.yaml", PretrainRecipe, words))
    model = luxvox.load(tmp_path / "run")
    rng = np.random.default_rng(1)
    # 96 um a side, so 2 crops of 16 x 3 um along each axis, whatever the voxels are.
    for side, size in ((64, 1.5), (32, 3.0)):
        path = tmp_path / f"{side}.ome.zarr"
        volume = rng.normal(100, 10, (side, side, side)).astype(np.float32)
        luxvox.save_volume(volume, path, voxel_size_um=(size, size, size))
        assert len(model.crop_origins(luxvox.open_volume(path))) == 8
        # Trained without captions: the mean token, as wide as the encoder, not a random projection.
        vectors = model.embed(path)
        assert vectors.shape == (8, model.encoder.config.width)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    with pytest.raises(InputError, match="trained without captions"):
        model.embed_text("vessels")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_one_line() -> None:
    with pytest.raises(InputError, match="device cuda:0: torch finds no such GPU here"):
        luxvox.load("luxvox-tiny", device="cuda:0")
