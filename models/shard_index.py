"""Weights cut into shards: the index that says which tensor lies where, and reading it strictly.

The index is laid out as the Hugging Face hub does, with the sha256 of each shard beside it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from ..configs.errors import InputError

INDEX = "model.safetensors.index.json"
_ENDING = ".safetensors"


def index_text(weight_map: dict[str, str], sha256: dict[str, str], total_size: int) -> str:
    """The content of an index.

    Args:
        weight_map: name of a tensor -> name of its shard.
        sha256: name of a shard -> of the whole file.
        total_size: bytes of all tensors.
    """
    about = {"total_size": total_size, "sha256": sha256}
    return json.dumps({"metadata": about, "weight_map": weight_map}, indent=1) + "\n"


def read_shards(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder with an index, by name, on the CPU.

    Raises:
        InputError: the index or a shard is missing, damaged, or does not fit the other. A shard is
            compared with its sha256 before it is opened.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weight_map, wanted = read_index(folder / INDEX)
    tensors: dict[str, Tensor] = {}
    for shard in sorted(wanted):
        path = folder / shard
        if not path.is_file():
            raise InputError(
                f"{path}: no such file, but {INDEX} names it as one of {len(wanted)} shards; copy "
                "all of them"
            )
        if (found := sha256_of(path)) != wanted[shard]:
            raise InputError(
                f"{path}: {path.stat().st_size} bytes with sha256 {found[:12]}..., expected "
                f"{wanted[shard][:12]}...: cut short or another file; copy or download it again"
            )
        try:
            held = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: no safetensors file ({error}); make it again") from error
        listed = {name for name, file in weight_map.items() if file == shard}
        if differing := sorted(listed ^ held.keys()):
            raise InputError(
                f"{path}: holds other tensors than {INDEX} says, such as {differing[0]}; "
                "make the shards again"
            )
        tensors |= held
    return tensors


def sha256_of(path: Path) -> str:
    """Of a whole file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_index(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Tensor -> shard, and shard -> sha256."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        weight_map, sha256 = index["weight_map"], index["metadata"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(
            f"{path}: no index of shards that can be checked ({what}); copy it again"
        ) from error
    if not (_names(weight_map) and _names(sha256)) or not set(weight_map.values()) == set(sha256):
        raise InputError(
            f"{path}: shards of the tensors and shards with a sha256 differ; copy it again"
        )
    for shard in sha256:
        if Path(shard).name != shard or "\\" in shard or not shard.endswith(_ENDING):
            raise InputError(
                f"{path}: names {shard!r} as a shard, expected a file beside it that ends in "
                f"{_ENDING}; it was not opened"
            )
    return weight_map, sha256


def _names(given: Any) -> bool:
    return isinstance(given, dict) and all(isinstance(value, str) for value in given.values())
