"""TIFF, OME-TIFF and ImageJ TIFF: which series, axes and levels a file holds."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

import numpy as np
import tifffile

from ...configs.errors import InputError
from ..voxel import VoxelSize
from .axes import FileContents, FileLevel, assume_axes, parse_axes, reason
from .tiff_metadata import channel_names, position_um, voxel_sizes
from .tiff_pages import check_complete, check_mapped, read_box

SUFFIXES = (".tif", ".tiff")


@dataclass
class TiffReader:
    """Reads boxes of one series of a TIFF file."""

    path: str
    series: int
    _handle: tifffile.TiffFile | None = field(default=None, repr=False)
    _process: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __getstate__(self) -> dict:
        """Leave the open handle behind: the other process opens its own."""
        return {"path": self.path, "series": self.series}

    def __setstate__(self, state: dict) -> None:
        """Come back closed; the file is opened at the first read."""
        self.__init__(**state)

    def _open(self) -> tifffile.TiffFile:
        # A forked worker shares the file position of its parent: it must have a handle of its own.
        with self._lock:
            if self._handle is None or self._process != os.getpid():
                self._handle, self._process = tifffile.TiffFile(self.path), os.getpid()
            return self._handle

    def read(self, level: int, box: tuple[slice, ...]) -> np.ndarray:
        """Give a box of a level (pyramids in SubIFDs are levels)."""
        try:
            return read_box(self._open().series[self.series].levels[level], box, self._lock)
        except InputError:
            raise
        except Exception as error:  # codecs raise types of their own, one for each codec
            raise InputError(
                f"{self.path}: truncated or corrupt TIFF ({reason(error)}); fetch the file again"
            ) from error


def open_tiff(path: str, axes: str | None = None, dataset: str | None = None) -> FileContents:
    """Describe a TIFF file.

    Args:
        path: the file.
        axes: the order in which the array lies in the file, in place of what it says of itself.
        dataset: number of the image series in a file of several; None is the first.

    Raises:
        InputError: no TIFF, cut short, no such series, or not a volume.
    """
    reader = TiffReader(path, _series_number(path, dataset))
    try:
        file = reader._open()
        check_complete(file, path)
        if reader.series >= len(file.series):
            raise InputError(f"{path}: no series {reader.series}, it has {len(file.series)}")
        series = file.series[reader.series]
        check_mapped(series, path)
        axes, notes = _series_axes(series, axes, path)
        sizes, more = voxel_sizes(file, reader.series)
        channels = channel_names(file, reader.series)
        position = position_um(file, reader.series)
    except (InputError, PermissionError):
        raise
    except Exception as error:  # a damaged tag may trip tifffile anywhere
        raise InputError(
            f"{path}: cannot be read as TIFF ({reason(error)}); fetch the file again"
        ) from error
    levels = tuple(
        FileLevel(
            shape=tuple(level.shape),
            size_um=_scaled_sizes(axes, series, sizes, level.shape),
            translation_um=_placed(axes, position) if level is series else None,
            chunks=_chunks(level),
        )
        for level in series.levels
    )
    return FileContents(
        format={"ome": "ome-tiff", "imagej": "imagej tiff"}.get(series.kind, "tiff"),
        axes=axes,
        dtype=np.dtype(series.dtype),
        levels=levels,
        reader=reader,
        channel_names=channels,
        notes=(*notes, *more),
    )


def _placed(axes: str, position: VoxelSize | None) -> tuple[float | None, ...] | None:
    """Where the first voxel lies along the file's axes."""
    if position is None:
        return None
    return tuple(position["zyx".index(axis)] if axis in "zyx" else None for axis in axes)


def _series_number(path: str, dataset: str | None) -> int:
    if dataset is None:
        return 0
    if not dataset.strip().isdigit():
        raise InputError(f"{path}: dataset {dataset!r}, expected the number of a series (0, 1 ...)")
    return int(dataset)


def _series_axes(
    series: tifffile.TiffPageSeries, axes: str | None, path: str
) -> tuple[str, list[str]]:
    ndim = len(series.shape)
    if axes is not None:
        return parse_axes(axes, ndim, path), []
    # tifffile's I (pages), Q (unknown) and similar say nothing: plain pages are planes in z.
    stated = series.axes.lower()
    if set(stated) <= set("tczyxs"):
        if ndim < 3:
            raise InputError(f"{path}: a 2D image, expected a volume (sizes {series.shape})")
        return parse_axes(stated, ndim, path), []
    if stated.endswith("yxs") and ndim == 4:
        return "zyxs", ["axes not stated, pages read as z"]
    return assume_axes(ndim, path), ["axes not stated, pages read as z"]


def _chunks(series: tifffile.TiffPageSeries) -> tuple[int, ...]:
    # A page's own chunks; where colours are stored as planes, one plane's.
    inner = tuple(series.keyframe.chunks)
    return (1,) * (len(series.shape) - len(inner)) + inner


def _scaled_sizes(
    names: str,
    series: tifffile.TiffPageSeries,
    sizes: dict[str, float | None],
    shape: tuple[int, ...],
) -> tuple[float | None, ...]:
    """Sizes along the file's axes for a level of `shape`.

    The file's own name of an axis decides, even where the user knows better what it is: the spacing
    of the pages stays the spacing of the pages.
    """
    result: list[float | None] = []
    rows = zip(names, series.axes.lower(), series.shape, shape, strict=True)
    for name, stated, whole, here in rows:
        size = sizes.get(stated if stated in "zyx" else name)
        result.append(None if size is None else size * round(whole / here))
    return tuple(result)
