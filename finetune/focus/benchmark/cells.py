"""One cell on disk: all cases of one condition, judged for one method."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....configs.errors import InputError

VERSION = 1
"""Raised when a method or a measure changes, so that older cells are not taken for new ones."""


def cell_path(out: Path, condition: str, method: str) -> Path:
    """DIR/cells/CONDITION__METHOD.json."""
    name = re.sub(r"[^A-Za-z0-9.]+", "_", condition).strip("_")
    return out / "cells" / f"{name}__{method}.json"


def hash_of(settings: Mapping[str, Any]) -> str:
    """A short hash of what the numbers of a cell depend on."""
    text = json.dumps({"version": VERSION, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_done(path: Path, wanted: str, overwrite: bool) -> bool:
    """Whether a cell stands there with these settings.

    Raises:
        InputError: it stands there with others and may not be replaced, or is damaged.
    """
    if not path.exists():
        return False
    held = read_cell(path)
    if held["hash"] == wanted:
        return True
    if overwrite:
        return False
    raise InputError(
        f"{path}: made with other settings (hash {held['hash']}, now {wanted}): the list, the plan "
        "or the weights have changed; add --overwrite, or give another --out"
    )


def write_cell(
    path: Path, condition: str, method: str, settings_hash: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write a cell whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {"condition": condition, "method": method, "hash": settings_hash, "rows": list(rows)}
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(held, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def read_cell(path: Path) -> dict[str, Any]:
    """Read what `write_cell` wrote.

    Raises:
        InputError: it is damaged.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if not {"hash", "rows", "method", "condition"} <= set(held):
            raise ValueError("keys are missing")
    except (ValueError, TypeError, OSError) as error:
        raise InputError(
            f"{path}: damaged, or no cell of a focus benchmark ({error}); delete it and run again"
        ) from None
    return held


def read_cells(out: Path) -> list[dict[str, Any]]:
    """All cells of a folder, by name."""
    return [read_cell(path) for path in sorted((out / "cells").glob("*.json"))]
