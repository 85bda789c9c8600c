"""Coarser levels: which axes to halve, and how to halve them exactly.

Only axes that are sampled about as finely as the finest one are halved, so that an anisotropic
stack first loses resolution in the plane, until its voxels are near cubes.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from ..voxel import VoxelSize

Step = tuple[int, int, int]

# An axis is halved with the finest one while it is at most this much coarser: then no axis ends up
# more than a factor of sqrt(2) away from where it would be best.
_NEAR = math.sqrt(2.0)
_SMALLEST_AXIS = 16  # halving a shorter axis leaves nothing that a crop could be cut from


def plan_steps(
    shape: tuple[int, int, int], voxel_size_um: VoxelSize | None, stop_at: int
) -> list[Step]:
    """Plan the halvings from each level to the next.

    Args:
        shape: (Z, Y, X) of level 0.
        voxel_size_um: of level 0; voxels count as cubes where it is None.
        stop_at: no further level once no side is longer than this.

    Returns:
        (z, y, x) factors, 1 or 2, one tuple for each level after the first.
    """
    steps: list[Step] = []
    size = voxel_size_um or (1.0, 1.0, 1.0)
    while max(shape) > stop_at:
        long = [axis for axis in range(3) if shape[axis] >= _SMALLEST_AXIS]
        finest = min(size[axis] for axis in long)
        step = [1, 1, 1]
        for axis in long:
            if size[axis] <= finest * _NEAR:
                step[axis] = 2
        steps.append((step[0], step[1], step[2]))
        shape = halved(shape, steps[-1])
        size = (size[0] * step[0], size[1] * step[1], size[2] * step[2])
    return steps


def halved(shape: tuple[int, int, int], step: Step) -> tuple[int, int, int]:
    """Give the shape after a step; an odd rest makes a voxel of its own, so nothing is lost."""
    return (-(-shape[0] // step[0]), -(-shape[1] // step[1]), -(-shape[2] // step[2]))


def reduce_mean(block: np.ndarray, step: Step) -> np.ndarray:
    """Average voxels; integers are rounded to the nearest.

    Args:
        block: [Z, Y, X] that starts at a multiple of `step`; an odd rest is averaged alone.
        step: (z, y, x) factors, 1 or 2.

    Returns:
        [ceil(Z / z), ceil(Y / y), ceil(X / x)], same number type.
    """
    corners = _corners(block, step)
    if block.dtype.kind == "f":
        total = np.zeros(corners[0].shape, np.result_type(block.dtype, np.float32))
    else:
        # 8 values of 32 bits fit into 64, of 8 or 16 bits into 32.
        wide = np.int64 if block.dtype.itemsize >= 4 else np.int32
        total = np.zeros(corners[0].shape, np.float64 if block.dtype.itemsize == 8 else wide)
    for corner in corners:
        total += corner
    if block.dtype.kind == "f":
        return (total / len(corners)).astype(block.dtype)
    if total.dtype.kind == "f":
        return np.rint(total / len(corners)).astype(block.dtype)
    return ((total + len(corners) // 2) // len(corners)).astype(block.dtype)


def reduce_mode(block: np.ndarray, step: Step) -> np.ndarray:
    """Take the most frequent label of each group of voxels; of equally frequent ones the smallest.

    Args and result as in `reduce_mean`.
    """
    votes = np.stack(_corners(block, step))
    votes.sort(axis=0)
    best = votes[0].copy()
    best_count = np.ones(best.shape, np.uint8)
    count = np.ones(best.shape, np.uint8)
    for before, vote in itertools.pairwise(votes):
        count = np.where(vote == before, count + 1, 1).astype(np.uint8)
        better = count > best_count
        best[better] = vote[better]
        best_count[better] = count[better]
    return best


def _corners(block: np.ndarray, step: Step) -> list[np.ndarray]:
    """The 1 to 8 strided views whose voxels are merged.

    An odd side is made even by repeating its last plane: for a factor of 2 that weighs the voxels
    that exist equally.
    """
    odd = [size % factor for size, factor in zip(block.shape, step, strict=True)]
    if any(odd):
        block = np.pad(block, [(0, rest) for rest in odd], mode="edge")
    return [
        block[z :: step[0], y :: step[1], x :: step[2]]
        for z, y, x in itertools.product(*map(range, step))
    ]
