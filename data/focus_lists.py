"""Lists of slices as CSV: images, their scores, their features; read, written and joined.

The first columns are those of the older workflow: `image_path`; `image_path, z_um, focus_score`.
Paths are relative to the list. Joining goes by stack, channel and z.
"""

from __future__ import annotations

import csv
import difflib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..configs.errors import InputError
from .focus_labels import FocusUnits
from .focus_row import FocusRow, by_stack, stack_and_z
from .focus_sets.published import read_published
from .manifest import read_dataset
from .manifest_csv import table_records
from .open import open_volume
from .voxel import parse_voxel_size

COLUMNS = (
    "image_path", "z_um", "focus_score", "stack_id", "channel", "z_index", "plane", "best_z",
    "level", "stain", "group", "objective", "split", "na", "wavelength_nm", "refractive_index",
    "voxel_size_um",
)  # fmt: skip
SLICE_SUFFIXES = (".tif", ".tiff", ".png")


def read_focus_list(source: str | Path) -> tuple[FocusRow, ...]:
    """Slices of a list, of a folder, or of a dataset list of volumes.

    Args:
        source: a CSV with the column `image_path` (others as in `COLUMNS`); a folder of folders
            S001/S001_z-10.tif, in which z 0 is the best slice; the folder of a set that
            `read_published` knows; or a list that `read_dataset` reads,
            whose volumes are stacks.

    Raises:
        InputError: nothing of these; a cell that is wrong; a slice without stack or z; two slices
            of one stack, channel and z.
    """
    path = Path(source).expanduser()
    if path.is_dir() and not (path / "dataset.csv").exists():
        published = read_published(path)
        rows = _rows_of_folder(path.absolute()) if published is None else list(published)
    elif path.suffix.lower() in (".csv", ".tsv") and "image_path" in _header(path):
        rows = _rows_of_table(path)
    else:
        rows = _rows_of_volumes(path)
    by_stack(rows)  # refuses doubles
    return tuple(rows)


def write_focus_list(
    path: str | Path, rows: Sequence[FocusRow], columns: Sequence[str] | None = None
) -> Path:
    """Write slices as CSV.

    Args:
        path: of the table; image paths become relative to its folder.
        rows: what is written.
        columns: some of `COLUMNS`; None = the key, and those that any row fills.
    """
    path = Path(path)
    cells = [focus_cells(row, path.absolute().parent) for row in rows]
    if columns is None:
        needed = {"image_path", "stack_id", "z_index"}
        columns = [name for name in COLUMNS if name in needed or any(c[name] for c in cells)]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(cells)
    return path


def write_scores(path: str | Path, rows: Sequence[FocusRow]) -> Path:
    """Write the scores of slices: the three columns of the older workflow first, then the key."""
    return write_focus_list(
        path, rows, ("image_path", "z_um", "focus_score", "stack_id", "channel", "z_index")
    )


def join_scores(
    rows: Sequence[FocusRow], scores: Sequence[FocusRow], where: str
) -> tuple[FocusRow, ...]:
    """Give rows what another list knows of the same slices.

    Args:
        rows: slices, such as those of a table of features.
        scores: slices with `score`, `z_um`, `best_z` or `level`.
        where: names the list of scores in messages.

    Returns:
        The rows that `scores` knows, in their order.

    Raises:
        InputError: no slice in common; the message shows one of each.
    """
    known = {row.key: row for row in scores}
    # Where no column says it, a stack is named by its folder, as seen from the list.
    same_file = {(row.image_path, row.plane): row for row in scores}
    joined = []
    for row in rows:
        other = known.get(row.key) or same_file.get((row.image_path, row.plane))
        if other is not None:
            stated = next((r.group for r in (row, other) if r.group != r.stack_id), row.stack_id)
            joined.append(
                replace(
                    row,
                    z_um=other.z_um,
                    score=other.score,
                    level=other.level,
                    best_z=row.best_z if other.best_z is None else other.best_z,
                    group=stated,
                    objective=row.objective or other.objective,
                    stain=row.stain or other.stain,
                    # The list of scores of the older workflow knows no optics.
                    units=min(row.units, other.units, key=lambda units: len(units.missing)),
                )
            )
    if not joined:
        shown = [f"{r[0].stack_id!r} z {r[0].z_index}" if r else "nothing" for r in (rows, scores)]
        raise InputError(
            f"{where}: no slice in common with the other list, by stack, channel and z: found "
            f"{shown[1]} here and {shown[0]} there; make both lists from the same folder"
        )
    return tuple(joined)


