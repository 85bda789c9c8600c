"""One cell on disk: what it was, what came of it, and whether it is still that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...models.catalog import find_folder
from ...models.checkpoint import fingerprint
from ..cell_file import hash_of, read_cell_file, write_cell_file
from .lists import BenchmarkList
from .methods import CLASSICAL, recipe_of, structure_of, weights_of
from .plan import UNLABELLED, BenchmarkPlan, Cell
from .trials import Trial

VERSION = 5
"""Raised when a method or a metric changes, so that older cells are not taken for new ones."""

KEYS = {"samples", "method", "settings"}
"""What every cell holds beside its hash."""

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
    learnt = () if cell.method in UNLABELLED else zip(trial.rows, trial.digests[0], strict=True)
    settings: dict[str, Any] = {
        "version": VERSION,
        "support": {row.id: digest for row, digest in learnt},
        "judged": dict(zip((sample for sample, _ in trial.judged), trial.digests[1], strict=True)),
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
        settings["weights"] = None if weights is None else fingerprint(find_folder(weights))
    return settings


def cell_path(out: Path, cell: Cell) -> Path:
    """DIR/cells/NAME.json."""
    return out / "cells" / f"{cell.name}.json"


def write_cell(
    out: Path,
    cell: Cell,
    settings: Mapping[str, Any],
    samples: list[dict[str, Any]],
    facts: Mapping[str, Any],
) -> None:
    """Write a cell whole, or not at all."""
    held = {**vars(cell), "hash": hash_of(settings), **facts}
    held |= {"settings": dict(settings), "samples": samples}
    write_cell_file(cell_path(out, cell), held)


def read_cells(out: Path) -> list[dict[str, Any]]:
    """All cells of a folder, by name."""
    return [read_cell_file(path, KEYS) for path in sorted((out / "cells").glob("*.json"))]
