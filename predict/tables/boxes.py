"""The boxes that labels are read in: as many voxels as fit into memory with all that is asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...data.volume import Volume
from ..block_grid import Box
from ..task_weights import Triple

SIDE = 128
"""Voxels a side, two chunks of the default layout; some 200 bytes a voxel are at work at most."""


def boxes(shape: Triple, side: int) -> Iterator[Box]:
    """Cubes that cover a volume, z slowest; the last of an axis may be shorter.

    Args:
        shape: (Z, Y, X) of the volume.
        side: of a cube.
    """
    for z, y, x in itertools.product(*(range(0, size, side) for size in shape)):
        yield cut((z, y, x), (z + side, y + side, x + side), shape)


def cut(start: Triple, stop: Triple, shape: Triple) -> Box:
    """A box as far as it lies in the volume."""
    z, y, x = (
        slice(max(0, first), min(last, size))
        for first, last, size in zip(start, stop, shape, strict=True)
    )
    return z, y, x


def grown(box: Box, below: int, above: int, shape: Triple) -> Box:
    """A box with so many voxels more before and behind it, as far as they lie in the volume."""
    z, y, x = box
    start = (z.start - below, y.start - below, x.start - below)
    return cut(start, (z.stop + above, y.stop + above, x.stop + above), shape)


def read_box(volume: Volume, box: Box, level: int = 0) -> NDArray:
    """The voxels [Z, Y, X] of a volume of one channel.

    Raises:
        InputError: the file is damaged there.
    """
    origin, shape = [part.start for part in box], [part.stop - part.start for part in box]
    return np.asarray(volume.read(origin, shape, level)[0])
