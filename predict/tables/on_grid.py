"""Another volume on the grid of the labels: the image that they are of, or an atlas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError
from ...data.volume import Volume
from ...data.voxel import VoxelSize
from ..block_grid import Box
from .boxes import read_box

ReadBox = Callable[[Box], NDArray]
"""Gives the voxels [Z, Y, X] of a box of the labels' grid."""


def on_grid(volume: Volume, labels: Volume) -> ReadBox:
    """Read a volume as if it had the voxels of the labels.

    A level that has as many voxels is read as it is, unless both files say where they lie, and it
    is elsewhere. Else voxels are looked up by the nearest neighbour in um, and are 0 outside the
    volume. Where a file says where its first voxel lies, that counts; one that does not (all 0)
    begins at the corner of the frame.

    Args:
        volume: of one channel.
        labels: whose level 0 is the grid.

    Raises:
        InputError: several channels; voxel counts differ and a voxel size is not known; or the two
            share no voxel.
    """
    if volume.num_channels != 1:
        raise InputError(
            f"{volume.path}: {volume.num_channels} channels, expected one; choose it with --channel"
        )
    for number, level in enumerate(volume.levels):
        if level.shape == labels.shape and not _apart(volume, number, labels):
            return lambda box: read_box(volume, box, number)
    if volume.voxel_size_um is None or labels.voxel_size_um is None:
        sides = " x ".join(map(str, volume.shape))
        unknown = volume if volume.voxel_size_um is None else labels
        raise InputError(
            f"{volume.path}: {sides} voxels, expected {' x '.join(map(str, labels.shape))} as in "
            f"{labels.path}, or voxel sizes to compare by; {unknown.path} has none, convert it "
            "with --voxel-size"
        )
    level = _level(volume, labels.voxel_size_um)
    places = _places(volume, level, labels)
    if not all((0 <= along).any() for along in places):
        raise InputError(
            f"{volume.path}: lies beside {labels.path} by their voxel sizes and translations, "
            "expected the same frame; convert one of them with --voxel-size"
        )

    def read(box: Box) -> NDArray:
        wanted = [along[part] for along, part in zip(places, box, strict=True)]
        there = [along >= 0 for along in wanted]
        found = np.zeros([len(along) for along in wanted], volume.dtype)
        if all(map(np.any, there)):
            near = [along[inside] for along, inside in zip(wanted, there, strict=True)]
            z, y, x = (slice(int(along[0]), int(along[-1]) + 1) for along in near)
            values = read_box(volume, (z, y, x), level)
            rest = np.ix_(*(along - along[0] for along in near))
            found[np.ix_(*there)] = values[rest]
        return found

    return read


def _level(volume: Volume, size: VoxelSize) -> int:
    """The coarsest level that is no coarser than the labels; 0 where all are."""
    fine = 0
    for number, level in enumerate(volume.levels):
        own = level.voxel_size_um
        if own is not None and all(a <= 1.01 * b for a, b in zip(own, size, strict=True)):
            fine = number
    return fine


def _apart(volume: Volume, level: int, labels: Volume) -> bool:
    """Whether both say where they lie, and that is half a voxel from each other or more."""
    if not (_is_placed(volume) and _is_placed(labels)):
        return False
    size = np.array(labels.voxel_size_um)
    away = np.abs(_first(labels, 0, size) - _first(volume, level, size))
    return bool((away > size / 2).any())


def _is_placed(volume: Volume) -> bool:
    """Whether the file says where it lies; a first voxel at 0 is what stands there unsaid."""
    return any(volume.levels[0].translation_um or ())


def _first(volume: Volume, level: int, fine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre (z, y, x) of the first voxel of a level, in um.

    Of a file that does not say: as if 0 were the centre of a voxel of `fine` um, and the corner of
    that voxel the corner of the volume.
    """
    own = volume.levels[level]
    if _is_placed(volume):
        return np.array(own.translation_um)
    return (np.array(own.voxel_size_um) - fine) / 2


def _places(volume: Volume, level: int, labels: Volume) -> list[NDArray[np.int64]]:
    """For every plane of the labels along z, y, x the nearest one of a level, -1 = outside."""
    there, ours = volume.levels[level], labels.levels[0]
    assert there.voxel_size_um is not None
    assert ours.voxel_size_um is not None
    fine = np.minimum(volume.voxel_size_um or there.voxel_size_um, ours.voxel_size_um)
    shift = _first(labels, 0, fine) - _first(volume, level, fine)
    places = []
    for axis in range(3):
        at = np.arange(ours.shape[axis]) * ours.voxel_size_um[axis] + shift[axis]
        # Half-way is the lower one; the sliver keeps that from hanging on the last bit.
        nearest = np.ceil(at / there.voxel_size_um[axis] - 0.5 - 1e-6).astype(np.int64)
        nearest[(nearest < 0) | (nearest >= there.shape[axis])] = -1
        places.append(nearest)
    return places
