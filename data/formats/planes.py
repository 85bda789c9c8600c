"""How writers read: boxes of a source that may be larger than memory, or plane after plane."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

ReadBox = Callable[[int, tuple[slice, slice, slice]], np.ndarray]
"""(channel, (z, y, x) slices) -> [Z, Y, X]."""
Progress = Callable[[int, int], None]
"""Told (voxels written, voxels in all)."""

_SLAB = 64  # planes read at once: a chunked source would unpack the same chunks for every plane


def read_planes(
    shape: tuple[int, int, int, int], read: ReadBox, progress: Progress
) -> Iterator[np.ndarray]:
    """Planes [Y, X] of one channel after the other, z ascending.

    Args:
        shape: (C, Z, Y, X).
        read: gives a box of one channel.
        progress: told after every slab of planes.
    """
    channels, depth, height, width = shape
    done = 0
    for channel in range(channels):
        for first in range(0, depth, _SLAB):
            last = min(first + _SLAB, depth)
            slab = read(channel, (slice(first, last), slice(0, height), slice(0, width)))
            yield from slab
            done += slab.size
            progress(done, math.prod(shape))
