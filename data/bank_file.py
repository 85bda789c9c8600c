"""The file of a crop bank: one safetensors file, written as a stream and read through a memory map.

Apart from `bank.py`, which knows what the tensors mean. safetensors' own writer wants all tensors
in memory at once; a bank may be larger than that. The format is theirs: an 8-byte length, a JSON
header, the tensors without gaps (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError

FORMAT = "luxvox-bank"
VERSION = "1"
SUFFIX = ".safetensors"

_DTYPES = {"U16": np.uint16, "F32": np.float32, "I64": np.int64, "BOOL": np.bool_}
_NAMES = {np.dtype(kind): name for name, kind in _DTYPES.items()}
_LONGEST_HEADER = 100_000_000  # bytes; safetensors allows no more


@dataclass(frozen=True)
class BankLayout:
    """Where everything lies in a bank file.

    tensors: name -> (number type, shape, first byte in the file).
    about: the text entries of the header, as JSON values.
    """

    tensors: dict[str, tuple[np.dtype, tuple[int, ...], int]]
    about: dict[str, Any]
    size: int

    def map(self, path: Path, name: str) -> NDArray:
        """A read-only memory map of one tensor."""
        dtype, shape, start = self.tensors[name]
        return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)


def read_layout(path: Path) -> BankLayout:
    """Read the header of a bank and check that the file is whole.

    Raises:
        InputError: no such file, not a bank, of a later version, or cut short.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
            text = file.read(length) if length <= _LONGEST_HEADER else b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a bank file") from None
    broken = InputError(
        f"{path}: not a crop bank, or its beginning is damaged; make one with `luxvox bank`"
    )
    try:
        header = json.loads(text)
        texts = header.pop("__metadata__")
    except (ValueError, AttributeError, KeyError, TypeError):
        raise broken from None
    if not isinstance(texts, dict) or texts.get("format") != FORMAT:
        raise broken
    if texts.get("version") != VERSION:
        raise InputError(
            f"{path}: bank of version {texts.get('version')}, this luxvox reads {VERSION}; "
            "update luxvox, or make the bank again"
        )
    start = 8 + length
    try:
        end = start + max(entry["data_offsets"][1] for entry in header.values())
        tensors = {
            name: (np.dtype(_DTYPES[e["dtype"]]), tuple(e["shape"]), start + e["data_offsets"][0])
            for name, e in header.items()
        }
        about = {name: json.loads(text) for name, text in texts.items() if name not in _PLAIN}
    except (ValueError, KeyError, TypeError, IndexError):
        raise broken from None
    if size != end:
        raise InputError(
            f"{path}: {size} bytes, expected {end}: the bank is cut short; copy or make it again"
        )
    return BankLayout(tensors, about, end)


_PLAIN = ("format", "version")


class BankWriter:
    """Writes tensors of known shapes in any order of rows; the file appears whole or not at all."""

    def __init__(
        self,
        out: Path,
        tensors: Mapping[str, tuple[np.dtype | type, tuple[int, ...]]],
        about: Mapping[str, Any],
    ) -> None:
        """Make room for all tensors in a temporary file beside `out`.

        Raises:
            InputError: the folder is missing, unwritable, or too full.
        """
        self.out = out
        self._part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
        texts = {"format": FORMAT, "version": VERSION}
        texts |= {name: json.dumps(value) for name, value in about.items()}
        header: dict[str, Any] = {"__metadata__": texts}
        at = 0
        for name, (dtype, shape) in tensors.items():
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            offsets = [at, at + size]
            header[name] = {
                "dtype": _NAMES[np.dtype(dtype)],
                "shape": shape,
                "data_offsets": offsets,
            }
            at += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self.size = 8 + len(text) + at
        with self._explaining():
            free = shutil.disk_usage(out.absolute().parent).free
            if free < self.size:
                raise InputError(
                    f"{out}: the bank needs {self.size / 1e9:.2f} GB and the disk has "
                    f"{free / 1e9:.2f} GB left; take fewer or smaller crops"
                )
            with self._part.open("wb") as file:
                file.write(struct.pack("<Q", len(text)) + text)
                file.truncate(self.size)
            layout = read_layout(self._part)
            self._maps = {
                name: np.memmap(self._part, dtype, "r+", offset=start, shape=shape)
                for name, (dtype, shape, start) in layout.tensors.items()
            }

    def put(self, row: int, values: Mapping[str, Any]) -> None:
        """Write one row of each of the given tensors."""
        for name, value in values.items():
            self._maps[name][row] = value

    def __enter__(self) -> Self:
        """The writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the file in place if all went well, else take it away."""
        maps, self._maps = self._maps, {}
        try:
            if error is None:
                with self._explaining():
                    for array in maps.values():
                        array.flush()
                    maps.clear()
                    os.replace(self._part, self.out)
        finally:
            maps.clear()
            with contextlib.suppress(OSError):  # already in place, or the disk is gone
                self._part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)
            raise InputError(f"{self.out}: cannot be written ({error.strerror})") from None