def slice_row(cells: Mapping[str, str], base: Path, where: str) -> FocusRow:
    """A row from its cells; stack and z come from the name where no column says them.

    Args:
        cells: by the names of `COLUMNS`, empty ones left out.
        base: folder that paths are relative to.
        where: names table and row in messages.

    Raises:
        InputError: no path, a cell that is wrong, or neither stack nor z.
    """

    def number(name: str) -> float | None:
        if name not in cells:
            return None
        try:
            value = float(cells[name])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{where}: {name} is {cells[name]!r}, expected a finite number")
        return value

    def whole(name: str) -> int | None:
        value = number(name)
        if value is not None and value != int(value):
            raise InputError(f"{where}: {name} is {cells[name]!r}, expected a whole number")
        return None if value is None else int(value)

    if "image_path" not in cells:
        raise InputError(f"{where}: no image_path; give the path of the slice")
    path = Path(os.path.abspath(base / cells["image_path"].replace("\\", "/")))
    score = number("focus_score")
    if score is not None and not 0 <= score <= 1:
        raise InputError(f"{where}: focus_score is {score:g}, expected 0 to 1")
    stack, z = cells.get("stack_id"), whole("z_index")
    if stack is None or z is None:
        try:
            named = stack_and_z(path, base)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        stack, z = stack or named[0], named[1] if z is None else z
    size = cells.get("voxel_size_um")
    return FocusRow(
        image_path=path,
        stack_id=stack,
        z_index=z,
        channel=cells.get("channel", ""),
        plane=whole("plane"),
        z_um=number("z_um"),
        best_z=number("best_z"),
        level=number("level"),
        score=score,
        stain=cells.get("stain"),
        group=cells.get("group") or stack,
        objective=cells.get("objective", ""),
        split=cells.get("split"),
        units=FocusUnits(
            number("na"),
            number("wavelength_nm"),
            number("refractive_index"),
            None if size is None else parse_voxel_size(size, f"{where}, voxel_size_um"),
        ),
        where=where,
    )


def focus_cells(row: FocusRow, base: Path) -> dict[str, str]:
    """All of `COLUMNS` of a row as text; image paths relative to `base`."""
    size = row.units.voxel_size_um
    path = os.path.relpath(os.path.abspath(row.image_path), base)
    found = {
        "image_path": Path(path).as_posix(), "z_um": row.distance_um, "focus_score": row.score,
        "stack_id": row.stack_id, "channel": row.channel, "z_index": row.z_index,
        "plane": row.plane, "best_z": row.best_z, "level": row.level, "stain": row.stain,
        "group": row.group, "objective": row.objective, "split": row.split, "na": row.units.na,
        "wavelength_nm": row.units.wavelength_nm, "refractive_index": row.units.refractive_index,
        "voxel_size_um": None if size is None else " ".join(f"{side:g}" for side in size),
    }  # fmt: skip
    return {
        name: "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)
        for name, value in found.items()
    }


def _header(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a CSV of slices, a folder or a dataset list")
    records = table_records(path)
    return [name.strip() for name in records[0][1]] if records else []


def _rows_of_table(path: Path) -> list[FocusRow]:
    header = _header(path)
    for name in header:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(COLUMNS)}"
            raise InputError(f"{path}: unknown column {name!r}; {advice}")
    rows = []
    for number, cells in table_records(path)[1:]:
        where = f"{path}: row {number}"
        if len(cells) != len(header):
            raise InputError(f"{where} has {len(cells)} cells, the header has {len(header)}")
        filled = {k: v.strip() for k, v in zip(header, cells, strict=True) if v.strip()}
        rows.append(slice_row(filled, path.absolute().parent, where))
    if not rows:
        raise InputError(f"{path}: a header but no rows, expected one row for each slice")
    return _without_false_um(rows)


def _without_false_um(rows: list[FocusRow]) -> list[FocusRow]:
    """Drop z_um that is the number in the file name: the older workflow put the index there."""
    if any(row.z_um is None or row.z_um != row.z_index or row.best_z is not None for row in rows):
        return rows
    return [replace(row, z_um=None, best_z=0.0) for row in rows]


def _rows_of_folder(folder: Path) -> list[FocusRow]:
    """S001/S001_z-10.tif below a folder, or beside each other in it; z 0 is the best slice."""
    files = sorted(
        file
        for pattern in ("*", "*/*")
        for file in folder.glob(pattern)
        if file.suffix.lower() in SLICE_SUFFIXES
    )
    if not files:
        raise InputError(
            f"{folder}: no slices, expected STACK/STACK_z-10.tif "
            f"({', '.join(SLICE_SUFFIXES)}); give a folder of stacks, or a CSV"
        )
    rows = []
    for file in files:
        stack, z = stack_and_z(file, folder)
        rows.append(FocusRow(file, stack, z, best_z=0.0, group=stack, where=str(file)))
    return rows


def _rows_of_volumes(path: Path) -> list[FocusRow]:
    """The planes of the volumes of a dataset list; z is the number of the plane."""
    rows = []
    for item in read_dataset(path):
        volume = open_volume(item.image, axes=item.axes, voxel_size_um=item.voxel_size_um)
        units = FocusUnits(item.na, item.wavelength_nm, item.refractive_index, volume.voxel_size_um)
        several = volume.num_channels > 1
        rows += [
            FocusRow(
                item.image, item.id, plane, channel=name if several else "", plane=plane,
                best_z=item.best_z, stain=item.stain, group=item.group, split=item.split,
                units=units, where=item.where,
            )
            for name in volume.channel_names
            for plane in range(volume.shape[0])
        ]  # fmt: skip
    return rows
