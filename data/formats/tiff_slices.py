"""Folders of TIFF slices: one file a plane, in the order of the numbers in their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from ...configs.errors import InputError
from .axes import FileContents, FileLevel, parse_axes, reason
from .tiff import SUFFIXES
from .tiff_pages import check_complete, read_box


@dataclass(frozen=True)
class SliceReader:
    """Reads boxes of a folder of TIFF slices as one array (z, y, x) or (z, y, x, s)."""

    paths: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, level: int, box: tuple[slice, ...]) -> np.ndarray:
        """Give a box; only the slices it crosses are opened."""
        sizes = [part.stop - part.start for part in box]
        result = np.empty(sizes, self.dtype)
        for index, path in enumerate(self.paths[box[0]]):
            try:
                with tifffile.TiffFile(path) as file:
                    plane = read_box(file.series[0], box[1:], file.filehandle.lock)
            except Exception as error:
                raise InputError(
                    f"{path}: truncated or corrupt TIFF ({reason(error)}); fetch the file again"
                ) from error
            result[index] = plane
        return result


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sort key by which slice_10 comes after slice_9."""
    return [
        (0, int(part)) if part.isdigit() else (1, part.lower())
        for part in re.split(r"(\d+)", name)
        if part
    ]


def open_slices(path: str, axes: str | None = None) -> FileContents:
    """Describe a folder of 2D TIFF slices, sorted by the numbers in their names, as planes in z.

    Raises:
        InputError: no slices, slices of several sizes or types, or files that are stacks.
    """
    files = sorted(
        (file for file in Path(path).iterdir() if file.suffix.lower() in SUFFIXES),
        key=lambda file: natural_key(file.name),
    )
    first: tuple[tuple[int, ...], np.dtype, str] | None = None
    for file in files:
        try:
            with tifffile.TiffFile(file) as tiff:
                series = tiff.series[0]
                found = tuple(series.shape), np.dtype(series.dtype), series.axes
                check_complete(tiff, str(file))
        except (InputError, PermissionError):
            raise
        except Exception as error:  # as in tiff.py
            raise InputError(
                f"{file}: cannot be read as TIFF ({reason(error)}); fetch the file again"
            ) from error
        first = first or found
        if found[:2] != first[:2]:
            raise InputError(
                f"{file}: {found[0]} {found[1]}, but {files[0].name} is {first[0]} {first[1]};"
                " the slices of a folder must be alike"
            )
    assert first is not None  # open_volume comes here only when there are TIFF files
    shape, dtype, plane_axes = first
    whole = (len(files), *shape)
    if axes is not None:
        names = parse_axes(axes, len(whole), path)
    elif len(shape) == 2:
        names = "zyx"
    elif len(shape) == 3 and plane_axes.endswith("S"):
        names = "zyxs"
    else:
        raise InputError(
            f"{path}: a folder of {len(files)} TIFF files with sizes {shape} each, expected 2D"
            " slices; open one of the files, or name the axes, such as zcyx"
        )
    reader = SliceReader(tuple(map(str, files)), whole, dtype)
    level = FileLevel(whole, chunks=(1, *shape))
    return FileContents("tiff slices", names, dtype, (level,), reader, notes=_gaps(files))


def _gaps(files: list[Path]) -> tuple[str, ...]:
    """A note where the last numbers in the names leave some out: a copy that broke off, perhaps.

    Names that count in even steps (0, 5, 10 ...) have no gap.
    """
    numbers = [int(found[-1]) for file in files if (found := re.findall(r"\d+", file.stem))]
    steps = np.diff(numbers)
    if len(numbers) < len(files) or not steps.size or steps.min() < 1:
        return ()
    at = int(steps.argmax())
    if steps[at] == steps.min():
        return ()
    return (f"slices may be missing: {files[at + 1].name} follows {files[at].name}",)
