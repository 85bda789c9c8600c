"""Dataset lists: which volumes there are, what is known of them, and how they are split."""

from __future__ import annotations

import difflib
import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..configs.errors import InputError
from .manifest_csv import COLUMNS, file_stem, name_rows, read_csv
from .manifest_folders import (
    VOLUME_ENDINGS,
    is_nnunet,
    is_slice_folder,
    is_volume,
    rows_of_files,
    rows_of_nnunet,
    volume_exists,
)
from .open import open_volume
from .row import DatasetList, Row
from .volume import Volume

__all__ = [
    "COLUMNS",
    "DatasetList",
    "ListProblem",
    "Row",
    "file_stem",
    "find_problems",
    "open_labels",
    "open_row",
    "read_dataset",
    "split_rows",
]

TABLE_ENDINGS = (".csv", ".tsv")
_SHOWN = 3  # how many of many like problems one message names
_MOST_COMPARED = 20
_GENERAL_ADVICE = "paths are relative to the list; correct the path or take the row out"


@dataclass(frozen=True)
class ListProblem:
    """Something in a list that makes training on it wrong or impossible."""

    kind: str  # "missing file", "duplicate id", "group in two splits"
    row: Row
    what: str
    do: str


def read_dataset(
    source: str | Path, *, restore: bool = False, check: bool = True, allow_missing: bool = False
) -> DatasetList:
    """Read a list of volumes from whatever names them.

    Args:
        source: a table (CSV, columns in `COLUMNS`, only `image` needed); a folder with
            `dataset.csv`; an nnU-Net folder; a folder of volumes (`X_label`, `X_blurred` are
            partners of `X`); a glob such as "scans/**/*.tif"; one volume.
        restore: for folders: rows from `X_blurred` to `X` instead of `X` with its labels.
        check: refuse missing files, duplicate ids and groups in two splits. The audit turns this
            off to report all of them.
        allow_missing: let missing files pass all the same; whoever opens them skips them.

    Raises:
        InputError: nothing found there, or the table or the rows are wrong.
    """
    path = Path(source).expanduser()
    found = _locate(path, restore)
    if check:
        _refuse(found, allow_missing)
    return found


def _locate(path: Path, restore: bool) -> DatasetList:
    if path.suffix.lower() in TABLE_ENDINGS:
        if not path.is_file():
            raise InputError(f"{path}: no such file; give a dataset.csv, a folder or a volume")
        return DatasetList(path.absolute(), read_csv(path))
    if volume_exists(path):
        if is_volume(path):
            return DatasetList(path.absolute(), rows_of_files([path], path.parent.absolute()))
        if path.is_dir():
            return _read_folder(path.absolute(), restore)
        raise InputError(
            f"{path}: neither a table ({', '.join(TABLE_ENDINGS)}) nor a volume of a known ending "
            f"({', '.join(VOLUME_ENDINGS)})"
        )
    if glob.has_magic(str(path)):
        files = [Path(f) for f in sorted(glob.glob(str(path), recursive=True))]
        volumes = [f.absolute() for f in files if is_volume(f)]
        if not volumes:
            raise InputError(f"{path}: the pattern matches no volume ({len(files)} other files)")
        base = _common_folder(volumes)
        return DatasetList(base, rows_of_files(volumes, base, restore=restore))
    raise InputError(f"{path}: not found; give a dataset.csv, a folder, a glob or a volume")


def _read_folder(folder: Path, restore: bool) -> DatasetList:
    table = folder / "dataset.csv"
    if table.exists():
        return DatasetList(table, read_csv(table))
    if is_nnunet(folder):
        return DatasetList(folder, rows_of_nnunet(folder))
    volumes = [f for f in folder.iterdir() if is_volume(f)]
    if not volumes:
        below = next((f for f in sorted(folder.glob("*/*")) if is_volume(f)), None)
        advice = (
            f"volumes lie one level deeper, give the pattern '{folder}/*/*{_ending(below)}'"
            if below
            else f"expected dataset.csv or volumes ({', '.join(VOLUME_ENDINGS)})"
        )
        raise InputError(f"{folder}: no dataset.csv and no volumes in this folder; {advice}")
    if is_slice_folder(folder):
        return DatasetList(folder, name_rows([Row(id=folder.name, image=folder)], folder.parent))
    return DatasetList(folder, rows_of_files(volumes, folder, restore=restore))


def _ending(path: Path) -> str:
    return path.name[len(file_stem(path)) :]


def _common_folder(paths: Sequence[Path]) -> Path:
    first = paths[0].parent
    return next(
        folder for folder in (first, *first.parents) if all(p.is_relative_to(folder) for p in paths)
    )


