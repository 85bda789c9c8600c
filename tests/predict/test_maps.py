"""Maps of embeddings and classes, OME-TIFF and OME-Zarr 0.4, all through the block engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaozarrs
import zarr

from luxvox.__main__ import run_command
from luxvox.data.normalize import measure_intensity, normalize
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.models.dense import ClassifyConfig, DenseConfig, DenseModel, SegmentConfig
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.block_output import BlockOutput
from luxvox.predict.blockwise_request import request_task
from luxvox.predict.frame import native_frame
from luxvox.predict.image import classify_image
from luxvox.predict.task_weights import TaskConfig, load_task, save_task
from luxvox.predict.token_request import load_tokens, request_tokens

SHAPE = (20, 44, 75)
PLACE = (9.0, 1.0, -3.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("maps")


@pytest.fixture(scope="module")
def brain(folder) -> Path:
    """Bright on the left, dark on the right."""
    image = np.random.default_rng(0).poisson(80.0, SHAPE).astype(np.uint16)
    image[:, :, :32] *= 4
    return save_volume(
        image, folder / "in.ome.zarr", voxel_size_um=(4.0, 2.0, 2.0), translation_um=PLACE
    )


def saved(folder: Path, task: str, **more: object) -> str:
    torch.manual_seed(0)
    heads = {"segment": SegmentConfig(), "classify": ClassifyConfig(classes=3)}
    config = DenseConfig(channels=(4, 8, 16), depths=2, text_dim=8, condition_width=4, heads=heads)
    model = DenseModel(EncoderConfig(width=24, depth=2, heads=2), config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    told = TaskConfig(task=task, head=task, tile=(16, 16, 16), **more)  # type: ignore[arg-type]
    save_task(folder / task / "weights", model, told, {}, "card", torch.zeros(1, 8))
    return str(folder / task)


@pytest.fixture(scope="module")
def segment(folder) -> str:
    return saved(folder, "segment")


@pytest.fixture(scope="module")
def classify(folder) -> str:
    return saved(folder, "classify", classes=("dark", "grey", "bright"))


def normal(path: Path) -> np.ndarray:
    volume = open_volume(path)
    return normalize(volume.read()[0], measure_intensity(volume)).astype(np.float32)


def test_tokens_lie_on_their_patches(segment, brain, folder, blocks):
    weights = load_tokens(segment)
    request = request_tokens(weights, open_volume(brain), folder / "tokens.ome.zarr")
    exact = request.network._replace(precision="no")  # type: ignore[attr-defined]
    blocks.predict_blocks(replace(request, network=exact, skip_empty=False))
    found = open_volume(request.out)
    assert found.shape == (3, 6, 10)  # the last patches are filled up by a mirror image
    assert found.num_channels == 24
    assert found.voxel_size_um == (32, 16, 16)
    assert found.levels[0].translation_um == (9 + 14, 1 + 7, -3 + 7)
    yaozarrs.validate_zarr_store(request.out)
    # The first token has one tile alone: what the encoder says of that tile.
    tile = torch.from_numpy(normal(brain)[:16, :16, :16])[None, None]
    with torch.no_grad():
        encoded = weights.encoder(tile, torch.tensor([[4.0, 2.0, 2.0]]), torch.ones(1).bool())
    assert np.allclose(found.read()[:, 0, 0, 0], encoded.tokens[0, 0].numpy(), rtol=2e-3, atol=2e-3)
    assert found.read().std((1, 2, 3)).min() > 0


def test_the_verb_maps_embeddings_the_same_whatever_the_blocks(segment, brain, folder, blocks):
    out = folder / "verb.ome.zarr"
    assert run_command(["predict", segment, str(brain), str(out), "--task", "embed"]) == 0
    request = request_tokens(load_tokens(segment), open_volume(brain), folder / "small.ome.zarr")
    blocks.predict_blocks(replace(request, block=(2, 2, 4), skip_empty=False))
    assert np.array_equal(open_volume(out).read(), open_volume(request.out).read())
    # Half of the volume is dark: blocks that lie in it alone are skipped, and hold 0.
    skipping = replace(request, out=folder / "skipping.ome.zarr", block=(2, 2, 4))
    assert blocks.predict_blocks(skipping)["empty_blocks"] == 12
    assert not open_volume(skipping.out).read()[..., 4:].any()


def test_embed_refuses_what_means_nothing_there(segment, brain, folder, capsys):
    out = str(folder / "refused.ome.zarr")
    words = ["predict", segment, str(brain), out, "--task", "embed"]
    for option in (["--probabilities"], ["--instances"], ["--threshold", "0.5"]):
        assert run_command([*words, *option]) == 2
        assert "does not fit --task embed" in capsys.readouterr().err


def test_every_tile_has_its_class(classify, brain, folder, blocks):
    out = folder / "classes.ome.zarr"
    assert run_command(["predict", classify, str(brain), str(out)]) == 0
    found = open_volume(out)
    assert found.shape == (2, 3, 5)
    assert found.voxel_size_um == (64, 32, 32)
    assert found.levels[0].translation_um == (9 + 30, 1 + 15, -3 + 15)
    weights, image = load_task(classify), normal(brain)
    values = found.read()[0]
    for place in ((0, 0, 0), (0, 1, 3), (0, 0, 2)):
        z, y, x = (slice(16 * at, 16 * at + 16) for at in place)
        expected = classify_image(weights, image[z, y, x], (4.0, 2.0, 2.0))
        assert values[place] == 1 + expected.argmax()
    request = request_task(
        weights, open_volume(brain), folder / "shares.ome.zarr", probabilities=True
    )
    blocks.predict_blocks(request)
    shares = open_volume(request.out)
    assert shares.channel_names == ("dark", "grey", "bright")
    assert np.allclose(shares.read().sum(0), 1, atol=1e-5)
    assert np.array_equal(shares.read().argmax(0) + 1, values)


def test_nothing_is_no_class(blocks, tmp_path):
    image = np.zeros((64, 64, 192), np.uint16)
    image[:, :, :64] = np.random.default_rng(0).poisson(900, (64, 64, 64))
    path = save_volume(image, tmp_path / "in.ome.zarr", voxel_size_um=None)

    def three(tiles: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.2, 0.7, 0.1]).reshape(1, 3, 1, 1, 1).expand(len(tiles), -1, 1, 1, 1)

    request = blocks.request_of(
        path, tmp_path / "o.ome.zarr", network=three, output=BlockOutput(what="classes"),
        tile=(1, 1, 1), overlap=(0, 0, 0), block=(2, 2, 1), skip_empty=True,
        frame=native_frame(open_volume(path)).in_cells((32, 32, 32)),
    )  # fmt: skip
    assert blocks.predict_blocks(request)["empty_blocks"] == 4
    found = open_volume(request.out).read()[0]
    assert (found[:, :, :2] == 2).all()
    assert (found[:, :, 2:] == 0).all()


@pytest.mark.parametrize("more", [{}, {"channels": 3}])
def test_a_tiff_holds_what_the_store_would(blocks, image, expected, tmp_path, more):
    out = tmp_path / "out.ome.tif"
    network = {"network": blocks.stand_in(3)} if more else {}
    request = blocks.request_of(image, out, **network)
    for part in (1, 0):
        blocks.predict_blocks(request, parts=2, part=part)
    found = open_volume(out)
    assert found.voxel_size_um == open_volume(image).voxel_size_um
    if not more:
        assert found.read().tobytes() == expected
    else:
        assert np.allclose(found.read().sum(0), 1, atol=1e-5)
    done = request.run / "done" / "000003"
    done.unlink()
    assert blocks.predict_blocks(request, resume=True)["skipped_blocks"] == 11


@pytest.mark.slow
def test_objects_in_a_tiff_are_those_in_a_store(blocks, image, tmp_path):
    for name in ("o.ome.tif", "o.ome.zarr"):
        request = blocks.request_of(
            image, tmp_path / name, instances=True, output=BlockOutput(what="labels", threshold=0.5)
        )
        blocks.predict_blocks(request)
    tiff, store = (open_volume(tmp_path / name) for name in ("o.ome.tif", "o.ome.zarr"))
    assert tiff.dtype == np.uint32
    assert tiff.read().max() > 1
    assert np.array_equal(tiff.read(), store.read())


def test_version_04_is_written_whole(segment, brain, folder):
    out = folder / "old.ome.zarr"
    words = ["predict", segment, str(brain), str(out), "--ngff", "0.4", "--probabilities"]
    assert run_command([*words, "--resume"]) == 0
    assert zarr.open_group(out, mode="r").metadata.zarr_format == 2
    yaozarrs.validate_zarr_store(out)
    new = folder / "new.ome.zarr"
    assert run_command(["predict", segment, str(brain), str(new), "--probabilities"]) == 0
    assert np.allclose(open_volume(out).read(), open_volume(new).read(), atol=1e-6)
    assert open_volume(new).levels[0].translation_um == PLACE
