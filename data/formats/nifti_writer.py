"""NIfTI, plane by plane, so that a volume larger than memory can be written."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from ..voxel import VoxelSize
from .planes import Progress, ReadBox, read_planes

_MM_PER_UM = 1e-3
_LONGEST_SIDE = 2**15 - 1  # NIfTI-1 counts voxels with 16 bits; NIfTI-2 is for longer sides
_GZIP_LEVEL = 4  # images hardly shrink beyond it


def write_nifti(
    path: Path,
    shape: tuple[int, int, int, int],
    dtype: np.dtype,
    read: ReadBox,
    progress: Progress,
    voxel_size_um: VoxelSize | None,
    translation_um: VoxelSize | None,
    zipped: bool,
) -> None:
    """Write one `.nii` or `.nii.gz`, axes (x, y, z) and for several channels (x, y, z, t, c).

    The affine holds voxel size and place in mm, which programs assume that do not read the unit;
    axes are not turned. Names of channels have no place in the format.

    Args:
        path: is made; should be a temporary place.
        shape: (C, Z, Y, X).
        dtype: number type of the voxels; the format knows no float16, which becomes float32.
        read: gives a box [Z, Y, X] of one channel.
        progress: told (voxels written, voxels in all).
        voxel_size_um: (z, y, x); None leaves size 1 without a unit, which reads as unknown.
        translation_um: (z, y, x) of the centre of the first voxel.
        zipped: compress with gzip; the same volume gives the same bytes.
    """
    stored = np.dtype(np.float32) if dtype == np.float16 else dtype
    header = _header(shape, stored, voxel_size_um, translation_um)
    with path.open("wb") as file:
        if not zipped:
            _write(file, header, shape, stored, read, progress)
            return
        # No name and no time in the gzip header.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
            _write(cast(BinaryIO, packed), header, shape, stored, read, progress)


def _header(
    shape: tuple[int, int, int, int],
    dtype: np.dtype,
    voxel_size_um: VoxelSize | None,
    translation_um: VoxelSize | None,
) -> Nifti1Header:
    channels, *sides = shape
    header = Nifti1Header() if max(shape) <= _LONGEST_SIDE else Nifti2Header()
    header.set_data_dtype(dtype)
    header.set_data_shape((*reversed(sides), *((1, channels) if channels > 1 else ())))
    header.set_slope_inter(1, 0)
    affine = np.eye(4)
    if voxel_size_um is not None:
        affine[:3, :3] = np.diag(voxel_size_um[::-1]) * _MM_PER_UM
        header.set_xyzt_units("mm")
        if translation_um is not None:
            affine[:3, 3] = np.array(translation_um[::-1]) * _MM_PER_UM
    header.set_qform(affine, "scanner")  # writes the voxel sizes beside it as well
    header.set_sform(affine, "scanner")
    return header


def _write(
    file: BinaryIO,
    header: Nifti1Header,
    shape: tuple[int, int, int, int],
    dtype: np.dtype,
    read: ReadBox,
    progress: Progress,
) -> None:
    header.write_to(file)  # with the four bytes that say that no extensions follow
    ordered = dtype.newbyteorder("<" if header.endianness == "<" else ">")
    # x runs fastest in the file, then y, z, t, c: [C, Z, Y, X] as numpy holds it.
    for plane in read_planes(shape, read, progress):
        file.write(np.ascontiguousarray(plane, dtype=ordered).tobytes())
