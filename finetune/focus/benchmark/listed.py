"""Cases of labelled stacks: lists of slices, folders of stacks, published sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from ....data.focus_images import read_slice
from ....data.focus_labels import distance_of_score
from ....data.focus_lists import read_focus_list
from ....data.focus_row import FocusRow, by_stack, score_unit
from ....predict.focus import Mode
from ....predict.focus_stack import FocusStack
from .case import Case, Numbers, Unit


def listed_cases(source: str, mode: Mode) -> list[Case]:
    """The labelled stacks of a list; pixels are read when they are asked for.

    Distances are in depths of field where all rows know spacing, NA, wavelength and index.

    Args:
        source: as `read_focus_list` takes it.
        mode: what moved between the slices of a stack.

    Raises:
        InputError: no such list, a row that is wrong, or one without a label.
    """
    rows = read_focus_list(source)
    unit = _unit(rows)
    name = _name(Path(source))
    stacks = by_stack(rows).values()
    return [_case(stack, unit, mode, f"{mode}, {name}") for stack in stacks]


def digest_of(cases: Sequence[Case]) -> str:
    """Changes when a label, a specimen or a slice of a list does; pixels are not looked at."""
    digest = hashlib.sha256()
    for case in cases:
        told = (case.name, case.group, case.mode, case.unit, case.best_z, case.stack.z_index)
        digest.update(repr(told).encode())
        digest.update(case.truth.tobytes())
    return digest.hexdigest()[:16]


def _name(source: Path) -> str:
    """`mine/dataset.csv` -> mine, `labelled.csv` -> labelled.csv, a folder by itself."""
    path = source.expanduser().absolute()
    return path.parent.name if path.stem == "dataset" else path.name


def _unit(rows: Sequence[FocusRow]) -> Unit:
    unit = score_unit(rows)
    known = all(row.units.depth_of_field_um is not None for row in rows)
    found: Unit = "DOF" if unit == "um" and known else unit
    assert found in get_args(Unit)
    return found


def _case(rows: Sequence[FocusRow], unit: Unit, mode: Mode, condition: str) -> Case:
    first = rows[0]
    depth, step_um = first.units.depth_of_field_um, first.units.z_step_um
    um = depth if unit == "DOF" else 1.0 if unit == "um" else None
    step = 1.0 if unit == "slices" else step_um / um if step_um and um else None
    z = np.array([row.z_index for row in rows], np.float64)
    truth = _distances(rows, unit) / (um or 1.0)
    best = None
    if mode == "sweep":
        best = z[int(truth.argmin())] if first.best_z is None else first.best_z
    image = read_slice(first)
    return Case(
        stack=FocusStack(
            image_paths=tuple(str(row.image_path) for row in rows),
            stack_id=first.stack_id,
            channel=first.channel,
            t=0,
            z_index=tuple(row.z_index for row in rows),
            voxel_size_um=first.units.voxel_size_um,
            shape=(image.shape[0], image.shape[1]),
            largest=None,
            notes=(),
            load=lambda place: read_slice(rows[place]),
        ),
        group=first.group,
        mode=mode,
        condition=condition,
        truth=truth,
        unit=unit,
        step=step if mode == "sweep" else None,
        um=um,
        best_z=best,
        empty=np.zeros(len(rows), bool),
        units=first.units,
        stain=first.stain,
    )


def _distances(rows: Sequence[FocusRow], unit: Unit) -> Numbers:
    """[S] from focus in um, slices or levels; of rows that have a score alone, what it says."""
    found = []
    for row in rows:
        known = row.level
        if unit in ("DOF", "um"):
            known = row.distance_um
        elif row.best_z is not None:
            known = row.z_index - row.best_z
        if known is None and row.score is not None:
            known = float(distance_of_score(max(row.score, 1e-3)))
        found.append(np.nan if known is None else abs(known))
    return np.array(found, np.float64)
