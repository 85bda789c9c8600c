"""Which blocks hold nothing: looked up in the coarsest level, before anything is computed."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError
from ..data.normalize import MAD_TO_SIGMA
from ..data.tissue import BLOCK_VOXELS, medium_of, padding_of, thinned, to_blocks
from ..data.volume import Volume
from ..data.voxel import VoxelSize
from .block_grid import BlockGrid
from .frame import spanned_by

LARGEST = 2**27
"""Voxels of a coarsest level that is still looked at; a volume without a pyramid may have more."""
AT_ONCE = 2**23
"""Voxels that are held at a time."""
DEVIATIONS = 6
"""Of the medium's noise: what rises further is no medium."""


def empty_blocks(volume: Volume, grid: BlockGrid, step: VoxelSize) -> list[int]:
    """Blocks that lie wholly in constant padding, or in medium as flat and dark as it is elsewhere.

    When in doubt a block is not empty: a single voxel of the coarsest level that stands out keeps
    it.

    Args:
        volume: of one channel.
        grid: of the blocks.
        step: (z, y, x) voxels of level 0 from one of the grid to the next, see `Frame.step`.

    Returns:
        Their numbers, ascending; none where the coarsest level is damaged, or too large to look at.
    """
    coarsest = len(volume.levels) - 1
    if math.prod(volume.levels[coarsest].shape) > LARGEST:
        return []
    try:
        medium = medium_up_to(_sample(volume, coarsest))
        darkest, brightest = _extremes(volume, coarsest, grid, step)
    except InputError:
        return []
    return np.flatnonzero(brightest <= max(darkest, medium)).tolist()


def medium_up_to(blocks: NDArray) -> float:
    """The value that empty medium does not exceed; -inf where there is none.

    Args:
        blocks: [N, z, y, x] of a volume, in the file's units.
    """
    blocks = blocks.astype(np.float32)
    real = np.isfinite(blocks)
    if not real.any():
        return -math.inf
    blocks[~real] = np.nan
    real &= ~padding_of(blocks)
    dark = medium_of(blocks, real)
    if not dark.any():
        return -math.inf
    # By medians: blocks of medium at the rim hold tissue as well.
    medium = thinned(blocks[dark][real[dark]])
    middle = np.median(medium)
    noise = MAD_TO_SIGMA * np.median(np.abs(medium - middle))
    step = np.diff(np.unique(medium)).min(initial=np.inf)  # what counts are rounded to
    return float(middle + DEVIATIONS * max(noise, step if np.isfinite(step) else 0))


def _sample(volume: Volume, level: int) -> NDArray:
    """[N, z, y, x]: the whole level, or of a large one layers spread evenly over z."""
    depth, high, wide = volume.levels[level].shape
    if depth * high * wide <= AT_ONCE:
        return to_blocks(volume.read(level=level)[0])
    thick = min(BLOCK_VOXELS, depth)
    starts = np.linspace(0, depth - thick, max(1, AT_ONCE // (thick * high * wide))).astype(int)
    return np.concatenate(
        [to_blocks(volume.read((int(z), 0, 0), (thick, high, wide), level)[0]) for z in starts]
    )


def _extremes(
    volume: Volume, level: int, grid: BlockGrid, step: VoxelSize
) -> tuple[float, NDArray[np.float64]]:
    """The least finite value of a level, and the greatest of every block by its number."""
    shape = volume.levels[level].shape
    scales = [
        each * size / whole
        for each, size, whole in zip(step, shape, spanned_by(volume, level), strict=True)
    ]
    spans = [
        [  # a coarse voxel that lies across the border belongs to both sides
            slice(
                # behind its end the last one goes on
                min(math.floor(first * by), size - 1),
                math.ceil(min(first + side, stored) * by),
            )
            for first in range(0, stored, side)
        ]
        for stored, side, by, size in zip(grid.shape, grid.block, scales, shape, strict=True)
    ]
    darkest, brightest = math.inf, np.full(grid.counts, -math.inf)
    depth, high, wide = shape
    thick = max(1, AT_ONCE // (high * wide))
    for first in range(0, depth, thick):
        slab = volume.read((first, 0, 0), (min(thick, depth - first), high, wide), level)[0]
        finite = np.isfinite(slab)
        if not finite.any():
            continue
        darkest = min(darkest, float(slab[finite].min()))
        if slab.dtype.kind == "f":
            slab[~finite] = -np.inf
        for (z, planes), (y, rows), (x, columns) in itertools.product(*map(enumerate, spans)):
            part = slab[max(planes.start - first, 0) : max(planes.stop - first, 0), rows, columns]
            if part.size:
                brightest[z, y, x] = max(brightest[z, y, x], float(part.max()))
    return darkest, brightest.ravel()
