"""Plans: blocks and tiles, what is empty, what is refused before anything is computed."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.data.block_store import BlockStore
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.data.tissue import to_blocks
from luxvox.data.volume import Volume
from luxvox.predict.block_grid import BlockGrid, bounding_box, share
from luxvox.predict.frame import Frame
from luxvox.predict.plan import make_plan, plan_key
from luxvox.predict.plan_estimate import (
    choose_block,
    memory_bytes,
    seconds_for,
    try_network,
    waiting_bytes,
)
from luxvox.predict.plan_file import read_plan, write_plan
from luxvox.predict.plan_foreground import medium_up_to
from luxvox.predict.plan_table import plan_rows

GRID = BlockGrid((100, 100, 130), (64, 64, 64), (32, 32, 32), (8, 8, 8))


def frame_of(shape):
    return Frame(level=0, voxels=shape, seen=shape, finest=shape, spanned=shape)


def plan_of(blocks, volume, out, **changes):
    request = blocks.request_of(volume, out, **changes)
    return request, request.plan()


def test_blocks_tile_the_volume_and_every_tile_finds_its_blocks():
    seen = np.zeros(GRID.shape, int)
    for block in range(GRID.num_blocks):
        box = GRID.box(block)
        seen[box] += 1
        assert GRID.number(GRID.place(block)) == block
        reached = np.zeros(GRID.shape, bool)
        for tile in GRID.tiles(block):
            assert block in GRID.blocks(tile)
            reached[GRID.tile_box(tile)] = True
        assert reached[box].all()
        others = set(range(np.prod([len(s) for s in GRID.starts]))) - set(GRID.tiles(block))
        assert not any(block in GRID.blocks(tile) for tile in others)
    assert (seen == 1).all()
    boxes = [GRID.box(block) for block in range(GRID.num_blocks)]
    assert bounding_box(boxes) == tuple(slice(0, side) for side in GRID.shape)


@pytest.mark.parametrize("parts", [1, 2, 4, 12, 25])
def test_parts_share_the_work_evenly_and_cover_it(parts):
    work = [block % 3 == 0 for block in range(GRID.num_blocks)]
    shares = [share(GRID, work, parts, part) for part in range(parts)]
    assert [block for blocks in shares for block in blocks] == list(range(GRID.num_blocks))
    loads = [sum(work[block] for block in blocks) for blocks in shares]
    assert max(loads) - min(loads) <= 1


def test_small_blocks_of_coarse_answers_are_shared_in_groups():
    """Each block stands for 32 answers a side; parts that were layers of them would share much."""
    grid = BlockGrid((1024,) * 3, (64,) * 3, (64,) * 3, (16,) * 3, (512,) * 3)
    assert sorted(grid.order) == list(range(grid.num_blocks))
    work = [True] * grid.num_blocks
    shares = [share(grid, work, 16, part) for part in range(16)]
    assert sorted(block for blocks in shares for block in blocks) == list(range(grid.num_blocks))
    tiles = [len({tile for block in blocks for tile in grid.tiles(block)}) for blocks in shares]
    whole = np.prod([len(starts) for starts in grid.starts])
    assert sum(tiles) < 2.2 * whole
    layers = np.array_split(np.arange(grid.num_blocks), 16)
    apart = [len({tile for block in layer for tile in grid.tiles(int(block))}) for layer in layers]
    assert sum(tiles) < 0.8 * sum(apart)


def test_blocks_are_whole_shards_of_the_output(blocks, image, tmp_path):
    request, plan = plan_of(blocks, image, tmp_path / "out.ome.zarr")
    store = request.job(plan).store
    store.create()
    assert store._level().shards == plan.block == (64, 64, 64)
    values = np.ones((64, 64, 64), np.float32)
    with pytest.raises(ValueError, match="no whole block"):
        store.write((slice(0, 64), slice(32, 96), slice(0, 64)), values)
    with pytest.raises(ValueError, match="no whole block"):
        store.write((slice(0, 64), slice(0, 64), slice(0, 32)), values)
    box = slice(0, 64), slice(64, 100), slice(128, 130)
    store.write(box, values[:, :36, :2])
    assert store.read(box).all()
    with pytest.raises(InputError, match="no multiple of the chunks"):
        plan_of(blocks, image, tmp_path / "out.ome.zarr", block=(64, 64, 100))


def test_blocks_are_as_large_as_memory_allows():
    shape, tile, overlap = (2000, 2000, 2000), (64, 64, 64), (16, 16, 16)
    frame = frame_of(shape)
    assert choose_block(frame, tile, overlap, 2, channels=1, batch=1) == (256, 256, 256)
    assert choose_block(frame, tile, overlap, 2, channels=9, batch=1) == (128, 128, 128)
    tokens = frame.in_cells((8, 8, 8))
    assert choose_block(tokens, (8, 8, 8), (2, 2, 2), 2, channels=192, batch=1) == (32, 32, 32)
    finer = frame.model_copy(update={"seen": (4000, 4000, 4000)})
    assert choose_block(finer, tile, overlap, 2, channels=1, batch=1) == (128, 128, 128)
    small = {"level": 2, "voxels": (500, 500, 500), "seen": (500, 500, 500)}
    coarse = frame.model_copy(update=small)
    assert choose_block(coarse, tile, overlap, 2, channels=1, batch=1) == (256, 256, 256)
    grid = BlockGrid(shape, (256, 256, 256), tile, overlap)
    longer = frame_of((4000, 4000, 4000))
    larger = BlockGrid(longer.voxels, grid.block, tile, overlap)
    assert memory_bytes(frame, grid, 2, 1, 1) == memory_bytes(longer, larger, 2, 1, 1)  # bounded
    assert waiting_bytes(larger, 1) > waiting_bytes(grid, 1)  # on disk


def test_a_plan_is_read_back_as_it_was_written(blocks, image, tmp_path):
    request, plan = plan_of(blocks, image, tmp_path / "out.ome.zarr")
    assert read_plan(tmp_path) is None
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    assert plan.key == request.key()
    whole = (tmp_path / "plan.json").read_bytes()
    edited = whole.replace(b'"batch": 1', b'"batch": 2')
    assert edited != whole
    for damaged, why in (
        (b"{}", "no whole plan of this version"),
        (b"[]", "no whole plan of this version"),
        (whole[:200], "no whole plan of this version"),
        (b"\xff\xfe", "no whole plan of this version"),
        (edited, "was changed after it was made"),
    ):
        (tmp_path / "plan.json").write_bytes(damaged)
        with pytest.raises(InputError, match=why):
            read_plan(tmp_path)


def test_the_key_tells_weights_output_and_input_apart(blocks, image, tmp_path):
    volume, shape = open_volume(image), (32, 32, 32)
    key = plan_key(volume, blocks.LABELS, shape, {"weights": "a"})
    assert key == plan_key(open_volume(image), blocks.LABELS, shape, {"weights": "a"})
    other = blocks.smooth_volume(tmp_path / "in.ome.zarr", (100, 100, 130), seed=1)
    for changed in (
        plan_key(volume, blocks.LABELS, shape, {"weights": "b"}),
        plan_key(volume, blocks.PROBABILITIES, shape, {"weights": "a"}),
        plan_key(volume, blocks.LABELS, (32, 32, 64), {"weights": "a"}),
        plan_key(open_volume(other), blocks.LABELS, shape, {"weights": "a"}),
    ):
        assert changed != key


def half_empty(path, medium: bool):
    """Noisy tissue below y = 64, constant padding or flat medium above."""
    rng = np.random.default_rng(0)
    voxels = rng.poisson(1000, (64, 192, 128)).astype(np.uint16)
    voxels[:, 64:] = rng.poisson(50, (64, 128, 128)) if medium else 0
    voxels[30:34, 150:154, 30:34] = 3000  # a cell in the medium keeps its block
    return save_volume(voxels, path, voxel_size_um=(2, 2, 2))


@pytest.mark.parametrize("medium", [True, False])
def test_empty_blocks_are_found_and_a_single_cell_keeps_its_block(
    blocks, tmp_path, medium, monkeypatch
):
    volume = half_empty(tmp_path / "in.ome.zarr", medium)
    _, plan = plan_of(blocks, volume, tmp_path / "o.ome.zarr", skip_empty=True)
    # y 0 to 64 is tissue, 64 to 128 is not, 128 to 192 holds the cell; each has two along x.
    assert plan.empty == (2, 3, 5)
    _, plan = plan_of(blocks, volume, tmp_path / "o.ome.zarr", skip_empty=False)
    assert plan.empty == ()
    monkeypatch.setattr("luxvox.predict.plan_foreground.LARGEST", 1000)
    _, plan = plan_of(blocks, volume, tmp_path / "o.ome.zarr", skip_empty=True)
    assert plan.empty == ()


@pytest.mark.parametrize("medium", [True, False])
def test_a_large_level_is_looked_at_in_slabs(blocks, tmp_path, medium, monkeypatch):
    volume = half_empty(tmp_path / "in.ome.zarr", medium)
    asked = blocks.request_of(volume, tmp_path / "o.ome.zarr", skip_empty=True)
    coarsest, sizes, read = len(asked.volume.levels) - 1, [], Volume.read

    def spy(self, *args, **options):
        found = read(self, *args, **options)
        if coarsest in (args[2:] or (options.get("level"),)):
            sizes.append(found.size)
        return found

    monkeypatch.setattr(Volume, "read", spy)
    monkeypatch.setattr("luxvox.predict.plan_foreground.AT_ONCE", 2**17)
    assert asked.plan().empty == (2, 3, 5)
    assert len(sizes) >= 3
    assert max(sizes) <= 2**17 < np.prod(asked.volume.levels[coarsest].shape)


@pytest.mark.parametrize("dim", [150, 320])
def test_tissue_at_the_rim_of_the_medium_hides_no_other_tissue(dim):
    """Blocks that are mostly medium hold some tissue: it must not pass for the medium's noise."""
    rng = np.random.default_rng(0)
    voxels = rng.poisson(80, (64, 96, 96)).astype(np.uint16)
    voxels[:, :37] = rng.poisson(dim, (64, 37, 96))
    voxels[30:32, 60:62, 80:82] = 2000
    found = voxels > medium_up_to(to_blocks(voxels))
    assert found[:, :37].any((0, 2)).all()
    assert found[:, :37].mean() > (0.4 if dim == 150 else 0.99)
    assert found[:, 40:58].mean() < 1e-3


