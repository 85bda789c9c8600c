"""Which blocks hold nothing: looked up in the coarsest level, before anything is computed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError
from ..data.normalize import MAD_TO_SIGMA
from ..data.tissue import medium_of, padding_of, thinned, to_blocks
from ..data.volume import Volume
from ..data.voxel import VoxelSize
from .block_grid import BlockGrid

LARGEST = 2**27
"""Voxels of a coarsest level that is still looked at; a volume without a pyramid may have more."""
DEVIATIONS = 6
"""Of the medium's noise: what rises further is no medium."""


def empty_blocks(volume: Volume, grid: BlockGrid, extent: VoxelSize) -> list[int]:
    """Blocks that lie wholly in constant padding, or in medium as flat and dark as it is elsewhere.

    When in doubt a block is not empty: a single voxel of the coarsest level that stands out keeps
    it.

    Args:
        volume: of one channel.
        grid: of the blocks.
        extent: (z, y, x) of the volume in units of the grid, see `Frame.extent`.

    Returns:
        Their numbers, ascending; none where the coarsest level is damaged, or too large to look at.
    """
    coarsest = len(volume.levels) - 1
    shape = volume.levels[coarsest].shape
    if math.prod(shape) > LARGEST:
        return []
    try:
        something = stands_out(volume.read(level=coarsest)[0])
    except InputError:
        return []
    scale = [ours / size for ours, size in zip(shape, extent, strict=True)]
    empty = []
    for block in range(grid.num_blocks):
        z, y, x = (  # a coarse voxel that lies across the border belongs to both sides
            slice(math.floor(part.start * by), math.ceil(part.stop * by))
            for part, by in zip(grid.box(block), scale, strict=True)
        )
        if not something[z, y, x].any():
            empty.append(block)
    return empty


def stands_out(values: NDArray) -> NDArray[np.bool_]:
    """Voxels [Z, Y, X] that are neither padding nor empty medium."""
    finite = np.isfinite(values)
    if not finite.any():
        return finite
    found = finite & (values > values[finite].min())
    blocks = to_blocks(np.where(finite, values, np.nan) if values.dtype.kind == "f" else values)
    blocks = blocks.astype(np.float32)
    real = np.isfinite(blocks) & ~padding_of(blocks)
    dark = medium_of(blocks, real)
    if dark.any():
        # By medians: blocks of medium at the rim hold tissue as well.
        medium = thinned(blocks[dark][real[dark]])
        middle = np.median(medium)
        noise = MAD_TO_SIGMA * np.median(np.abs(medium - middle))
        step = np.diff(np.unique(medium)).min(initial=np.inf)  # what counts are rounded to
        found &= values > middle + DEVIATIONS * max(noise, step if np.isfinite(step) else 0)
    return found
