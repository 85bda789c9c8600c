"""Tables of features: one row a slice as CSV, and beside it how they were made, as JSON."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ...configs.errors import InputError
from ...configs.explain import one_line
from ...data.focus_lists import COLUMNS, focus_cells, slice_row
from ...data.focus_row import FocusRow, by_stack
from ...data.manifest_csv import table_records
from ...predict.focus_features import FeatureRecipe

KNOWN = (
    "image_path", "stack_id", "channel", "z_index", "plane", "z_um", "best_z", "stain", "group",
    "objective", "na", "wavelength_nm", "refractive_index", "voxel_size_um",
)  # fmt: skip
"""Columns of every table before `valid`, `reason` and the features."""
_PREFIX = "f"


@dataclass(frozen=True)
class FeatureTable:
    """Described slices.

    Attributes:
        rows: N slices.
        features: [N, D]; rows of nan for what is not valid.
        reasons: [N] "" or why the slice is not valid, such as "empty".
        recipe: None where the features came from elsewhere.
        fingerprint: of the weights that made them.
    """

    rows: tuple[FocusRow, ...]
    features: NDArray[np.float64]
    reasons: tuple[str, ...]
    recipe: FeatureRecipe | None = None
    fingerprint: str = ""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """[N] bool."""
        return np.array([not reason for reason in self.reasons], bool)


def write_table(path: str | Path, table: FeatureTable) -> Path:
    """Write PATH and, beside it, PATH with the ending .json: how the features were made."""
    path = Path(path)
    names = [f"{_PREFIX}{number}" for number in range(table.features.shape[1])]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([*KNOWN, "valid", "reason", *names])
        for row, values, reason in zip(table.rows, table.features, table.reasons, strict=True):
            cells = focus_cells(row, path.absolute().parent)
            numbers = [""] * len(values) if reason else [f"{value:.7g}" for value in values]
            valid = "false" if reason else "true"
            out.writerow([*(cells[name] for name in KNOWN), valid, reason, *numbers])
    if table.recipe is not None:
        recipe = moved_parts(table.recipe, path.parent).model_dump(mode="json")
        card = {"recipe": recipe, "fingerprint": table.fingerprint}
        path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return path


def read_table(path: str | Path) -> FeatureTable:
    """Read a table of features; other columns than `KNOWN` count as features, if all are numbers.

    Raises:
        InputError: no such table, no features in it, a cell that is no number, two rows of one
            slice, or a slice without stack or z.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; make it with luxvox focus-features")
    records = table_records(path)
    header = [name.strip() for name in records[0][1]] if records else []
    own = {*COLUMNS, "valid", "reason"}
    columns = [place for place, name in enumerate(header) if name not in own]
    if "image_path" not in header or not columns or len(records) < 2:
        raise InputError(
            f"{path}: expected the column image_path, one column for each feature, and a row for "
            "each slice; make it with luxvox focus-features"
        )
    rows, features, reasons = [], [], []
    for number, cells in records[1:]:
        where = f"{path}: row {number}"
        if len(cells) != len(header):
            raise InputError(f"{where} has {len(cells)} cells, the header has {len(header)}")
        named = {k: v.strip() for k, v in zip(header, cells, strict=True) if v.strip()}
        known = {k: v for k, v in named.items() if k in COLUMNS}
        rows.append(slice_row(known, path.absolute().parent, where))
        reason = named.get("reason", "")
        reasons.append(reason or ("invalid" if named.get("valid") == "false" else ""))
        features.append(_numbers([cells[place] for place in columns], reasons[-1], where))
    by_stack(rows)
    recipe, fingerprint = _card(path)
    return FeatureTable(tuple(rows), np.array(features), tuple(reasons), recipe, fingerprint)


def _numbers(cells: Sequence[str], reason: str, where: str) -> list[float]:
    if reason:
        return [float("nan")] * len(cells)
    try:
        values = [float(cell) for cell in cells]
    except ValueError as error:
        raise InputError(f"{where}: a feature is no number ({error}); make it again") from None
    if not np.isfinite(values).all():
        raise InputError(f"{where}: a feature is nan or inf, expected numbers; mark it valid=false")
    return values


def _card(path: Path) -> tuple[FeatureRecipe | None, str]:
    """Recipe and fingerprint; weights are relative to the table, and come relative to here."""
    card = path.with_suffix(".json")
    if not card.is_file():
        return None, ""
    try:
        known = json.loads(card.read_text(encoding="utf-8"))
        recipe = FeatureRecipe.model_validate(known["recipe"])
        parts = tuple(_moved(part, path.parent, Path()) for part in recipe.parts)
        return recipe.model_copy(update={"parts": parts}), str(known["fingerprint"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{card}: not readable ({one_line(error)}); make it again") from error


def moved_parts(recipe: FeatureRecipe, folder: Path) -> FeatureRecipe:
    """The recipe with weights that lie in folders named relative to another folder."""
    parts = tuple(_moved(part, Path(), folder) for part in recipe.parts)
    return recipe.model_copy(update={"parts": parts})


def _moved(part: str, old: Path, new: Path) -> str:
    """Name weights relative to another folder; shipped names stay."""
    kind, colon, what = part.partition(":")
    if not colon or not (old / what).exists():
        return part
    return f"{kind}:{Path(os.path.relpath(old / what, new)).as_posix()}"
