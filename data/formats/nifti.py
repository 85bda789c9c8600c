"""NIfTI: `.nii` is mapped, `.nii.gz` is decoded once into the cache.

nibabel reads the header; the voxels are taken directly, because its array proxy decodes a gzip anew
for every crop. An array is (x, y, z, t, c) with x fastest and is never flipped: the orientation
part of the affine is not applied.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
import struct
import zlib
from dataclasses import dataclass

import imagecodecs
import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Header, Nifti1Pair
from nibabel.spatialimages import HeaderDataError

from ...configs.errors import InputError
from .axes import FileContents, FileLevel, parse_axes, reason
from .cache import decoded_cache, file_key

# nibabel's own handler prints what it finds wrong with a header; our errors say it.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)

_UM_PER_UNIT = {
    "meter": 1e6,
    "mm": 1e3,
    "micron": 1.0,
}  # nibabel's names of NIfTI unit codes 1, 2, 3


@dataclass(frozen=True)
class NiftiReader:
    """Reads boxes of one NIfTI file in its own axis order (x, y, z, ...)."""

    path: str
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    slope: float
    intercept: float

    @property
    def _zipped(self) -> bool:
        return self.path.lower().endswith(".gz")

    @property
    def _bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, level: int, box: tuple[slice, ...]) -> np.ndarray:
        """Give a box; scaled to float32 where the header says so."""
        if not self._zipped:
            array = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, order="F")[box]
        elif self._bytes <= decoded_cache().limit_bytes:
            array = decoded_cache().get(file_key(self.path), self._decode)[box]
        else:
            array = self._stream(box)
        if (self.slope, self.intercept) == (1.0, 0.0):
            return array
        return array * np.float32(self.slope) + np.float32(self.intercept)

    def _decode(self) -> np.ndarray:
        expected = self.offset + self._bytes
        try:
            with open(self.path, "rb") as file:
                packed = file.read()
            data = _fast_gunzip(packed, expected) or gzip.decompress(packed)
        except (OSError, EOFError, zlib.error) as error:
            raise self._damaged(reason(error)) from error
        if len(data) < expected:
            raise self._damaged(f"{len(data)} bytes, expected {expected}")
        flat = np.frombuffer(data, self.dtype, math.prod(self.shape), self.offset)
        return flat.reshape(self.shape, order="F")

    def _stream(self, box: tuple[slice, ...]) -> np.ndarray:
        """Unpack only up to the end of the box: for files larger than the cache."""
        plane = math.prod(self.shape[:-1]) * self.dtype.itemsize
        last = box[-1]
        try:
            with gzip.open(self.path, "rb") as file:
                file.seek(self.offset + last.start * plane)
                data = file.read((last.stop - last.start) * plane)
        except (OSError, EOFError, zlib.error) as error:
            raise self._damaged(reason(error)) from error
        if len(data) < (last.stop - last.start) * plane:
            raise self._damaged("it ends early")
        shape = (*self.shape[:-1], last.stop - last.start)
        planes = np.frombuffer(data, self.dtype).reshape(shape, order="F")
        return planes[(*box[:-1], slice(None))]

    def _damaged(self, why: str) -> InputError:
        return InputError(f"{self.path}: truncated or corrupt NIfTI ({why}); fetch the file again")


def _fast_gunzip(packed: bytes, expected: int) -> bytes | None:
    """Unpack with libdeflate, twice as fast as zlib; None where it cannot (several members)."""
    try:
        data = imagecodecs.gzip_decode(packed, out=expected)
    except imagecodecs.GzipError:
        return None
    return bytes(data) if data is not None and len(data) == expected else None


def open_nifti(path: str, axes: str | None = None) -> FileContents:
    """Describe a `.nii` or `.nii.gz` file.

    Args:
        path: the file.
        axes: the order in which the array lies in the file; None is NIfTI's own, "xyz".

    Raises:
        InputError: not a NIfTI file, cut short, or not a volume.
    """
    try:
        image = nibabel.load(path)
        if not isinstance(image, Nifti1Pair):  # the base of NIfTI-2 as well
            raise InputError(f"{path}: a {type(image).__name__}, expected NIfTI")
        header = image.header
        shape = tuple(int(size) for size in header.get_data_shape())
        dtype = header.get_data_dtype()
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, InputError | PermissionError):
            raise
        raise InputError(f"{path}: cannot be read as NIfTI ({reason(error)})") from error
    wanted = len(axes.strip()) if axes else 3
    while len(shape) > wanted and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) < 3:
        raise InputError(f"{path}: a 2D image, expected a volume (sizes {shape})")
    names = parse_axes(axes or "xyztc"[: len(shape)], len(shape), path)
    # The header of a loaded image has forgotten offset and scaling; its array proxy knows them.
    proxy = image.dataobj
    assert isinstance(proxy, ArrayProxy)
    slope, intercept = float(proxy.slope), float(proxy.inter)
    reader = NiftiReader(path, dtype, int(proxy.offset), shape, slope, intercept)
    _check_length(reader)
    sizes, notes = _voxel_sizes(header)
    size_um = (*sizes, *[None] * (len(shape) - 3)) if sizes else None
    if reader._zipped and reader._bytes > decoded_cache().limit_bytes:
        notes.append(
            f"{reader._bytes / 2**30:.1f} GiB unpacked, more than LUXVOX_CACHE_MB allows to keep:"
            " every crop unpacks it anew; convert it first"
        )
    scaled = (slope, intercept) != (1.0, 0.0)
    return FileContents(
        format="nifti",
        axes=names,
        dtype=np.dtype(np.float32) if scaled else dtype,
        levels=(FileLevel(shape, size_um),),
        reader=reader,
        notes=tuple(notes),
    )


def _check_length(reader: NiftiReader) -> None:
    """Find a file that was cut short without unpacking it."""
    expected, found = reader.offset + reader._bytes, os.path.getsize(reader.path)
    if not reader._zipped:
        if found < expected:
            raise reader._damaged(f"{found} bytes, expected {expected}")
        return
    with open(reader.path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        # A gzip ends with the unpacked size modulo 2**32 (RFC 1952); of the last member only, so a
        # file of several members may say less, never more.
        (length,) = struct.unpack("<I", file.read(4))
    if expected < 2**32 and length > expected + 2**20:  # some writers add a few bytes
        raise reader._damaged("its last bytes are no gzip trailer")


def _voxel_sizes(header: Nifti1Header) -> tuple[tuple[float, ...] | None, list[str]]:
    """Sizes in micrometres along the file's first three axes, and what had to be assumed."""
    sizes, notes = _stated_sizes(header)
    if not (np.all(np.isfinite(sizes)) and np.all(sizes > 0)):
        return None, [*notes, f"sizes {sizes} in the header make no sense, taken as unknown"]
    try:
        unit = str(header.get_xyzt_units()[0])
    except KeyError:  # a code that the format does not define
        unit = "unknown"
    if unit == "unknown":
        if np.all(sizes == 1):
            return None, notes
        notes.append("unit not stated, read as mm (the NIfTI default)")
    factor = _UM_PER_UNIT.get(unit, 1e3)
    if unit != "unknown" and np.all(sizes * factor == 1000):
        notes.append("voxels of 1 mm stated: perhaps never set; override the voxel size if so")
    # Headers hold float32, so 0.0018 arrives as 0.00179999997: keep the digits that there are.
    return tuple(float(f"{size * factor:.6g}") for size in sizes), notes


def _stated_sizes(header: Nifti1Header) -> tuple[np.ndarray, list[str]]:
    """Sizes in the file's unit: from the sform where it is set, else pixdim.

    Where the two disagree and one of them is 1, 1, 1, that one was never set.
    """
    zooms = np.abs(np.asarray(header.get_zooms()[:3], float))
    affine, code = header.get_sform(coded=True)
    if not code or affine is None:
        return zooms, []
    columns = np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0)
    if np.allclose(columns, zooms, rtol=1e-3):
        return zooms, []
    chosen, name = (zooms, "pixdim") if np.all(columns == 1) else (columns, "sform")
    if np.all(zooms == 1) or not np.all(columns > 0):
        chosen, name = (columns, "sform") if np.all(columns > 0) else (zooms, "pixdim")
    return chosen, [f"sform {columns} and pixdim {zooms} disagree, {name} taken"]
