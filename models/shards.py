"""Cutting weights into small files, for ways that carry nothing large, and putting them together.

`checkpoint.load_weights` reads either form.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..configs.errors import InputError
from .checkpoint import CARD, CONFIG, TENSORS, load_weights
from .shard_index import INDEX, index_text, sha256_of
from .whole_folder import written_whole

_HEADER = 256  # bytes of a shard beside its tensors and what is said of each


def write_shards(
    folder: str | Path,
    out: str | Path,
    max_bytes: int = 16_000_000,
    dtype: torch.dtype = torch.bfloat16,
) -> Path:
    """Write weights again as shards, with an index that holds the sha256 of each.

    Args:
        folder: weights, from `checkpoint.save_weights`.
        out: folder to write; an older one of that name is replaced whole. May be `folder`.
        max_bytes: no shard is larger.
        dtype: of the floating tensors in the shards.

    Returns:
        `out`, which `checkpoint.load_weights` reads.

    Raises:
        InputError: weights that cannot be read, one tensor alone is larger than a shard may be, or
            the folder cannot be written.
    """
    from safetensors.torch import save_file

    folder, out = Path(folder), Path(out)
    given, _ = load_weights(folder)
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in given.items()
    }
    groups = list(_planned(tensors, max_bytes, folder))
    with written_whole(out) as partial:
        weight_map: dict[str, str] = {}
        sha256: dict[str, str] = {}
        for number, names in enumerate(groups, start=1):
            shard = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
            save_file({n: tensors[n] for n in names}, partial / shard, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(names, shard)
            sha256[shard] = sha256_of(partial / shard)
        total = sum(tensor.nbytes for tensor in tensors.values())
        (partial / INDEX).write_text(index_text(weight_map, sha256, total), encoding="utf-8")
        _copy_words(folder, partial)
    return out


def join_shards(folder: str | Path) -> Path:
    """Put shards together into one model.safetensors, in the same folder.

    Args:
        folder: from `write_shards`; it is replaced whole. Tensors keep the type that they have.

    Returns:
        The folder, now an ordinary weights folder.

    Raises:
        InputError: a shard or the index is missing or damaged (nothing is changed then), or the
            folder cannot be written.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    tensors, _ = load_weights(folder)
    with written_whole(folder) as partial:
        save_file(tensors, partial / TENSORS, metadata={"format": "pt"})
        _copy_words(folder, partial)
    return folder


def _planned(tensors: Mapping[str, Tensor], most: int, where: Path) -> Iterator[list[str]]:
    """Names that go into one shard together, in the order of the tensors."""
    names: list[str] = []
    filled = _HEADER
    for name, tensor in tensors.items():
        said = len(json.dumps(name)) + 24 * tensor.ndim + 128  # type, shape and place
        needed = tensor.nbytes + said
        if _HEADER + needed > most:
            raise InputError(
                f"{where}: {name} alone takes {needed} bytes, a shard may take {most}; "
                "allow larger ones"
            )
        if filled + needed > most:
            yield names
            names, filled = [], _HEADER
        names.append(name)
        filled += needed
    yield names


def _copy_words(folder: Path, partial: Path) -> None:
    """Config and card."""
    for name in (CONFIG, CARD):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, partial / name)
