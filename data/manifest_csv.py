"""From a CSV table to rows: columns, cells, numbers; every cell has its own mistakes."""

from __future__ import annotations

import csv
import difflib
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..configs.errors import InputError
from .formats.axes import parse_axes
from .row import SPLITS, Row
from .voxel import parse_voxel_size

# The contract of the house plan. Two columns have another name in `Row` (Python keywords).
COLUMNS = (
    "id", "image", "labels", "target", "class", "group", "split", "stain", "structure", "caption",
    "voxel_size_um", "axes", "ignore_label", "foreground_label", "best_z", "z_um", "na",
    "wavelength_nm", "refractive_index",
)  # fmt: skip
DELIMITERS = (",", ";", "\t")

# Endings that hide a second ending: the stem of "a.nii.gz" is "a".
_DOUBLE_ENDINGS = (".nii.gz", ".ome.zarr", ".ome.tiff", ".ome.tif")


def file_stem(path: Path) -> str:
    """Name of a file without its ending, double endings such as .nii.gz taken off whole."""
    lower = path.name.lower()
    for ending in _DOUBLE_ENDINGS:
        if lower.endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


def read_csv(path: Path) -> tuple[Row, ...]:
    """Rows of a table separated by commas, semicolons or tabs, with or without a UTF-8 mark.

    Paths are taken relative to the folder of the table.

    Raises:
        InputError: not a text table, an unknown or doubled column, no `image` column, a ragged
            row, a cell that is no number, or no rows at all.
    """
    records = table_records(path)
    if not records:
        raise InputError(f"{path}: empty file, expected a header row with at least 'image'")
    header = [name.strip() for name in records[0][1]]
    _check_header(path, header)
    rows = []
    for number, cells in records[1:]:
        if len(cells) != len(header):
            raise InputError(
                f"{path}: row {number} has {len(cells)} cells, the header has {len(header)}; "
                "put cells that contain the separator in double quotes"
            )
        filled = {k: v.strip() for k, v in zip(header, cells, strict=True) if v.strip()}
        rows.append(_row(path, number, filled))
    if not rows:
        raise InputError(f"{path}: a header but no rows, expected one row for each volume")
    return name_rows(rows, path.parent)


def name_rows(rows: list[Row], base: Path) -> tuple[Row, ...]:
    """Fill in the ids and groups that are missing.

    Both are the file stem; where two different files share a stem, the path below `base` without
    its ending. Two rows of the same file thus land in one group.
    """
    files_of_stem: dict[str, set[Path]] = {}
    for row in rows:
        files_of_stem.setdefault(file_stem(row.image), set()).add(row.image)
    named = []
    for row in rows:
        name = file_stem(row.image)
        if len(files_of_stem[name]) > 1:
            folder = row.image.parent
            inside = folder.relative_to(base) if folder.is_relative_to(base) else folder
            name = (inside / name).as_posix()
        named.append(
            replace(row, id=row.id or name, group=row.group or name, group_stated=bool(row.group))
        )
    return tuple(named)


def table_records(path: Path) -> list[tuple[int, list[str]]]:
    """(row number as a spreadsheet counts, cells) of all rows that are not blank."""
    try:
        # utf-8-sig: Excel writes a byte order mark that would become part of the first column name.
        text = path.read_text(encoding="utf-8-sig")
        first = text.lstrip().split("\n", 1)[0]
        delimiter = max(DELIMITERS, key=first.count)
        table = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
        records = [(number, cells) for number, cells in enumerate(table, start=1)]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); "
            "save the table as CSV in UTF-8"
        ) from error
    except csv.Error as error:
        raise InputError(f"{path}: not a readable CSV table ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return [(number, cells) for number, cells in records if any(cell.strip() for cell in cells)]


def _check_header(path: Path, header: list[str]) -> None:
    for name in header:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.5)
            advice = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(COLUMNS)}"
            raise InputError(f"{path}: unknown column '{name}'; {advice}")
        if header.count(name) > 1:
            raise InputError(f"{path}: column '{name}' stands twice in the header; keep one")
    if "image" not in header:
        raise InputError(
            f"{path}: no column 'image' (found: {', '.join(header)}); "
            "add one with the path of each volume, relative to the list"
        )


def _row(path: Path, number: int, filled: dict[str, str]) -> Row:
    def cell(column: str, convert: Callable[[str], Any]) -> Any:
        if column not in filled:
            return None
        try:
            return convert(filled[column])
        except InputError:
            raise  # already names the cell
        except ValueError as error:
            raise InputError(f"{spot(column)}: found '{filled[column]}', {error}") from error

    def spot(column: str) -> str:
        return f"{path}: row {number}, column '{column}'"

    def file(column: str) -> Path | None:
        # abspath also folds "..", so that two ways to write one path are seen as one file.
        return Path(os.path.abspath(path.parent / filled[column])) if column in filled else None

    image = file("image")
    if image is None:
        raise InputError(f"{path}: row {number} has no image; give the path of a volume")
    return Row(
        id=filled.get("id", ""),
        image=image,
        labels=file("labels"),
        target=file("target"),
        class_name=filled.get("class"),
        group=filled.get("group", ""),
        split=cell("split", _split),
        stain=filled.get("stain"),
        structure=filled.get("structure"),
        caption=filled.get("caption"),
        voxel_size_um=cell(
            "voxel_size_um", lambda text: parse_voxel_size(text, spot("voxel_size_um"))
        ),
        axes=cell("axes", lambda text: parse_axes(text, len(text), spot("axes"))),
        ignore_label=cell("ignore_label", _labels),
        foreground_label=cell("foreground_label", _label),
        best_z=cell("best_z", _number),
        z_um=cell("z_um", _number),
        na=cell("na", _positive),
        wavelength_nm=cell("wavelength_nm", _positive),
        refractive_index=cell("refractive_index", _positive),
        list_row=number,
    )


def _split(text: str) -> str:
    if text.lower() not in SPLITS:
        raise ValueError("expected train, val or test")
    return text.lower()


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError("expected a number with a decimal point") from None
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise ValueError("expected a number above 0")
    return value


def _label(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise ValueError("expected a whole number")
    return int(value)


def _labels(text: str) -> tuple[int, ...]:
    return tuple(_label(part) for part in text.replace(",", " ").split())
