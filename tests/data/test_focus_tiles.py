"""Tiles, level and scale of a stack: the same for all its slices, and chosen by foreground."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from luxvox.configs.errors import InputError
from luxvox.data.focus_tiles import TileRule, foreground_mask, frame_stack

RULE = TileRule(side=64, cover=0.3)


def sweep(seed: int = 0, side: int = 256, planes: int = 7) -> np.ndarray:
    """A bright patch of texture in the upper left, seen through focus in the middle."""
    rng = np.random.default_rng(seed)
    dye = np.zeros((side, side))
    dye[: side // 2, : side // 2] = 40 * (rng.random((side // 2, side // 2)) < 0.2)
    blurred = [gaussian_filter(dye, 1 + abs(z - planes // 2)) for z in range(planes)]
    return np.stack([rng.poisson(10 + image) + 100 for image in blurred]).astype(np.float32)


def test_tiles_lie_in_the_foreground_and_are_those_of_all_slices():
    stack = sweep()
    frame = frame_stack(stack, RULE)
    assert 0.15 < frame.mask.mean() < 0.35
    assert len(frame.tiles) >= 2
    assert all(y + h <= 160 and x + w <= 160 for y, x, h, w in frame.tiles)
    cut = frame.cut(stack[0])
    y, x, h, w = frame.tiles[1]
    assert (cut[1] == stack[0][y : y + h, x : x + w]).all()
    again = frame_stack(stack[::-1], RULE)
    assert (again.tiles == frame.tiles).all()


def test_scale_belongs_to_the_stack_not_to_the_slice():
    """A stretch of every slice would make the noise of empty ones as bright as structure."""
    stack = sweep()
    stack[0] = np.random.default_rng(1).poisson(10, stack[0].shape) + 100
    frame = frame_stack(stack, RULE)
    ratio = frame.scaled(stack[3]).std() / frame.scaled(stack[0]).std()
    assert ratio == pytest.approx(stack[3].std() / stack[0].std(), rel=1e-3)
    assert ratio > 1.5
    brighter = frame_stack(3 * stack + 500, RULE)
    assert brighter.scaled(3 * stack + 500) == pytest.approx(frame.scaled(stack), abs=1e-4)
    assert (brighter.tiles == frame.tiles).all()


def test_noise_does_not_draw_tiles():
    """The Laplacian of the older workflow prefers noisy background; foreground does not."""
    stack = sweep()
    noise = np.random.default_rng(2).normal(0, 60, stack.shape)
    noise[:, :160, :160] = 0
    stack = (stack + np.abs(noise) * 0.2).astype(np.float32)

    def corner(pool):
        rule = TileRule(side=64, cover=0.0, most=100, share=0.1, pool=pool)
        return frame_stack(stack, rule).tiles[:, :2].max()

    assert corner("foreground") <= 96
    assert corner("laplacian") > 128


def test_empty_slices_are_empty():
    rng = np.random.default_rng(3)
    noise = (rng.poisson(8, (1000, 24, 24)) + 100).astype(np.float32)
    for first in range(0, 1000, 10):
        frame = frame_stack(noise[first : first + 10], RULE)
        assert all(frame.is_empty(image) for image in noise[first : first + 10])
    stack = sweep()
    stack[5] = rng.poisson(10, stack[5].shape) + 100
    frame = frame_stack(stack, RULE)
    assert [frame.is_empty(image) for image in stack] == [z == 5 for z in range(7)]


def test_black_stacks():
    black = np.zeros((3, 40, 40), np.float32)
    frame = frame_stack(black, RULE)
    assert frame.stats is None
    assert frame.is_empty(black[0])


@pytest.mark.parametrize("side", [16, 40, 64])
def test_images_smaller_than_a_tile(side):
    frame = frame_stack(sweep(side=side, planes=1), TileRule(side=256))
    assert frame.tiles.tolist() == [[0, 0, side, side]]


def test_small_objects_go_and_nothing_left_is_everything():
    mean = np.zeros((128, 128))
    mean[10:50, 10:50], mean[100:104, 100:104] = 1, 1
    mask = foreground_mask(mean)
    assert mask[20, 20]
    assert not mask[101, 101]
    assert foreground_mask(np.zeros((50, 50))).all()


def test_mistakes():
    with pytest.raises(InputError, match="without slices"):
        frame_stack([])
    with pytest.raises(InputError, match=r"slice 1 .*nan"):
        frame_stack(np.array([np.zeros((16, 16)), np.full((16, 16), np.nan)], np.float32))
