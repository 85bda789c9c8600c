"""Zarr chunks read straight from a local folder, without zarr-python in between.

zarr-python spends 2 to 4 ms on a read before the first byte is decoded, ten times what decoding a
96^3 chunk costs, and drags an event loop into every worker. The common layouts (regular grid, C
order, at most one of blosc, zstd, gzip, lz4 or zlib, optionally sharded) need nothing of that. All
others are read by zarr-python: `plain_layout` says which.

Formats: Zarr v2 and v3 core specifications and the sharding-indexed codec, https://zarr-specs.readthedocs.io
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numcodecs
import numpy as np

from ...configs.errors import InputError
from .axes import reason
from .cache import decoded_cache, file_key

_NO_CHUNK = 2**64 - 1  # offset and length of a chunk that a shard does not hold
_PACKERS = ("blosc", "zstd", "gzip", "lz4", "zlib")
_NUMBERS = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)))
_NUMBERS += ("float16", "float32", "float64")


@dataclass(frozen=True)
class ChunkLayout:
    """Where the chunks of one array lie and how they are packed.

    `dense` says that the writer stored every chunk, so that one which is missing is lost; in other
    stores a missing chunk means `fill`.
    """

    folder: str
    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    fill: float | int
    packer: str | None
    prefix: str
    separator: str
    index_first: bool
    dense: bool

    def file_of(self, place: tuple[int, ...]) -> str:
        """Path of the file of a chunk (or shard) by its place on the grid of files."""
        return f"{self.folder}/{self.prefix}{self.separator.join(map(str, place))}"

    @property
    def files(self) -> tuple[int, ...]:
        """How many files lie along each axis."""
        sizes = self.shards or self.chunks
        return tuple(-(-size // file) for size, file in zip(self.shape, sizes, strict=True))


def plain_layout(folder: Path) -> ChunkLayout | None:
    """Describe the array in a folder, or give None where only zarr-python can read it."""
    try:
        if (folder / "zarr.json").exists():
            return _layout_v3(folder, json.loads((folder / "zarr.json").read_text()))
        attributes = folder / ".zattrs"
        extra = json.loads(attributes.read_text()) if attributes.exists() else {}
        return _layout_v2(folder, json.loads((folder / ".zarray").read_text()), extra)
    except (KeyError, TypeError, ValueError):
        return None  # a form that this reader does not know: zarr-python has the last word


def _layout_v3(folder: Path, document: dict[str, Any]) -> ChunkLayout | None:
    codecs = document["codecs"]
    chunks = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
    key = document["chunk_key_encoding"]
    separator = key.get("configuration", {}).get(
        "separator", "/" if key["name"] == "default" else "."
    )
    if document["chunk_grid"]["name"] != "regular" or document["data_type"] not in _NUMBERS:
        return None
    shards, index_first = None, False
    if codecs[0]["name"] == "sharding_indexed":
        sharding = codecs[0]["configuration"]
        index_codecs = [codec["name"] for codec in sharding["index_codecs"]]
        if len(codecs) > 1 or index_codecs != ["bytes", "crc32c"]:
            return None
        index_first = sharding.get("index_location", "end") == "start"
        shards, chunks, codecs = chunks, tuple(sharding["chunk_shape"]), sharding["codecs"]
    names = [codec["name"] for codec in codecs]
    if names[0] != "bytes" or len(names) > 2 or (len(names) == 2 and names[1] not in _PACKERS):
        return None
    order = "<" if codecs[0].get("configuration", {}).get("endian", "little") == "little" else ">"
    return ChunkLayout(
        folder=str(folder),
        shape=tuple(document["shape"]),
        dtype=np.dtype(document["data_type"]).newbyteorder(order),
        chunks=chunks,
        shards=shards,
        fill=_number(document["fill_value"]),
        packer=names[1] if len(names) == 2 else None,
        prefix=f"c{separator}" if key["name"] == "default" else "",
        separator=separator,
        index_first=index_first,
        dense=bool(document.get("attributes", {}).get("luxvox", {}).get("dense", False)),
    )


def _layout_v2(
    folder: Path, document: dict[str, Any], attributes: dict[str, Any]
) -> ChunkLayout | None:
    compressor = document["compressor"]
    dtype = np.dtype(document["dtype"])
    if document["order"] != "C" or document.get("filters") or dtype.name not in _NUMBERS:
        return None
    if compressor is not None and compressor["id"] not in _PACKERS:
        return None
    return ChunkLayout(
        folder=str(folder),
        shape=tuple(document["shape"]),
        dtype=dtype,
        chunks=tuple(document["chunks"]),
        shards=None,
        fill=_number(document["fill_value"] or 0),
        packer=compressor and compressor["id"],
        prefix="",
        separator=document.get("dimension_separator", "."),
        index_first=False,
        dense=bool(attributes.get("luxvox", {}).get("dense", False)),
    )


def _number(value: Any) -> float | int:
    """A fill value; JSON has no NaN and no infinity, so they are words."""
    return float(value) if isinstance(value, str) else value


def read_box(layout: ChunkLayout, box: tuple[slice, ...]) -> np.ndarray:
    """Read a box of an array: a fresh array in this machine's byte order.

    Raises:
        InputError: a chunk is damaged, or missing from a store that had them all.
    """
    start = [part.start for part in box]
    result = np.empty([part.stop - part.start for part in box], layout.dtype.newbyteorder("="))
    per_file = _chunks_per_file(layout)
    for file_place, places in _touched(layout, box, per_file).items():
        path = layout.file_of(file_place)
        try:
            file = open(path, "rb", buffering=0)
        except FileNotFoundError:
            if not os.path.isdir(layout.folder):  # else all of it would read as the fill value
                raise InputError(f"{layout.folder}: the array is gone; was it moved?") from None
            for place in places:
                _place_chunk(layout, path, None, place, start, result)
            continue
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({reason(error)})") from error
        with file:
            index = _shard_index(layout, path, file, per_file) if layout.shards else None
            for place in places:
                packed = _packed_chunk(file, index, place, per_file)
                _place_chunk(layout, path, packed, place, start, result)
    return result


def count_missing(layout: ChunkLayout) -> tuple[int, int]:
    """Count chunk (or shard) files that are not there, and those that a full store would have."""
    places = itertools.product(*map(range, layout.files))
    missing = sum(not os.path.exists(layout.file_of(place)) for place in places)
    return missing, math.prod(layout.files)


def _chunks_per_file(layout: ChunkLayout) -> tuple[int, ...]:
    sizes = layout.shards or layout.chunks
    return tuple(file // chunk for file, chunk in zip(sizes, layout.chunks, strict=True))


def _touched(
    layout: ChunkLayout, box: tuple[slice, ...], per_file: tuple[int, ...]
) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    """Chunks that a box crosses, file by file, so that each file is opened once."""
    ranges = [
        range(part.start // chunk, -(-part.stop // chunk))
        for part, chunk in zip(box, layout.chunks, strict=True)
    ]
    by_file: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for place in itertools.product(*ranges):
        file = tuple(index // count for index, count in zip(place, per_file, strict=True))
        by_file.setdefault(file, []).append(place)
    return by_file


def _shard_index(
    layout: ChunkLayout, path: str, file: io.FileIO, per_file: tuple[int, ...]
) -> np.ndarray:
    """Offsets and lengths [..., 2] of the chunks in a shard, read once."""
    length = 16 * math.prod(per_file)  # then four bytes of crc32c

    def read() -> np.ndarray:
        size = os.fstat(file.fileno()).st_size
        where = 0 if layout.index_first else size - length - 4
        file.seek(max(where, 0))
        raw = file.read(length)
        if where < 0 or len(raw) < length:
            raise InputError(f"{path}: a shard cut short; convert or fetch the store again")
        index = np.frombuffer(raw, "<u8").reshape(*per_file, 2)
        held = index[index[..., 0] != _NO_CHUNK]
        # The sum may overflow for garbage, so both parts are compared.
        if (held > size).any() or (held.sum(axis=-1) > size).any():
            raise InputError(f"{path}: a damaged shard; convert or fetch the store again")
        return index.copy()

    return decoded_cache().get(("shard index", *file_key(path)), read)


def _packed_chunk(
    file: io.FileIO, index: np.ndarray | None, place: tuple[int, ...], per_file: tuple[int, ...]
) -> bytes | None:
    if index is None:
        return file.read()
    inside = tuple(at % count for at, count in zip(place, per_file, strict=True))
    offset, length = (int(value) for value in index[inside])
    if offset == _NO_CHUNK:
        return None
    file.seek(offset)
    return file.read(length)


def _place_chunk(
    layout: ChunkLayout,
    path: str,
    packed: bytes | None,
    place: tuple[int, ...],
    start: list[int],
    result: np.ndarray,
) -> None:
    """Unpack one chunk and copy the part of it that lies in the box."""
    if packed is None and layout.dense:
        raise InputError(
            f"{path}: chunk {place} is missing from a store that was written whole;"
            " convert or fetch it again"
        )
    corner = [at * size for at, size in zip(place, layout.chunks, strict=True)]
    here, there = [], []
    for axis, size in enumerate(layout.chunks):
        first = max(corner[axis], start[axis])
        last = min(corner[axis] + size, start[axis] + result.shape[axis])
        here.append(slice(first - start[axis], last - start[axis]))
        there.append(slice(first - corner[axis], last - corner[axis]))
    if packed is None:
        result[tuple(here)] = layout.fill
        return
    whole = result.shape == layout.chunks and result.dtype == layout.dtype and start == corner
    chunk = result if whole else np.empty(layout.chunks, layout.dtype)
    try:
        _unpack(layout.packer, packed, chunk)
    except Exception as error:  # codecs raise types of their own, one for each codec
        raise InputError(
            f"{path}: chunk {place} is damaged ({reason(error)}); convert or fetch the store again"
        ) from error
    if not whole:
        result[tuple(here)] = chunk[tuple(there)]


def _unpack(packer: str | None, packed: bytes, chunk: np.ndarray) -> None:
    """Unpack bytes into a C-contiguous chunk.

    Raises:
        ValueError: the bytes are of another length; codecs raise other types for damaged ones.
    """
    flat = chunk.reshape(-1).view(np.uint8)
    if packer == "blosc":
        # Its header holds the unpacked size at byte 4 and its own length at byte 12.
        sizes = np.frombuffer(packed[:16].ljust(16, b"\0"), "<u4")
        if sizes[1] != flat.size or sizes[3] != len(packed):
            raise ValueError(f"its header says {sizes[3]} bytes for {sizes[1]}")
        imagecodecs.blosc_decode(packed, numthreads=1, out=flat.data)
        return
    data = packed if packer is None else numcodecs.get_codec({"id": packer}).decode(packed)
    unpacked = np.frombuffer(data or b"", np.uint8)
    if unpacked.size != flat.size:
        raise ValueError(f"{unpacked.size} bytes, expected {flat.size}")
    flat[:] = unpacked
