"""Which level is seen, resampled or not; and that blocks of a resampled volume have no borders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from luxvox.data.normalize import measure_intensity, normalize
from luxvox.data.open import open_volume
from luxvox.data.resample import resample
from luxvox.data.save import save_volume
from luxvox.data.tiles import blend_tiles
from luxvox.predict.block_grid import BlockGrid
from luxvox.predict.frame import Frame, choose_frame

SHAPE = (100, 100, 130)


def frame_of(voxels, seen, level=0, finest=None):
    finest = finest or voxels
    return Frame(level=level, voxels=voxels, seen=seen, finest=finest, spanned=finest)


def whole(shape):
    return tuple(slice(0, side) for side in shape)


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory):
    image = np.random.default_rng(0).integers(0, 99, (128, 128, 128)).astype(np.uint8)
    path = tmp_path_factory.mktemp("frame") / "in.ome.zarr"
    return open_volume(save_volume(image, path, voxel_size_um=(1, 1, 1)))


def test_the_finest_level_that_fits_is_taken_as_it_is(pyramid):
    assert [level.voxel_size_um for level in pyramid.levels] == [(1, 1, 1), (2, 2, 2)]
    for trained, level in (((1.9,) * 3, 0), ((0.6,) * 3, 0), ((3.0,) * 3, 1), ((4.0,) * 3, 1)):
        frame = choose_frame(pyramid, (trained, trained))
        assert (frame.level, frame.seen) == (level, frame.voxels)
    assert choose_frame(pyramid, None).level == 0
    assert choose_frame(pyramid, ((0.1,) * 3, (8.0,) * 3)).level == 0
    unknown = replace(pyramid, levels=(replace(pyramid.levels[0], voxel_size_um=None),))
    assert choose_frame(unknown, ((9, 9, 9), (9, 9, 9))).seen == (128, 128, 128)


def test_only_axes_that_do_not_fit_are_resampled(pyramid):
    frame = choose_frame(pyramid, ((8, 1, 1), (8, 1, 1)))
    assert (frame.level, frame.seen) == (0, (16, 128, 128))
    assert frame.seen_um(pyramid.levels[0]) == (8, 1, 1)
    coarse = choose_frame(pyramid, ((8, 8, 8), (9, 9, 9)))
    assert (coarse.level, coarse.seen) == (1, (16, 16, 16))  # from the level that has the detail
    fine = choose_frame(pyramid, ((0.1, 0.4, 0.1), (0.1, 0.4, 0.1)))
    assert fine.seen == (512, 320, 512)  # four times finer at most


def test_cells_lie_where_their_voxels_do(pyramid):
    frame = frame_of((64, 64, 64), (32, 64, 64), level=1, finest=(128, 128, 128))
    assert frame.stored == (128, 128, 128)  # of voxels: level 0
    assert frame.stored_um(pyramid) == (1, 1, 1)
    assert frame.stored_translation_um(pyramid) == (0, 0, 0)
    cells = frame.in_cells((10, 8, 64))
    assert cells.answers == cells.stored == (4, 8, 1)
    assert cells.step == (40, 16, 128)
    assert cells.stored_um(pyramid) == (40, 16, 128)
    # Voxels of 2 um whose first centre lies at 0.5: the volume begins at -0.5.
    assert cells.stored_translation_um(pyramid) == (19.5, 7.5, 63.5)


def test_behind_the_end_a_cell_is_a_mirror_image():
    frame = frame_of((3, 8, 10), (3, 8, 10)).in_cells((8, 8, 8))
    image = np.random.default_rng(0).random(frame.voxels)
    box = slice(0, 1), slice(0, 1), slice(1, 2)
    needed = frame.needed(box)
    found = frame.cut(image[needed], needed, box)
    assert found.shape == (8, 8, 8)
    folded = np.pad(image, [(0, 5), (0, 0), (0, 6)], mode="symmetric")
    assert np.array_equal(found, folded[:, :, 8:])


@pytest.mark.parametrize("seen", [(50, 100, 65), (130, 100, 87), SHAPE])
def test_every_tile_finds_the_blocks_that_need_it(seen):
    answers = None if seen == SHAPE else seen
    grid = BlockGrid(SHAPE, (64, 64, 64), (32, 32, 32), (8, 8, 8), answers)
    touched = {block: set(grid.tiles(block)) for block in range(grid.num_blocks)}
    for tile in range(int(np.prod([len(starts) for starts in grid.starts]))):
        assert grid.blocks(tile) == [block for block in touched if tile in touched[block]]


@pytest.mark.parametrize("seen", [(50, 90, 87), (130, 100, 65)])
def test_blocks_equal_the_volume_resampled_first(blocks, image, tmp_path, seen):
    """Resample, predict the whole by tiles, resample back: what blocks give."""
    volume, net = open_volume(image), blocks.stand_in()
    raw = resample(volume.read()[0], whole(SHAPE), whole(seen), SHAPE, seen)
    normal = normalize(raw, measure_intensity(volume)).astype(np.float32)
    answer = blend_tiles(net, torch.from_numpy(normal)[None], blocks.TILE, (8, 8, 8)).numpy()
    frame = frame_of(SHAPE, seen)
    for output, how in ((blocks.PROBABILITIES, "linear"), (blocks.LABELS, "nearest")):
        values = output.values(answer, measure_intensity(volume))
        expected = resample(values, whole(seen), whole(SHAPE), seen, SHAPE, how)
        stored = []
        for side in (64, 128):
            out = tmp_path / f"{how}{side}.ome.zarr"
            request = blocks.request_of(
                image, out, frame=frame, output=output, block=(side, side, side)
            )
            blocks.predict_blocks(request)
            found = open_volume(out)
            assert found.shape == SHAPE
            assert found.voxel_size_um == volume.voxel_size_um
            stored.append(found.read()[0])
        assert expected.std() > 1e-3
        if how == "linear":
            assert np.abs(stored[0] - expected).max() < 1e-5
        else:
            assert (stored[0] != expected).mean() < 1e-4  # a last bit may cross the threshold
        assert np.array_equal(*stored)
