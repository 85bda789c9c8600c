"""The one way out: arrays and volumes to multiscale OME-Zarr, OME-TIFF or NIfTI, whole or not at
all."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..configs.errors import InputError
from .formats.nifti_writer import write_nifti
from .formats.ome_zarr import METADATA_FILES
from .formats.planes import ReadBox
from .formats.tiff_writer import write_ome_tiff
from .formats.zarr_writer import ZarrPlan, list_labels, write_zarr
from .volume import Volume
from .voxel import VoxelSize, check_voxel_size

_FULL_BYTES = 2**20  # a disk with less free space than this is full
_TIFF_SUFFIXES = (".tif", ".tiff")
_NIFTI_SUFFIXES = (".nii", ".nii.gz")


def save_volume(
    source: np.ndarray | Volume,
    out: str | os.PathLike[str],
    *,
    voxel_size_um: VoxelSize | None,
    axes: str = "zyx",
    kind: Literal["image", "labels"] = "image",
    channel_names: Sequence[str] | None = None,
    ngff: Literal["0.4", "0.5"] = "0.5",
    chunks: tuple[int, int, int] | None = None,
    shards: tuple[int, int, int] | None = None,
    overwrite: bool = False,
    translation_um: VoxelSize | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a volume to a `.zarr` (multiscale OME-Zarr), an `.ome.tif` or a `.nii.gz`.

    It is written beside its place under a temporary name and then renamed, so what stands at `out`
    is always whole. A volume is read in blocks and may be larger than memory.

    Args:
        source: [Z, Y, X] or [C, Z, Y, X] (anything that numpy can slice), or an opened volume, of
            which level 0 is written.
        out: ends in .zarr; in .tif or .tiff, which is an OME-TIFF under any name; in .nii or
            .nii.gz, which keep no names of channels.
        voxel_size_um: (z, y, x); None takes that of a volume, and is otherwise unknown.
        axes: of an array: "zyx" or "czyx". A volume brings its own.
        kind: images are averaged in coarser levels; labels keep their most frequent value.
        channel_names: one for each channel.
        ngff: version of OME-Zarr; 0.4 is Zarr v2, for older viewers.
        chunks: (z, y, x); None cuts sides longer than 96 voxels into 64s.
        shards: (z, y, x), multiples of the chunks; None gives sides of about 256.
        overwrite: replace what stands at `out`.
        translation_um: (z, y, x) of the centre of the first voxel.
        progress: told (voxels written, voxels in all) as it goes.

    Returns:
        The path of what was written.

    Raises:
        InputError: something stands there already, an unknown ending, a number type that cannot be
            stored, an unwritable or full disk.
    """
    out = Path(out).expanduser()
    ending = _check_request(out, ngff, kind)
    if isinstance(source, Volume):
        voxel_size_um = voxel_size_um or source.voxel_size_um
        translation_um = translation_um or source.levels[0].translation_um
        axes = "czyx" if source.num_channels > 1 else "zyx"
        channel_names = channel_names or _own_names(source)
    if voxel_size_um is not None:
        voxel_size_um = check_voxel_size(voxel_size_um, f"{out}: voxel size")
    shape, dtype, read = _reading(source, axes, kind, str(out))
    names = tuple(channel_names or ())
    if names and len(names) != shape[0]:
        raise InputError(f"{out}: {len(names)} channel names for {shape[0]} channels")
    report = progress or (lambda done, total: None)
    with _in_place(out, overwrite, source) as temporary:
        if ending in _TIFF_SUFFIXES:
            write_ome_tiff(
                temporary, shape, dtype, axes, read, report, voxel_size_um, names, translation_um
            )
        elif ending in _NIFTI_SUFFIXES:
            zipped = ending.endswith(".gz")
            write_nifti(
                temporary, shape, dtype, read, report, voxel_size_um, translation_um, zipped
            )
        else:
            plan = ZarrPlan(
                shape=shape[1:],
                channels=shape[0],
                dtype=dtype,
                axes=axes,
                kind=kind,
                ngff=ngff,
                name=out.name.removesuffix(".zarr").removesuffix(".ome"),
                voxel_size_um=voxel_size_um,
                translation_um=translation_um,
                channel_names=names,
                chunks=chunks,
                shards=shards,
            )
            write_zarr(temporary, plan, read, report)
    return out


def save_labels(
    source: np.ndarray,
    store: str | os.PathLike[str],
    name: str,
    *,
    voxel_size_um: VoxelSize | None,
    ngff: Literal["0.4", "0.5"] = "0.5",
    overwrite: bool = False,
    translation_um: VoxelSize | None = None,
) -> Path:
    """Write labels into the OME-Zarr of their image, as `labels/NAME`, and name them there.

    Args:
        source: [Z, Y, X] whole numbers or truth values, on the grid of the image.
        store: the `.ome.zarr` of the image.
        name: one word; opens afterwards as `STORE/labels/NAME`.
        voxel_size_um: (z, y, x); None = unknown.
        ngff: of the store.
        overwrite: replace labels of that name.
        translation_um: (z, y, x) of the centre of the first voxel.

    Returns:
        The path of the labels.

    Raises:
        InputError: no store stands there, labels of that name do already, or they are no integers.
    """
    store = Path(store).expanduser()
    _check_store(store, name)
    out = store / "labels" / name
    shape, dtype, read = _reading(source, "zyx", "labels", str(out))
    plan = ZarrPlan(
        shape=shape[1:],
        channels=1,
        dtype=dtype,
        axes="zyx",
        kind="labels",
        ngff=ngff,
        name=name,
        voxel_size_um=voxel_size_um,
        translation_um=translation_um,
        channel_names=(),
        chunks=None,
        shards=None,
    )
    with _in_place(out, overwrite, source) as temporary:
        write_zarr(temporary, plan, read, lambda done, total: None)
    list_labels(store / "labels", name, ngff)
    return out


