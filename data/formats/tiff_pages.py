"""Cutting boxes out of TIFF files, and telling a whole file from one that was cut short.

Uncompressed data that lie in one piece are mapped; everything else is decoded strip by strip (or
tile by tile) through the cache, so that a crop touches only the strips it crosses.
"""

from __future__ import annotations

import logging
import math
import struct
from contextlib import AbstractContextManager
from typing import Literal

import numpy as np
import tifffile

from ...configs.errors import InputError
from .cache import decoded_cache, file_key

# Our own errors say what tifffile logs about damaged files; without a handler Python prints it too.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_JPEG = (6, 7, 33007, 34892)  # compressions whose tables lie in tags of the page


def read_box(
    series: tifffile.TiffPageSeries, box: tuple[slice, ...], lock: AbstractContextManager
) -> np.ndarray:
    """Cut a box out of a series, planes being the axes that one page holds."""
    if series.dataoffset is not None:
        # In one piece, uncompressed: the operating system reads what is touched.
        file = series.keyframe.parent.filehandle
        dtype = np.dtype(series.dtype).newbyteorder(series.keyframe.parent.byteorder)
        return np.memmap(file.path, dtype, "r", series.dataoffset, tuple(series.shape))[box]
    page_axes = len(series.keyframe.shape)
    outer, inner = box[: len(box) - page_axes], box[len(box) - page_axes :]
    pages = np.arange(math.prod(series.shape[: len(outer)])).reshape(series.shape[: len(outer)])
    chosen = pages[outer]
    sizes = tuple(part.stop - part.start for part in inner)
    result = np.empty((chosen.size, *sizes), series.dtype)
    for place, index in enumerate(chosen.ravel()):
        result[place] = _read_page(series, int(index), inner, lock)
    return result.reshape(*chosen.shape, *sizes)


def _read_page(
    series: tifffile.TiffPageSeries,
    index: int,
    box: tuple[slice, ...],
    lock: AbstractContextManager,
) -> np.ndarray:
    """Cut (y, x) or (y, x, s) out of one page, decoding only the strips or tiles it crosses."""
    page = series[index]
    if page is None:
        raise ValueError(f"plane {index} is missing")
    key = series.keyframe
    if key.axes not in ("YX", "YXS"):
        # Planar colour and volumetric tiles: rare, so the whole page.
        def decode() -> np.ndarray:
            with lock:
                return page.asarray()

        where = (*file_key(key.parent.filehandle.path), page.offset)
        return decoded_cache().get(where, decode)[box]
    rows, columns = box[0], box[1]
    high, wide = (
        (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, key.imagewidth)
    )
    across = -(-key.imagewidth // wide)
    samples = key.samplesperpixel
    result = np.empty((rows.stop - rows.start, columns.stop - columns.start, samples), key.dtype)
    for row in range(rows.start // high, -(-rows.stop // high)):
        for column in range(columns.start // wide, -(-columns.stop // wide)):
            piece = _read_segment(page, row * across + column, lock)
            top, left = row * high, column * wide
            y0, y1 = max(rows.start, top), min(rows.stop, top + piece.shape[0])
            x0, x1 = max(columns.start, left), min(columns.stop, left + piece.shape[1])
            result[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start] = (
                piece[y0 - top : y1 - top, x0 - left : x1 - left]
            )
    return result[..., box[2]] if len(box) == 3 else result[..., 0]


def _read_segment(
    page: tifffile.TiffPage | tifffile.TiffFrame, index: int, lock: AbstractContextManager
) -> np.ndarray:
    """Decode one strip or tile [y, x, s], once."""
    file, key = page.parent.filehandle, page.keyframe
    assert isinstance(key, tifffile.TiffPage)

    def decode() -> np.ndarray:
        with lock:
            if file.closed:  # parts of an OME-TIFF over several files are opened when needed
                file.open()
            file.seek(page.dataoffsets[index])
            packed = file.read(page.databytecounts[index])
        if len(packed) < page.databytecounts[index]:
            raise ValueError("the file ends early")
        tables = {}
        if key.compression in _JPEG:
            tables = {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
        segment, _, shape = key.decode(packed, index, **tables)
        if segment is None:  # zero bytes on disk: an empty tile
            return np.full(shape[1:], key.nodata, key.dtype)
        return np.ascontiguousarray(segment[0])

    return decoded_cache().get((*file_key(file.path), page.offset, index), decode)


_ENDIAN: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}
# Bytes of one value of each type (TIFF 6.0, section 2; 16 to 18 are BigTIFF's).
_VALUE_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def check_complete(file: tifffile.TiffFile, path: str) -> None:
    """Find a file that was cut short, which tifffile reads as one with fewer planes.

    Raises:
        InputError: the chain of pages breaks off, or something that the first or the last page
            points to lies behind the end of the file.
    """
    size = file.filehandle.size
    first, last = file.pages.first, file.pages[-1]
    (end, _), (last_end, following) = _follow(file, first.offset), _follow(file, last.offset)
    ends = [end, last_end]
    ends += [a + b for a, b in zip(last.dataoffsets, last.databytecounts, strict=True)]
    # tifffile follows every link that it can: one that is left over leads nowhere.
    if max(ends) > size or following:
        raise InputError(
            f"{path}: truncated or corrupt TIFF: {size} bytes, but it goes on at byte"
            f" {max(*ends, following)}; fetch the file again"
        )


def check_mapped(series: tifffile.TiffPageSeries, path: str) -> None:
    """The same for planes that lie in one piece without directories of their own."""
    size = series.keyframe.parent.filehandle.size
    if series.dataoffset is not None and series.dataoffset + series.nbytes > size:
        raise InputError(
            f"{path}: truncated TIFF: {size} bytes, expected {series.dataoffset + series.nbytes};"
            " fetch the file again"
        )


def _follow(file: tifffile.TiffFile, offset: int) -> tuple[int, int]:
    """Read one directory of tags: where what it points to ends, and the place of the next one."""
    # Classic TIFF counts entries in 2 bytes and points with 4; BigTIFF does both with 8.
    count_form, pointer_form = ("Q", "Q") if file.is_bigtiff else ("H", "I")
    width = struct.calcsize(pointer_form)
    entry_form = f"{file.byteorder}HH{pointer_form}{width}s"
    handle = file.filehandle
    handle.seek(offset)
    (count,) = struct.unpack(file.byteorder + count_form, _read(handle, count_form))
    end = offset + struct.calcsize(count_form) + count * struct.calcsize("=" + entry_form[1:])
    for _ in range(count):
        entry = _read(handle, "=" + entry_form[1:])
        _, kind, number, value = struct.unpack(entry_form, entry)
        length = number * _VALUE_BYTES.get(kind, 1)
        if length > width:
            end = max(end, int.from_bytes(value, _ENDIAN[file.byteorder]) + length)
    (following,) = struct.unpack(file.byteorder + pointer_form, _read(handle, pointer_form))
    return end, following


def _read(handle: tifffile.FileHandle, form: str) -> bytes:
    data = handle.read(struct.calcsize(form))
    if len(data) < struct.calcsize(form):
        raise ValueError("the file ends inside a directory of tags")
    return data
