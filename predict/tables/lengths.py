"""Length of tubes: their centreline, box by box, each piece of it counted in one box.

The centreline of a box is found with a margin around it, so that its cut ends lie outside.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...data.voxel import VoxelSize
from ...models.metrics.skeleton import skeleton
from ..block_grid import Box
from ..task_weights import Triple
from .boxes import grown

MARGIN = 32
"""Voxels around a box; tubes up to half as wide have the same centreline in all boxes."""
_ROUNDS = 2  # of smoothing: voxel steps make an oblique line up to 9 % too long, smoothed 1 %
_HALF = [step for step in itertools.product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]


class Links(NamedTuple):
    """Steps of a centreline from voxel to voxel.

    Attributes:
        place: [L, 3] voxel (z, y, x) at the middle of each, in the box.
        um: [L] length.
    """

    place: NDArray[np.int64]
    um: NDArray[np.float64]


def around(box: Box, shape: Triple) -> Box:
    """What has to be read to measure a box of a volume of (Z, Y, X) voxels."""
    return grown(box, MARGIN, MARGIN, shape)


def centreline(mask: NDArray[np.bool_], core: Box, voxel_size_um: VoxelSize) -> Links:
    """The part of a centreline whose steps have their middle in the core.

    Args:
        mask: [Z, Y, X] with the margin.
        core: of what the steps are wanted, in the mask.
        voxel_size_um: (z, y, x).
    """
    thin = skeleton(mask)
    places = np.argwhere(thin)
    one, other = _links(thin, places)
    smooth = _smoothed(places.astype(np.float64) * voxel_size_um, one, other)
    um = np.linalg.norm(smooth[one] - smooth[other], axis=1)
    twice = places[one] + places[other]
    low = np.array([part.start for part in core])
    high = np.array([part.stop for part in core])
    ours = ((twice >= 2 * low) & (twice < 2 * high)).all(1)
    return Links(twice[ours] // 2 - low, um[ours])


def _links(thin: NDArray[np.bool_], places: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
    """Pairs of neighbours (rows of `places`), without the diagonals of corners that steps go
    around."""
    number = np.full([side + 2 for side in thin.shape], -1, np.int64)
    at = places + 1  # a plane of nothing all around
    number[tuple(at.T)] = np.arange(len(places))
    ones, others = [], []
    for step in _HALF:
        there = number[tuple((at + step).T)]
        linked = there >= 0
        for way in itertools.product((-1, 0, 1), repeat=3):
            rest = np.subtract(step, way)
            shorter = np.abs(way).sum() < np.abs(step).sum() > np.abs(rest).sum()
            if any(way) and shorter and np.abs(rest).max() == 1:
                linked &= number[tuple((at + way).T)] < 0
        ones.append(np.flatnonzero(linked))
        others.append(there[linked])
    return np.concatenate(ones), np.concatenate(others)


def _smoothed(um: NDArray[np.float64], one: NDArray, other: NDArray) -> NDArray[np.float64]:
    """Places [S, 3] moved to the mean of themselves and both neighbours; ends and forks stay."""
    count = len(um)
    degree = np.bincount(one, minlength=count) + np.bincount(other, minlength=count)
    between = degree == 2
    for _ in range(_ROUNDS):
        total = um.copy()
        np.add.at(total, one, um[other])
        np.add.at(total, other, um[one])
        um = np.where(between[:, None], total / 3, um)
    return um
