"""OME-Zarr 0.4 and 0.5, and plain Zarr arrays and groups, version 2 and 3."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.errors

from ...configs.errors import InputError
from ..volume import Volume
from .axes import FileContents, FileLevel, assume_axes, parse_axes, pick_array, reason
from .ngff import Multiscale, read_multiscale
from .zarr_chunks import ChunkLayout, count_missing, plain_layout, read_box

METADATA_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


@dataclass
class ZarrReader:
    """Reads boxes of the arrays of one store, one array a level."""

    path: str
    arrays: tuple[str, ...]
    layouts: tuple[ChunkLayout | None, ...]
    _opened: dict[int, zarr.Array] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open handle behind: the other process opens its own."""
        return {"path": self.path, "arrays": self.arrays, "layouts": self.layouts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back closed; the file is opened at the first read."""
        self.__init__(**state)

    def read(self, level: int, box: tuple[slice, ...]) -> np.ndarray:
        """Give a box of a level; only the chunks that it crosses are read."""
        layout = self.layouts[level]
        if layout is not None:
            return read_box(layout, box)
        if level not in self._opened:
            self._opened[level] = _array(self.path, self.arrays[level])
        try:
            return np.asarray(self._opened[level][box])
        except Exception as error:  # codecs raise types of their own
            raise InputError(
                f"{self.path}/{self.arrays[level]}: a damaged chunk ({reason(error)});"
                " convert or fetch the store again"
            ) from error


def open_zarr(path: str, axes: str | None = None, dataset: str | None = None) -> FileContents:
    """Describe a Zarr store on disk.

    Args:
        path: folder of an image group, a plain group or an array.
        axes: the order in which the arrays lie in the file, in place of what it says.
        dataset: group or array inside the store, such as "labels/vessels".

    Raises:
        InputError: missing or damaged metadata, no such array, unknown axes, not a volume, or a
            store without a single chunk.
    """
    node = _node(path)
    if dataset is not None and isinstance(node, zarr.Group):
        inner = dataset.strip("/")
        if inner not in node:
            raise InputError(f"{path}: nothing called {dataset!r} in it; {_members(node)}")
        path = f"{path}/{inner}"
        node = _node(path)
    if isinstance(node, zarr.Array):
        return _describe_array(path, "", node, axes)
    attributes = dict(node.attrs)
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, dict):
        raise InputError(f"{path}: damaged OME-Zarr metadata: 'ome' is {ome!r:.80}")
    if "multiscales" in ome:
        return _describe_image(path, read_multiscale(attributes, path, axes))
    if "plate" in ome or "well" in ome:
        raise InputError(f"{path}: a plate, expected one image; open a field inside it")
    labels = ome.get("labels")
    if isinstance(labels, list):
        one = labels[0] if labels else "NAME"
        raise InputError(f"{path}: a group of label images, expected one; open {path}/{one}")
    if "bioformats2raw.layout" in ome and "0" in node:
        return open_zarr(f"{path}/0", axes)
    if path.rstrip("/").lower().endswith(".ome.zarr"):
        raise InputError(
            f"{path}: named .ome.zarr, but without OME metadata ('multiscales' in zarr.json or "
            ".zattrs), so voxel size and axes are lost; fetch it again, or open an array inside it"
        )
    shapes = {name: array.shape for name, array in _arrays(node)}
    name = pick_array(shapes, None, path)
    return _describe_array(path, name, _array(path, name), axes)


def missing_chunks(volume: Volume) -> list[tuple[int, int]]:
    """Count, level by level, the chunk files that are missing and those a full store would have.

    In Zarr a chunk that is not there means the fill value: writers leave empty ones out, and a copy
    that broke off looks just the same. So a gap is no error here, except in the stores of this
    package, which are written whole and say so. `luxvox info` and `luxvox audit` show the count.

    Returns:
        (missing, expected) for each level; empty for formats other than Zarr.
    """
    if not isinstance(volume.reader, ZarrReader):
        return []
    counts = []
    for name, layout in zip(volume.reader.arrays, volume.reader.layouts, strict=True):
        if layout is not None:
            counts.append(count_missing(layout))
        else:
            array = _array(volume.reader.path, name)
            counts.append((array.nchunks - array.nchunks_initialized, array.nchunks))
    return counts


def _node(path: str) -> zarr.Group | zarr.Array:
    folder = Path(path)
    for name in METADATA_FILES:
        if (folder / name).exists():
            try:
                json.loads((folder / name).read_text())
            except ValueError as error:
                raise InputError(
                    f"{folder / name}: damaged Zarr metadata ({reason(error)}); fetch it again"
                ) from error
    try:
        return zarr.open(path, mode="r")
    except PermissionError:
        raise
    except Exception as error:  # zarr raises ValueError, KeyError, TypeError and types of its own
        if not any((folder / name).exists() for name in METADATA_FILES[:3]):
            why = "no zarr.json, .zgroup or .zarray in it"
        else:
            why = reason(error)
        raise InputError(f"{path}: missing or damaged Zarr metadata ({why})") from error


def _array(path: str, name: str) -> zarr.Array:
    node = _node(f"{path}/{name}" if name else path)
    if not isinstance(node, zarr.Array):
        raise InputError(f"{path}/{name}: a Zarr group, expected an array")
    return node


def _arrays(group: zarr.Group) -> list[tuple[str, zarr.Array]]:
    return [
        (name, member)
        for name, member in group.members(max_depth=4)
        if isinstance(member, zarr.Array)
    ]


def _members(group: zarr.Group) -> str:
    names = [name for name, _ in group.members(max_depth=2)][:8]
    return f"there is {', '.join(names)}" if names else "it is empty"


def _describe_image(path: str, image: Multiscale) -> FileContents:
    arrays = [_array(path, name) for name in image.paths]
    if len(arrays[0].shape) != len(image.axes):
        raise InputError(
            f"{path}: damaged OME-Zarr metadata: axes {image.axes!r} name {len(image.axes)} axes,"
            f" but the array {image.paths[0]!r} has {len(arrays[0].shape)}"
        )
    finest = image.scales[0]
    levels, notes = [], list(image.notes)
    rows = zip(arrays, image.scales, image.translations, strict=True)
    for array, scale, shift in rows:
        sizes = shifts = factor = None
        if scale is not None:
            sizes = tuple(
                s * unit if unit and s > 0 else None
                for s, unit in zip(scale, image.unit_um, strict=True)
            )
            shifts = tuple(
                t * unit if unit else None for t, unit in zip(shift, image.unit_um, strict=True)
            )
            if finest is not None and min(*finest, *scale) > 0:
                factor = tuple(s / first for s, first in zip(scale, finest, strict=True))
        levels.append(FileLevel(tuple(array.shape), sizes, shifts, tuple(array.chunks), factor))
    if (
        finest is not None
        and set(finest) != {1.0}
        and not all(
            unit for axis, unit in zip(image.axes, image.unit_um, strict=True) if axis in "zyx"
        )
    ):
        notes.append(f"scale {_numbers(finest)} without a known unit of length")
    layouts = tuple(plain_layout(Path(path) / name) for name in image.paths)
    _refuse_empty(path, layouts[0])
    return FileContents(
        format=f"ome-zarr {image.version}",
        axes=image.axes,
        dtype=np.dtype(arrays[0].dtype),
        levels=tuple(levels),
        reader=ZarrReader(path, image.paths, layouts),
        channel_names=image.channel_names,
        notes=tuple(notes),
    )


def _describe_array(path: str, name: str, array: zarr.Array, axes: str | None) -> FileContents:
    ndim = len(array.shape)
    # Version 2 has no such names of its own; xarray keeps them in an attribute.
    words = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    words = words if isinstance(words, list | tuple) else ()
    stated = "".join(str(word)[:1].lower() for word in words if word)
    if axes is not None:
        names = parse_axes(axes, ndim, path)
    elif len(stated) == ndim and {"z", "y", "x"} <= set(stated) <= set("tczyxs"):
        names = parse_axes(stated, ndim, path)
    else:
        names = assume_axes(ndim, path)
    layout = plain_layout(Path(path) / name)
    _refuse_empty(path, layout)
    return FileContents(
        format=f"zarr v{array.metadata.zarr_format}",
        axes=names,
        dtype=np.dtype(array.dtype),
        levels=(FileLevel(tuple(array.shape), chunks=tuple(array.chunks)),),
        reader=ZarrReader(path, (name,), (layout,)),
    )


def _refuse_empty(path: str, layout: ChunkLayout | None) -> None:
    """Refuse metadata without any data, which would read as a volume of fill values."""
    if layout is not None and not _holds_chunks(layout.folder):
        raise InputError(f"{path}: no chunk of its data is there, only metadata; fetch it again")


def _holds_chunks(folder: str) -> bool:
    """Whether any file but metadata lies there; stops at the first, as there may be millions."""
    with os.scandir(folder) as entries:
        return any(
            _holds_chunks(entry.path) if entry.is_dir() else entry.name not in METADATA_FILES
            for entry in entries
        )


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
