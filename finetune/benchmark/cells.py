"""One cell on disk: what it was, what came of it, and whether it is still that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...configs.errors import InputError
from .lists import BenchmarkList
from .methods import CLASSICAL, fingerprint, recipe_of, structure_of, weights_of
from .plan import UNLABELLED, BenchmarkPlan, Cell
from .trials import Trial

VERSION = 1
"""Raised when a method or a metric changes, so that older cells are not taken for new ones."""

_NO_PART = {"out", "data", "weights", "threads", "tracker", "text_folder", "device"}
"""Keys of a recipe that change no number, or stand elsewhere."""


def settings_of(
    plan: BenchmarkPlan, cell: Cell, given: BenchmarkList, trial: Trial
) -> dict[str, Any]:
    """All that the numbers of a cell depend on; folders may move.

    Args:
        plan: of the benchmark.
        cell: one of its cells.
        given: its list.
        trial: its draw.

    Raises:
        InputError: the recipe, or weights, are not as needed.
    """
    settings: dict[str, Any] = {
        "version": VERSION,
        "support": [row.id for row in trial.rows] if cell.method not in UNLABELLED else [],
        "judged": [sample for sample, _ in trial.judged],
        "within_volume": trial.within_volume,
        "gap": plan.gap if trial.within_volume else 0,
        "noise": given.noise,
    }
    if cell.method not in CLASSICAL:
        recipe = recipe_of(plan, cell, structure_of(given), Path("run"))
        if cell.method == "untouched":
            settings["structure"] = recipe.structure
        else:
            held = recipe.model_dump(mode="json", exclude=_NO_PART)
            # What "auto" comes to depends on the machine, and the numbers on what it comes to.
            settings["recipe"] = held | {"precision": recipe.chosen_precision()}
        weights = weights_of(plan, cell.method)
        settings["weights"] = None if weights is None else fingerprint(weights)
    return settings


def hash_of(settings: Mapping[str, Any]) -> str:
    """A short hash of settings."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cell_path(out: Path, cell: Cell) -> Path:
    """DIR/cells/NAME.json."""
    return out / "cells" / f"{cell.name}.json"


def is_done(out: Path, cell: Cell, wanted: str) -> bool:
    """Whether a cell stands there already, with these settings.

    Raises:
        InputError: it stands there with others, or is damaged.
    """
    path = cell_path(out, cell)
    if not path.exists():
        return False
    held = read_cell(path)
    if held["hash"] != wanted:
        raise InputError(
            f"{path}: made with other settings (hash {held['hash']}, now {wanted}): the list, the "
            "recipe or the weights have changed; add --overwrite, or give another --out"
        )
    return True


def write_cell(
    out: Path,
    cell: Cell,
    settings: Mapping[str, Any],
    samples: list[dict[str, Any]],
    facts: Mapping[str, Any],
) -> None:
    """Write a cell whole, or not at all."""
    path = cell_path(out, cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {**vars(cell), "hash": hash_of(settings), **facts}
    held |= {"settings": dict(settings), "samples": samples}
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
        if not {"hash", "samples", "method", "settings"} <= set(held):
            raise ValueError("keys are missing")
    except (ValueError, TypeError, OSError) as error:
        raise InputError(
            f"{path}: damaged, or no cell of a benchmark ({error}); delete it and run again"
        ) from None
    return held


def read_cells(out: Path) -> list[dict[str, Any]]:
    """All cells of a folder, by name."""
    return [read_cell(path) for path in sorted((out / "cells").glob("*.json"))]