def check_out(
    out: str | os.PathLike[str], *, overwrite: bool = False, source: Volume | None = None
) -> None:
    """Refuse before long work what `save_volume` (or `save_labels`) would refuse after it.

    Args:
        out: as of `save_volume`, or `STORE/labels/NAME` as of `save_labels`.
        overwrite: replace what stands there.
        source: what the result is computed from, which it must not replace.

    Raises:
        InputError: as those two.
    """
    path = Path(out).expanduser()
    store = labels_store(path)
    if store is None:
        _check_request(path, "0.5", "image")
        _check_place(path, overwrite, source)
        return
    _check_store(store, path.name)
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; choose another name or pass --overwrite")


def labels_store(out: Path) -> Path | None:
    """The store of an `out` such as `brain.ome.zarr/labels/vessels`; None of any other."""
    inside = out.parent.name == "labels" and out.parent.parent.suffix.lower() == ".zarr"
    return out.parent.parent if inside else None


def _check_store(store: Path, name: str) -> None:
    if not any((store / file).exists() for file in METADATA_FILES):
        raise InputError(f"{store}: no Zarr store; write the image first, then its labels")
    if not name.isidentifier():
        raise InputError(f"labels {name!r}: expected one word of letters, digits and underscores")


def _check_request(out: Path, ngff: str, kind: str) -> str:
    """Check words that a user chose; gives the ending, which says what is wanted."""
    if ngff not in ("0.4", "0.5"):
        raise InputError(f"ngff: found {ngff!r}, expected '0.5' or '0.4'")
    if kind not in ("image", "labels"):
        raise InputError(f"kind: found {kind!r}, expected 'image' or 'labels'")
    for ending in (".zarr", *_TIFF_SUFFIXES, *_NIFTI_SUFFIXES):
        if out.name.lower().endswith(ending):
            return ending
    raise InputError(
        f"{out}: cannot tell the format, expected a name in .ome.zarr, .ome.tif or .nii.gz"
    )


def _own_names(volume: Volume) -> tuple[str, ...]:
    """Names that a file gave; bare numbers are only ours."""
    return () if all(name.isdigit() for name in volume.channel_names) else volume.channel_names


def _reading(
    source: Any, axes: str, kind: str, out: str
) -> tuple[tuple[int, int, int, int], np.dtype, ReadBox]:
    """Give (C, Z, Y, X), the number type to store, and a function that reads a box of a channel."""
    if not isinstance(source, Volume) and not hasattr(source, "shape"):
        source = np.asarray(source)
    dtype = np.dtype(source.dtype)
    if dtype.kind not in "uifb" or (kind == "labels" and dtype.kind == "f") or dtype.itemsize > 8:
        wanted = "integers" if kind == "labels" else "integers or floats"
        raise InputError(f"{out}: {kind} of type {dtype}, expected {wanted}")
    # Viewers do not know truth values; a mask is stored as 0 and 1.
    dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
    if isinstance(source, Volume):
        shape = (source.num_channels, *source.shape)
    elif axes not in ("zyx", "czyx"):
        raise InputError(f"{out}: axes {axes!r}, expected 'zyx' or 'czyx'")
    elif len(source.shape) != len(axes) or min(source.shape) == 0:
        raise InputError(f"{out}: an array of shape {tuple(source.shape)} for axes {axes!r}")
    else:
        shape = (1, *source.shape) if axes == "zyx" else tuple(source.shape)

    def read(channel: int, box: tuple[slice, slice, slice]) -> np.ndarray:
        if isinstance(source, Volume):
            origin = tuple(part.start for part in box)
            size = tuple(part.stop - part.start for part in box)
            block = source.read(origin, size, channels=channel)[0]
        else:
            block = np.asarray(source[box] if axes == "zyx" else source[(channel, *box)])
        return block.astype(dtype, copy=False)

    return shape, dtype, read


@contextmanager
def _in_place(out: Path, overwrite: bool, source: object) -> Iterator[Path]:
    """Give a temporary path beside `out` and rename it when all went well, else remove it."""
    _check_place(out, overwrite, source)
    mark = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    temporary = out.with_name(f".{out.name}.writing-{mark}")
    aside = out.with_name(f".{out.name}.replaced-{mark}")
    try:
        yield temporary
        if out.is_dir():
            out.rename(aside)  # a folder cannot be replaced in one step
        temporary.replace(out)
    except OSError as error:
        if aside.exists() and not out.exists():
            aside.rename(out)
        # tifffile reports a short write without an error number.
        if error.errno == errno.ENOSPC or shutil.disk_usage(out.parent).free < _FULL_BYTES:
            why = "the disk is full"
        else:
            why = error.strerror or str(error)
        raise InputError(f"{out}: cannot be written: {why}") from error
    finally:
        for leftover in (temporary, aside):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _check_place(out: Path, overwrite: bool, source: object) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: its folder cannot be made: {error.strerror}") from error
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise InputError(f"{out}: no permission to write into {out.parent}")
    if isinstance(source, Volume):
        from_path = Path(source.path).expanduser().resolve()
        to_path = out.resolve()
        if to_path == from_path or to_path in from_path.parents or from_path in to_path.parents:
            raise InputError(f"{out}: would be written over its own source {source.path}")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise InputError(f"{out}: exists already; choose another name or pass --overwrite")
    # Never remove a folder that is not ours to remove.
    if out.is_dir() and not any((out / name).exists() for name in METADATA_FILES):
        raise InputError(f"{out}: a folder that is no Zarr store stands there; remove it yourself")
