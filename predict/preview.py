"""Small pictures of volumes of any size: thinned out, read from the coarsest level that will do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError
from ..data.volume import Volume
from ..data.voxel import VoxelSize
from .task_weights import Triple

SIDE = 160
"""Most voxels a side: with RGB of image and overlay about half a GB is at work."""
_STRIP = 2**24  # bytes that are unpacked at once
_COMPONENTS = 3  # of embeddings that are shown as red, green and blue
_DRAWN = 4096  # vectors that the components are found from


def preview_grid(volume: Volume) -> Triple:
    """(Z, Y, X) of a preview of a volume; one of many channels is smaller."""
    side = round(SIDE / max(1.0, volume.num_channels / 4) ** (1 / 3))
    z, y, x = (min(side, own) for own in volume.shape)
    return z, y, x


def preview_size(volume: Volume, grid: Triple) -> VoxelSize | None:
    """(z, y, x) um of the preview's voxels."""
    if volume.voxel_size_um is None:
        return None
    z, y, x = (
        size * have / shown
        for size, have, shown in zip(volume.voxel_size_um, volume.shape, grid, strict=True)
    )
    return z, y, x


def thinned(volume: Volume, grid: Triple) -> NDArray[Any]:
    """Every n-th voxel of a volume: [C, Z, Y, X] of the grid, in the volume's number type.

    What is damaged stays 0: a page with a hole is better than none.

    Args:
        volume: of any size; only chunks that planes which are shown cross are read, each once.
        grid: (Z, Y, X) wanted, spread over the whole volume.
    """
    fitting = (
        number
        for number in reversed(range(len(volume.levels)))
        if all(have >= want for have, want in zip(volume.levels[number].shape, grid, strict=True))
    )
    level = next(fitting, 0)
    depth, height, width = volume.levels[level].shape
    planes, rows, columns = (
        ((np.arange(shown) + 0.5) * have / shown).astype(np.int64)
        for shown, have in zip(grid, (depth, height, width), strict=True)
    )
    deep, high, _ = volume.levels[level].chunks or (1, 1, 1)
    row = deep * width * volume.num_channels * volume.dtype.itemsize
    band = max(1, _STRIP // row)
    if deep > 1 or band > high:  # a page of a TIFF is read in parts where it is large
        band = high * max(1, band // high)
    found = np.zeros((volume.num_channels, *grid), volume.dtype)
    for layer in np.unique(planes // deep):
        mine = np.flatnonzero(planes // deep == layer)
        top = int(planes[mine[0]])
        for first in range(0, height, band):
            ours = np.flatnonzero((rows >= first) & (rows < first + band))
            if len(ours):
                box = int(planes[mine[-1]]) + 1 - top, min(band, height - first), width
                try:
                    strip = volume.read((top, first, 0), box, level)
                except InputError:
                    continue
                places = np.ix_(planes[mine] - top, rows[ours] - first, columns)
                found[:, mine[:, None], ours] = strip[:, *places]
    return found


def as_colours(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Embeddings [D, Z, Y, X] as RGB [Z, Y, X, 3] from 0 to 1: their three main components."""
    flat = vectors.reshape(len(vectors), -1).T.astype(np.float32)
    drawn = flat[:: max(1, len(flat) // _DRAWN)]
    mean = drawn.mean(0)
    _, _, axes = np.linalg.svd(drawn - mean, full_matrices=False)
    shown = (flat - mean) @ axes[:_COMPONENTS].T
    shown = np.pad(shown, ((0, 0), (0, _COMPONENTS - shown.shape[1])))
    low, high = np.percentile(shown, [2, 98], axis=0)
    shown = np.clip((shown - low) / np.maximum(high - low, 1e-6), 0, 1)
    return shown.reshape(*vectors.shape[1:], _COMPONENTS).astype(np.float32)


def enlarged(values: NDArray[Any], grid: Triple) -> NDArray[Any]:
    """[z, y, x, ...] on a larger grid, nothing invented."""
    places = [
        ((np.arange(wanted) + 0.5) * have / wanted).astype(np.int64)
        for wanted, have in zip(grid, values.shape, strict=False)
    ]
    return values[np.ix_(*places)]
