"""The one door: a path of any readable format in, a lazy `Volume` out."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from ..configs.errors import InputError
from .formats.axes import FileContents
from .formats.hdf5 import IMARIS_SUFFIXES, open_hdf5, open_imaris
from .formats.hdf5 import SUFFIXES as HDF5_SUFFIXES
from .formats.nifti import open_nifti
from .formats.ome_zarr import METADATA_FILES, open_zarr
from .formats.tiff import SUFFIXES as TIFF_SUFFIXES
from .formats.tiff import open_tiff
from .formats.tiff_slices import open_slices
from .volume import Volume, build_volume
from .voxel import VoxelSize

_FILE_SUFFIXES = (".nii", ".nii.gz", ".zarr", *HDF5_SUFFIXES, *IMARIS_SUFFIXES)
SUPPORTED = (
    "an OME-Zarr or Zarr folder, .tif or .tiff (or a folder of slices), .nii, .nii.gz, .h5, .ims"
)


def open_volume(
    path: str | os.PathLike[str],
    *,
    axes: str | None = None,
    voxel_size_um: VoxelSize | None = None,
    channel: int | str | None = None,
    time: int = 0,
    dataset: str | None = None,
) -> Volume:
    """Open a volume without reading its voxels.

    Args:
        path: file or folder; an array inside a container may follow, as in "cells.h5/raw".
        axes: the order in which the array lies in the file ("xyz", "zyx", "tczyx" ...), in place of
            what the file says.
        voxel_size_um: (z, y, x) in micrometres, in place of what the file says.
        channel: keep only this channel, by index or name.
        time: which time point.
        dataset: which array of an HDF5 or Zarr container, or which series of a TIFF.

    Returns:
        The volume; `voxel_size_um` is None where neither the file nor the caller knows it.

    Raises:
        InputError: nothing there, an unknown format, a damaged file, a 2D or empty image, unknown
            axes, channel or time point. One line that names the file.
    """
    try:
        file, inner = _find(Path(path).expanduser())
        contents = _describe(file, axes, _join(inner, dataset))
    except PermissionError as error:
        raise InputError(f"{error.filename or path}: no permission to read it") from error
    return build_volume(
        str(path), contents, channel=channel, time=time, voxel_size_um=voxel_size_um
    )


def _find(path: Path) -> tuple[Path, str | None]:
    """Split "cells.h5/raw" into the file and the array inside it."""
    if path.exists():
        return path, None
    for parent in path.parents:
        if parent.is_file() and parent.suffix.lower() in HDF5_SUFFIXES:
            return parent, path.relative_to(parent).as_posix()
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    if near:
        hint = f"; did you mean {near[0]!r}?"
    else:
        hint = "" if path.parent.is_dir() else f"; the folder {path.parent} does not exist either"
    raise InputError(f"{path}: no such file or folder{hint}")


def _join(inner: str | None, dataset: str | None) -> str | None:
    return dataset if inner is None else inner if dataset is None else f"{inner}/{dataset}"


def _describe(path: Path, axes: str | None, dataset: str | None) -> FileContents:
    name = path.name.lower()
    if path.is_dir():
        return _describe_folder(path, axes, dataset)
    if name.endswith((".nii", ".nii.gz")):
        return open_nifti(str(path), axes)
    if name.endswith(TIFF_SUFFIXES):
        return open_tiff(str(path), axes, dataset)
    if name.endswith(HDF5_SUFFIXES):
        return open_hdf5(str(path), axes, dataset)
    if name.endswith(IMARIS_SUFFIXES):
        return open_imaris(str(path), axes)
    if name.endswith((".csv", ".tsv")):
        raise InputError(f"{path}: a list, expected one volume; luxvox audit looks at lists")
    raise InputError(f"{path}: format not known from its name, expected {SUPPORTED}")


def _describe_folder(path: Path, axes: str | None, dataset: str | None) -> FileContents:
    names = os.listdir(path)
    if any(name in names for name in METADATA_FILES) or path.suffix.lower() == ".zarr":
        return open_zarr(str(path), axes, dataset)
    if any(name.lower().endswith(TIFF_SUFFIXES) for name in names):
        return open_slices(str(path), axes)
    inside = [name for name in sorted(names) if name.lower().endswith(_FILE_SUFFIXES)]
    hint = f"; did you mean {inside[0]!r} inside it?" if inside else f", expected {SUPPORTED}"
    raise InputError(f"{path}: a folder without Zarr metadata or TIFF slices{hint}")
