"""Cells of benchmarks on disk: a JSON file each, written whole, with a hash of its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configs.errors import InputError
from ..configs.whole_file import write_whole


def hash_of(settings: Mapping[str, Any]) -> str:
    """A short hash of what the numbers of a cell depend on."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_done(path: Path, wanted: str, keys: set[str], replace: bool = False) -> bool:
    """Whether a cell stands there already, with these settings.

    Args:
        path: of the cell.
        wanted: hash of the settings.
        keys: that a cell must hold beside its hash.
        replace: cells with other settings, and damaged ones, may be made again.

    Raises:
        InputError: it stands there with others, or is damaged, and may not be replaced.
    """
    if not path.exists():
        return False
    try:
        held = read_cell_file(path, keys)
        if held["hash"] == wanted:
            return True
        raise InputError(
            f"{path}: made with other settings (hash {held['hash']}, now {wanted}): the list, the "
            "recipe or the weights have changed; add --overwrite, or give another --out"
        )
    except InputError:
        if replace:
            return False
        raise


def write_cell_file(path: Path, held: Mapping[str, Any]) -> None:
    """Write a cell whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(held, indent=1, allow_nan=False) + "\n")


def read_cell_file(path: Path, keys: set[str]) -> dict[str, Any]:
    """Read what `write_cell_file` wrote.

    Raises:
        InputError: it is damaged, or lacks some of `keys`.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if not {"hash", *keys} <= set(held):
            raise ValueError("keys are missing")
    except (ValueError, TypeError, OSError) as error:
        raise InputError(
            f"{path}: damaged, or no cell of this benchmark ({error}); delete it and run again"
        ) from None
    return held
