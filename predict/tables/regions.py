"""Regions to count in: cubes of a grid, or the areas of an atlas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError
from ...data.volume import Volume
from ..block_grid import Box
from ..task_weights import Triple
from .on_grid import ReadBox, on_grid


def grid_regions(shape: Triple, side: Triple) -> ReadBox:
    """Blocks of so many voxels, numbered z-major from 1.

    Args:
        shape: (Z, Y, X) of the labels.
        side: (z, y, x) of a region; the last one of an axis may be shorter.

    Raises:
        InputError: a side below 1.
    """
    if min(side) < 1:
        raise InputError(f"--regions {','.join(map(str, side))}: expected sides of at least 1")
    _, rows, columns = (-(-size // part) for size, part in zip(shape, side, strict=True))

    def read(box: Box) -> NDArray:
        z, y, x = (
            np.arange(part.start, part.stop, dtype=np.int64) // step
            for part, step in zip(box, side, strict=True)
        )
        return 1 + (z[:, None, None] * rows + y[:, None]) * columns + x

    return read


def atlas_regions(atlas: Volume, labels: Volume) -> ReadBox:
    """The areas of an atlas on the grid of the labels; 0 is outside of all.

    Args:
        atlas: of whole numbers, in the same frame; its voxels may be larger or smaller.
        labels: whose grid is wanted.

    Raises:
        InputError: as `on_grid`; and when read: numbers with a fraction or below 0.
    """
    read = on_grid(atlas, labels)

    def numbers(box: Box) -> NDArray:
        found = read(box)
        whole = found.astype(np.int64) if np.isfinite(found).all() else np.full_like(found, -1)
        if (whole != found).any() or whole.min() < 0:
            raise InputError(
                f"{atlas.path}: voxels of type {atlas.dtype} that are no area numbers, expected "
                "whole numbers from 0; is it the image instead of the atlas's labels?"
            )
        return whole

    return numbers