def find_problems(rows: Sequence[Row]) -> list[ListProblem]:
    """All missing files, duplicate ids and groups that stand in two splits."""
    problems = []
    ids: dict[str, Row] = {}
    split_of: dict[str, Row] = {}
    # A row without a split among rows that have one belongs to train.
    stated = any(row.split for row in rows)
    for row in rows:
        for column, path in (("image", row.image), ("labels", row.labels), ("target", row.target)):
            if path is not None and not volume_exists(path):
                # Comparing names is slow in large folders, and the first few tell it all.
                do = _near(path) if len(problems) < _MOST_COMPARED else _GENERAL_ADVICE
                problems.append(ListProblem("missing file", row, f"{column} not found: {path}", do))
        if row.id in ids:
            what = f"id '{row.id}' was used in {ids[row.id].where} already"
            problems.append(ListProblem("duplicate id", row, what, "give every row its own id"))
        ids.setdefault(row.id, row)
        first = split_of.setdefault(row.group, row)
        mine, other = row.split or "train", first.split or "train"
        if stated and mine != other:
            what = f"group '{row.group}' is in {mine} here and in {other} in {first.where}"
            do = "keep all volumes of one animal or parent volume in one split"
            problems.append(ListProblem("group in two splits", row, what, do))
    return problems


def _near(path: Path) -> str:
    """Advice for a missing file: the file beside it whose name is nearest."""
    names = [f.name for f in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.8)
    if near:
        return f"did you mean '{near[0]}'?"
    return _GENERAL_ADVICE


def _refuse(dataset: DatasetList, allow_missing: bool) -> None:
    problems = find_problems(dataset.rows)
    if allow_missing:
        problems = [problem for problem in problems if problem.kind != "missing file"]
    if not problems:
        return
    kind = problems[0].kind
    alike = [p for p in problems if p.kind == kind]
    shown = "; ".join(f"{p.row.where}: {p.what}" for p in alike[:_SHOWN])
    more = f" and {len(alike) - _SHOWN} more" if len(alike) > _SHOWN else ""
    raise InputError(f"{dataset.source}: {shown}{more}; {alike[0].do}")


def split_rows(
    dataset: DatasetList, *, val_fraction: float, seed: int
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Rows to train on and rows to validate on; no group is ever cut.

    The `split` column decides where it names a "val" row. Otherwise whole groups are drawn: ordered
    by a hash of (seed, group), so that a group added later does not reshuffle the others, and
    taken as long as they fit into `val_fraction` of the rows. Rows of split "test" are in neither.

    Args:
        dataset: the list; a row without a split counts as "train" where others have one.
        val_fraction: share of rows to hold back, 0 to 1; 0 holds nothing back.
        seed: chooses the groups.

    Raises:
        InputError: a group in two splits; nothing to train on; or only one group, of which no
            honest part can be held back (give `group` values, or `val_fraction` 0).
    """
    if not 0 <= val_fraction < 1:
        raise InputError(f"val_fraction is {val_fraction}, expected a number from 0 to below 1")
    cut = [p for p in find_problems(dataset.rows) if p.kind == "group in two splits"]
    if cut:
        raise InputError(f"{dataset.source}: {cut[0].row.where}: {cut[0].what}; {cut[0].do}")
    pool = tuple(row for row in dataset.rows if row.split != "test")
    train = tuple(row for row in pool if row.split != "val")
    if not train:
        raise InputError(
            f"{dataset.source}: no row to train on, all {len(dataset.rows)} are of split val or "
            "test; give some the split 'train'"
        )
    if len(train) < len(pool) or val_fraction == 0:
        return train, tuple(row for row in pool if row.split == "val")
    held_back = _draw_groups(train, val_fraction, seed)
    if not held_back:
        raise InputError(
            f"{dataset.source}: only one group ('{train[0].group}', rows: {len(train)}), so none "
            "can be held back; fill the column 'group' (animal or parent volume), or set "
            "val_fraction to 0 to train without validation"
        )
    return (
        tuple(row for row in train if row.group not in held_back),
        tuple(row for row in train if row.group in held_back),
    )


def _draw_groups(rows: Sequence[Row], fraction: float, seed: int) -> set[str]:
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row.group] = sizes.get(row.group, 0) + 1
    if len(sizes) < 2:
        return set()
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())
    wanted = max(1, round(fraction * len(rows)))
    drawn: set[str] = set()
    taken = 0
    for group in order:
        if taken + sizes[group] <= wanted and len(drawn) < len(sizes) - 1:
            drawn.add(group)
            taken += sizes[group]
    # Every group larger than the wanted share: the smallest one, so that most is left to train on.
    return drawn or {min(order, key=lambda group: sizes[group])}


def open_row(row: Row, **kwargs: Any) -> Volume:
    """Open the image of a row, with the axes and voxel size that the list states.

    Args:
        row: a row of a list.
        **kwargs: passed on to `open_volume` (channel, time, dataset); they win over the list.
    """
    return open_volume(
        row.image, **{"axes": row.axes, "voxel_size_um": row.voxel_size_um, **kwargs}
    )


def open_labels(row: Row, **kwargs: Any) -> Volume:
    """Open the labels of a row; labels have no channels, so only the spatial axes are passed on.

    Raises:
        InputError: the row has no labels.
    """
    if row.labels is None:
        raise InputError(f"{row.where}: no labels; fill the column 'labels'")
    axes = "".join(a for a in row.axes if a in "zyx") if row.axes else None
    return open_volume(row.labels, **{"axes": axes, "voxel_size_um": row.voxel_size_um, **kwargs})
