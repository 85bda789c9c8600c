"""One cell on disk: all cases of one condition, judged for one method."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...cell_file import read_cell_file, write_cell_file
from .case import Unit

VERSION = 3
"""Raised when a method or a measure changes, so that older cells are not taken for new ones."""

KEYS = {"rows", "method", "condition", "unit"}
"""What every cell holds beside its hash."""


def cell_path(out: Path, condition: str, method: str) -> Path:
    """DIR/cells/CONDITION__METHOD.json."""
    name = re.sub(r"[^A-Za-z0-9.]+", "_", condition).strip("_")
    return out / "cells" / f"{name}__{method}.json"


def write_cell(
    path: Path,
    condition: str,
    method: str,
    unit: Unit,
    settings_hash: str,
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Write a cell whole, or not at all; distances of its rows are in `unit`."""
    held = {"condition": condition, "method": method, "unit": unit, "hash": settings_hash}
    write_cell_file(path, {**held, "rows": list(rows)})


def read_cells(out: Path) -> list[dict[str, Any]]:
    """All cells of a folder, by name."""
    return [read_cell_file(path, KEYS) for path in sorted((out / "cells").glob("*.json"))]