def test_noise_everywhere_is_not_empty():
    noise = np.random.default_rng(0).poisson(20, (64, 64, 64)).astype(np.uint16)
    assert (noise > medium_up_to(to_blocks(noise))).mean() > 0.9


def test_the_table_says_what_will_be_done(blocks, image, tmp_path):
    request, plan = plan_of(blocks, image, tmp_path / "out.ome.zarr")
    rows = dict(plan_rows(request, plan))
    assert rows["blocks"] == "12 of 64 x 64 x 64, 0 hold nothing"
    assert "100 x 100 x 130" in rows["input"]
    assert rows["voxel size"] == "4 x 2 x 2 um"
    assert not (tmp_path / "out.ome.zarr").exists()


def test_too_small_a_disk_is_said_before_the_start(blocks, image, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("luxvox.predict.plan_estimate.shutil.disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"needs about .* of disk"):
        blocks.predict_blocks(blocks.request_of(image, tmp_path / "out.ome.zarr"))
    assert not (tmp_path / "out.ome.zarr").exists()


class Elsewhere(NamedTuple):
    """An answer that lies on a GPU, whatever this machine has."""

    device: torch.device
    values: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        return self.values.shape

    def cpu(self) -> torch.Tensor:
        time.sleep(0.02)  # the same for any batch
        return self.values


@pytest.mark.parametrize("there", [True, False])
def test_batches_are_tried_where_the_network_answers(monkeypatch, there):
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    sizes = []

    def network(tiles, device):
        sizes.append(len(tiles))
        return tiles if device == "cpu" else Elsewhere(torch.device(device), tiles)

    found = try_network(lambda tiles: network(tiles, "cpu"), (4, 4, 4), (1, 1, 1), 8)
    assert (found.batch, found.channels, sizes) == (1, 1, [1])
    sizes.clear()
    on_gpu: Any = lambda tiles: network(tiles, "cuda")  # noqa: E731
    assert try_network(on_gpu, (4, 4, 4), (1, 1, 1), 8).batch == 8
    assert sizes == [1, 1, 2, 2, 4, 4, 8, 8]


def test_writing_takes_its_time_too(tmp_path):
    store = BlockStore(tmp_path / "o.zarr", (1000,) * 3, (256,) * 3, 0, "float32", "image", None)
    assert seconds_for(5.0, store) == pytest.approx(40)
    assert seconds_for(5000.0, store) == 5000


def test_make_plan_tries_the_network(blocks, image, tmp_path):
    plan = make_plan(
        open_volume(image), tmp_path / "o.ome.zarr", blocks.stand_in(3), blocks.LABELS,
        tile=(32, 32, 32),
    )  # fmt: skip
    assert plan.channels == 3
    assert plan.batch == 1
    assert plan.estimate.seconds > 0
    assert plan.store(tmp_path).kind == "labels"
