"""Look into the files of one row: can they be read, and what do they hold.

Memory is bounded: a level of at most `WHOLE_VOXELS` is read in slabs, of anything larger 27 blocks.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from ..configs.errors import InputError
from .formats.ome_zarr import missing_chunks
from .manifest import Row, open_labels, open_row
from .open import open_volume
from .volume import Volume
from .voxel import VoxelSize

WHOLE_VOXELS = 2**25  # 128 x 512 x 512: read whole, about half a second
_SLAB_VOXELS = 2**22
_BLOCK_SIDE = 64
_HASHED_BYTES = 2**28  # files up to this size are hashed whole
_MOST_VALUES = 10_000  # label values that are kept; instance labels may hold more

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class VolumeFacts:
    """What a look into one volume gave.

    Attributes:
        shape: (Z, Y, X) of level 0.
        voxel_size_um: (z, y, x) in um as the file states it; None when it does not.
        constant_channels: channels in which all finite values are equal.
        nonfinite_share: share of voxels that are NaN or infinite, 0 to 1.
        content: hash of the voxels in canonical order, whatever file they lie in.
        whole: every voxel of level 0 was read (else a coarser level, or 27 blocks).
        missing_chunks: files of a Zarr store that are missing (they read as fill value), and how
            many a full store has; all levels.
        values: distinct values, for labels; None for images.
    """

    shape: Shape
    voxel_size_um: VoxelSize | None
    num_channels: int
    constant_channels: tuple[int, ...]
    nonfinite_share: float
    content: str
    whole: bool
    missing_chunks: tuple[int, int]
    values: tuple[float, ...] | None = None


@dataclass(frozen=True)
class RowFacts:
    """What is known of a row after its files were opened; a text where a file cannot be read."""

    row: Row
    image: VolumeFacts | str
    labels: VolumeFacts | str | None
    target: VolumeFacts | str | None
    file_hash: str | None


def look_at_row(row: Row) -> RowFacts:
    """Open and read the files of a row. Files that are missing altogether are not looked at."""
    image = _look(lambda: open_row(row, voxel_size_um=None), row.image, values=False)
    labels = target = None
    if row.labels is not None:
        labels = _look(lambda: open_labels(row, voxel_size_um=None), row.labels, values=True)
    if row.target is not None:
        path = row.target
        target = _look(lambda: open_volume(path, axes=row.axes), path, values=False)
    return RowFacts(row, image, labels, target, hash_file(row.image))


def _look(opener: Callable[[], Volume], path: Path, *, values: bool) -> VolumeFacts | str:
    # Every door is meant to raise InputError on a damaged file; an audit must outlive those that
    # do not, and it hides nothing: the message becomes an error of the report.
    try:
        return _measure(opener(), values=values)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    except Exception as error:
        return f"reading fails with {type(error).__name__}: {error}"


def _measure(volume: Volume, *, values: bool) -> VolumeFacts:
    gaps = missing_chunks(volume)
    level = _level_to_read(volume)
    whole = math.prod(volume.levels[level].shape) <= WHOLE_VOXELS
    boxes = list(_boxes(volume, level, whole))
    if level > 0:
        # The coarse level tells of the content, blocks of the finest that it can be read.
        boxes += list(_boxes(volume, 0, whole=False))
    digest = hashlib.blake2b(repr((volume.num_channels, volume.shape)).encode(), digest_size=16)
    low = np.full(volume.num_channels, np.inf)
    high = np.full(volume.num_channels, -np.inf)
    bad = total = 0
    distinct: set[float] = set()
    for at_level, origin, shape in boxes:
        block = volume.read(origin, shape, at_level)
        # float32 holds the 16-bit values of cameras exactly, and is the same for every file type.
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and is reported so
            flat = block.reshape(len(block), -1).astype(np.float32)
        digest.update(flat.tobytes())
        finite = np.isfinite(flat)
        bad += flat.size - int(finite.sum())
        total += flat.size
        low = np.minimum(low, np.where(finite, flat, np.inf).min(axis=1))
        high = np.maximum(high, np.where(finite, flat, -np.inf).max(axis=1))
        if values and len(distinct) < _MOST_VALUES:
            distinct.update(np.unique(block).tolist())
    return VolumeFacts(
        shape=volume.shape,
        voxel_size_um=volume.voxel_size_um,
        num_channels=volume.num_channels,
        constant_channels=tuple(int(c) for c in np.flatnonzero(~(high > low))),
        nonfinite_share=bad / total,
        content=digest.hexdigest(),
        whole=whole and level == 0,
        missing_chunks=(
            sum(missing for missing, _ in gaps),
            sum(expected for _, expected in gaps),
        ),
        values=tuple(sorted(distinct)) if values else None,
    )


def _level_to_read(volume: Volume) -> int:
    """The finest level that can be read whole, else the finest."""
    for number, level in enumerate(volume.levels):
        if math.prod(level.shape) <= WHOLE_VOXELS:
            return number
    return 0


def _boxes(volume: Volume, level: int, whole: bool) -> Iterator[tuple[int, Shape, Shape]]:
    """(level, origin, shape) of what is read; depends on the shape alone, so that equal content
    under other names gives equal hashes."""
    size = volume.levels[level].shape
    if whole:
        plane = size[1] * size[2] * volume.num_channels
        depth = max(1, _SLAB_VOXELS // plane)
        for z in range(0, size[0], depth):
            yield level, (z, 0, 0), (min(depth, size[0] - z), size[1], size[2])
        return
    side = [min(_BLOCK_SIDE, n) for n in size]
    starts = [sorted({0, (n - s) // 2, n - s}) for n, s in zip(size, side, strict=True)]
    for z, y, x in product(*starts):
        yield level, (z, y, x), (side[0], side[1], side[2])


def hash_file(path: Path) -> str | None:
    """Fingerprint of a file's bytes: sha256 of all, or for large files of its size and ten parts.

    None for folders (their content is compared voxel by voxel instead) and for files that cannot
    be opened, which the door reports.
    """
    if not path.is_file():
        return None
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    piece = 2**20
    if size <= _HASHED_BYTES:
        places, piece = range(0, max(size, 1), piece), piece
    else:
        places = [round(i * (size - piece) / 9) for i in range(10)]
    try:
        with open(path, "rb") as file:
            for place in places:
                file.seek(place, os.SEEK_SET)
                digest.update(file.read(piece))
    except OSError:
        return None
    return digest.hexdigest()
