from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from luxvox.data.formats.pyramid import halved, plan_steps, reduce_mean, reduce_mode

STEPS = [(2, 2, 2), (1, 2, 2), (2, 1, 1)]


def groups(block: np.ndarray, step: tuple[int, int, int]) -> dict[tuple[int, ...], list[float]]:
    """The plain definition: which voxels fall into which coarse voxel."""
    result: dict[tuple[int, ...], list[float]] = {}
    for place in itertools.product(*map(range, block.shape)):
        coarse = tuple(at // factor for at, factor in zip(place, step, strict=True))
        result.setdefault(coarse, []).append(block[place])
    return result


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("shape", [(4, 6, 8), (5, 7, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_mean_is_the_mean_of_the_voxels_that_exist(step, shape, dtype) -> None:
    rng = np.random.default_rng(1)
    block = (rng.integers(-300, 300, shape) % 256).astype(dtype)
    if np.dtype(dtype).kind == "i":
        block -= 128
    coarse = reduce_mean(block, step)
    assert coarse.shape == halved(shape, step)
    assert coarse.dtype == block.dtype
    for place, values in groups(block, step).items():
        tolerance = 1e-4 if np.dtype(dtype).kind == "f" else 0.5
        assert abs(float(coarse[place]) - np.mean(values)) <= tolerance


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_mean_does_not_overflow(dtype) -> None:
    block = np.full((2, 2, 2), min(np.iinfo(dtype).max, 2**50), dtype)
    assert reduce_mean(block, (2, 2, 2))[0, 0, 0] == block[0, 0, 0]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("shape", [(4, 6, 8), (5, 7, 3)])
def test_mode_is_the_most_frequent_label(step, shape) -> None:
    block = np.random.default_rng(2).integers(0, 4, shape).astype(np.uint32) * 1000
    coarse = reduce_mode(block, step)
    for place, values in groups(block, step).items():
        counts = Counter(int(value) for value in values)
        best = min(v for v, n in counts.items() if n == max(counts.values()))
        assert coarse[place] == best


def test_anisotropic_voxels_are_halved_in_the_plane_until_near_cubes() -> None:
    size = np.array([6.0, 1.62, 1.62])
    steps = plan_steps((400, 2000, 2000), tuple(size), stop_at=96)
    assert steps[:3] == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]
    for step in steps[2:]:
        assert max(size * step) / min(size * step) < 4
    size = size * np.prod(steps, axis=0)
    assert size.max() / size.min() < 1.5


def test_unknown_voxels_count_as_cubes_and_thin_axes_stay() -> None:
    assert plan_steps((200, 200, 200), None, stop_at=96) == [(2, 2, 2), (2, 2, 2)]
    assert plan_steps((10, 200, 200), None, stop_at=96) == [(1, 2, 2), (1, 2, 2)]
    assert plan_steps((96, 96, 96), None, stop_at=96) == []


def test_blocks_reduced_apart_equal_the_whole() -> None:
    block = np.random.default_rng(3).integers(0, 5, (11, 12, 13)).astype(np.uint16)
    for reduce in (reduce_mean, reduce_mode):
        parts = [reduce(block[z : z + 4], (2, 2, 2)) for z in range(0, 11, 4)]
        np.testing.assert_array_equal(np.concatenate(parts), reduce(block, (2, 2, 2)))
