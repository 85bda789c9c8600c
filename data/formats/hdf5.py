"""HDF5 files (plant-seg, ilastik and others) and Imaris `.ims`, which is HDF5 with fixed names."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from ...configs.errors import InputError
from ..voxel import unit_to_um
from .axes import FileContents, FileLevel, assume_axes, parse_axes, pick_array, reason

SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5", ".ilp")
IMARIS_SUFFIXES = (".ims",)
_ERRORS = (OSError, KeyError, ValueError, RuntimeError)


@dataclass
class Hdf5Reader:
    """Reads boxes of datasets of one HDF5 file.

    `names` holds one dataset for each level, time and channel ([level][time][channel]) for Imaris,
    whose axes then are "tczyx"; one single dataset, with the file's own axes, for other files.
    """

    path: str
    names: tuple[tuple[tuple[str, ...], ...], ...]
    single: bool
    _handle: h5py.File | None = field(default=None, repr=False)
    _process: int = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open handle behind: the other process opens its own."""
        return {"path": self.path, "names": self.names, "single": self.single}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back closed; the file is opened at the first read."""
        self.__init__(**state)

    def read(self, level: int, box: tuple[slice, ...]) -> np.ndarray:
        """Give a box of a level; HDF5 decodes the chunks that it crosses."""
        if self._handle is None or self._process != os.getpid():
            self._handle, self._process = open_file(self.path), os.getpid()
        try:
            if self.single:
                return self._dataset(self.names[0][0][0])[box]
            times, channels, *space = box
            return np.stack(
                [
                    [self._dataset(name)[tuple(space)] for name in names[channels]]
                    for names in self.names[level][times]
                ]
            )
        except _ERRORS as error:
            raise InputError(
                f"{self.path}: truncated or corrupt HDF5 ({reason(error)}); fetch the file again"
            ) from error

    def _dataset(self, name: str) -> h5py.Dataset:
        assert self._handle is not None
        dataset = self._handle[name]
        assert isinstance(dataset, h5py.Dataset)
        return dataset


def open_file(path: str) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises:
        InputError: no HDF5, or cut short.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        raise InputError(f"{path}: cannot be read as HDF5 ({reason(error)})") from error


def open_hdf5(path: str, axes: str | None = None, dataset: str | None = None) -> FileContents:
    """Describe a volume in an HDF5 file.

    The voxel size is the attribute `element_size_um` of the dataset, (z, y, x), as plant-seg and
    ilastik write it.

    Args:
        path: the file.
        axes: the order in which the array lies in the file, in place of what it says.
        dataset: name inside the file; None is the only or the largest one with three axes.

    Raises:
        InputError: no HDF5, cut short, no such dataset, several that could be meant, not a volume.
    """
    with open_file(path) as file:
        try:
            shapes = _shapes(file)
            name = pick_array(shapes, dataset, path)
            found = file[name]
            assert isinstance(found, h5py.Dataset)
            shape, dtype, chunks = tuple(found.shape), found.dtype, found.chunks
            tags, sizes = found.attrs.get("axistags"), found.attrs.get("element_size_um")
        except _ERRORS as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: truncated or corrupt HDF5 ({reason(error)})") from error
    names = _axes(tags, axes, len(shape), path)
    others = [other for other in shapes if other != name]
    notes = [f"dataset {name!r}; beside it {', '.join(others[:5])}"] if others else []
    size_um = None
    if sizes is not None:
        by_axis = _three_sizes(sizes)
        size_um = tuple(by_axis.get(axis) for axis in names) if by_axis else None
        if not by_axis:
            notes.append(f"element_size_um is {str(sizes)[:60]!r}, not three positive numbers")
    return FileContents(
        format="hdf5",
        axes=names,
        dtype=dtype,
        levels=(FileLevel(shape, size_um, chunks=chunks),),
        reader=Hdf5Reader(path, (((name,),),), single=True),
        notes=tuple(notes),
    )


def _three_sizes(sizes: Any) -> dict[str, float]:
    """Sizes by axis; empty where the attribute does not hold three positive numbers."""
    try:
        numbers = np.asarray(sizes, float)
    except (TypeError, ValueError):  # words
        return {}
    if numbers.shape != (3,) or not (np.isfinite(numbers) & (numbers > 0)).all():
        return {}
    return dict(zip("zyx", map(float, numbers), strict=True))


def _shapes(file: h5py.File) -> dict[str, tuple[int, ...]]:
    shapes = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            shapes[name] = tuple(item.shape)

    file.visititems(visit)
    return shapes


def _axes(tags: Any, axes: str | None, ndim: int, path: str) -> str:
    if axes is not None:
        return parse_axes(axes, ndim, path)
    if isinstance(tags, str):  # vigra's, which ilastik writes
        try:
            stated = "".join(entry["key"] for entry in json.loads(tags)["axes"])
        except (ValueError, KeyError, TypeError):
            stated = ""
        if len(stated) == ndim:
            return parse_axes(stated, ndim, path)
    return assume_axes(ndim, path)


def open_imaris(path: str, axes: str | None = None) -> FileContents:
    """Describe an Imaris file: levels, time points, channels, and voxel sizes from its extents.

    Layout: Imaris 5.5 file format, /DataSet/ResolutionLevel i/TimePoint j/Channel k/Data and the
    attributes of /DataSetInfo/Image, where axis 0 is x.

    Args:
        path: the file.
        axes: refused unless it is the fixed order "tczyx".

    Raises:
        InputError: no Imaris file, or cut short.
    """
    if axes is not None and axes.strip().lower() not in ("tczyx", "czyx", "zyx"):
        raise InputError(f"{path}: axes {axes!r}, but an Imaris file is always tczyx")
    with open_file(path) as file:
        try:
            return _describe_imaris(file, path)
        except _ERRORS as error:
            raise InputError(f"{path}: damaged Imaris file, {reason(error)}") from error


def _describe_imaris(file: h5py.File, path: str) -> FileContents:
    image = file["DataSetInfo/Image"].attrs
    dtype = np.dtype(np.uint8)
    # Chunks fill the datasets up: the real size of a level stands in the attributes of a channel.
    names, shapes, chunks = [], [], []
    for level in range(_count(file, "DataSet")):
        group = f"DataSet/ResolutionLevel {level}"
        times = _count(file, group)
        channels = _count(file, f"{group}/TimePoint 0")
        names.append(
            tuple(
                tuple(f"{group}/TimePoint {t}/Channel {c}/Data" for c in range(channels))
                for t in range(times)
            )
        )
        data = file[names[-1][0][0]]
        if not isinstance(data, h5py.Dataset):
            raise KeyError(f"{names[-1][0][0]} is no dataset")
        attrs = data.parent.attrs
        real = [int(_text(attrs[f"ImageSize{axis}"])) for axis in "ZYX"]
        shapes.append((times, channels, *real))
        chunks.append(None if data.chunks is None else (1, 1, *data.chunks))
        dtype = data.dtype
    low = [float(_text(image[f"ExtMin{axis}"])) for axis in (2, 1, 0)]
    high = [float(_text(image[f"ExtMax{axis}"])) for axis in (2, 1, 0)]
    unit = unit_to_um(_text(image["Unit"])) if "Unit" in image else None
    notes = [] if unit else ["extents without a known unit of length"]
    levels = []
    first = None
    for shape, chunk in zip(shapes, chunks, strict=True):
        size = [(b - a) / n for a, b, n in zip(low, high, shape[2:], strict=True)]
        first = first or size
        # Extents end at the faces of voxels; ours is the place of a centre, from that of level 0.
        shift = [a + 0.5 * (s - f) for a, s, f in zip(low, size, first, strict=True)]
        levels.append(
            FileLevel(
                shape,
                (None, None, *(s * unit for s in size)) if unit and min(size) > 0 else None,
                (None, None, *(s * unit for s in shift)) if unit else None,
                chunk,
            )
        )
    channels = tuple(
        _text(file[f"DataSetInfo/Channel {c}"].attrs.get("Name", str(c)))
        for c in range(shapes[0][1])
    )
    return FileContents(
        format="imaris",
        axes="tczyx",
        dtype=dtype,
        levels=tuple(levels),
        reader=Hdf5Reader(path, tuple(names), single=False),
        channel_names=channels if len(set(channels)) == len(channels) else (),
        notes=tuple(notes),
    )


def _count(file: h5py.File, name: str) -> int:
    group = file[name]
    if not isinstance(group, h5py.Group) or not len(group):
        raise KeyError(f"{name} holds nothing")
    return len(group)


def _text(value: Any) -> str:
    """Imaris keeps text as an array of single characters."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, str):
        return value
    return b"".join(np.asarray(value).ravel().tolist()).decode(errors="replace").strip("\x00 ")
