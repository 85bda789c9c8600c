"""One slice of a list for focus: which image it is, which stack it belongs to, what is known of it.

A slice is known by its stack, channel and z, never by the name of its file: stacks repeat names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError
from .focus_labels import SIGMA, FocusUnits, focus_score

Key = tuple[str, str, int]
"""(stack, channel, z index)."""
Unit = Literal["um", "slices", "levels"]

_NAME = re.compile(r"(?P<stack>.+)_z(?P<z>[+-]?\d+)")


@dataclass(frozen=True)
class FocusRow:
    """One slice.

    Attributes:
        image_path: of the image, or of the volume that it is a plane of.
        stack_id: unique name of the stack.
        z_index: number of the slice in its stack, in steps; may be below 0.
        channel: "" where there is one only.
        plane: of a volume; None = the file is the slice.
        z_um: position from the best slice in um, where somebody measured it.
        best_z: z index of the best slice; may lie between slices.
        level: distance from focus in the levels of a published set, with a sign where it has one.
        score: 1 in focus, towards 0 far from it; see `focus_labels.focus_score`.
        stain: as free text.
        group: specimen; folds never cut it. Where nothing is said, the stack.
        objective: name of the lens; calibrations belong to one.
        split: of a published set.
        units: what turns planes into um.
        where: how messages name the row.
    """

    image_path: Path
    stack_id: str
    z_index: int
    channel: str = ""
    plane: int | None = None
    z_um: float | None = None
    best_z: float | None = None
    level: float | None = None
    score: float | None = None
    stain: str | None = None
    group: str = ""
    objective: str = ""
    split: str | None = None
    units: FocusUnits = field(default_factory=FocusUnits)
    where: str = ""

    @property
    def key(self) -> Key:
        """What identifies the slice."""
        return self.stack_id, self.channel, self.z_index

    @property
    def distance_um(self) -> float | None:
        """From the best slice, with its sign; None where um are not known."""
        if self.z_um is not None or self.best_z is None:
            return self.z_um
        step = self.units.z_step_um
        return None if step is None else (self.z_index - self.best_z) * step


def stack_and_z(path: Path, base: Path) -> tuple[str, int]:
    """Stack and z of a file such as S001/S001_z-10.tif: its folder, from `base` on, and number.

    Raises:
        InputError: folder and file name do not say the same stack, or there is no z. Nothing is
            put into one big stack of things unknown.
    """
    match = _NAME.fullmatch(path.stem)
    if match is None or match["stack"] != path.parent.name:
        raise InputError(
            f"{path}: name and folder do not say stack and z, expected STACK/STACK_z-10.tif; "
            "give the columns stack_id and z_index"
        )
    inside = Path(os.path.relpath(path.parent, base))
    # A list that lies inside the folder of its only stack.
    return (path.parent.name if inside == Path() else inside.as_posix()), int(match["z"])


def score_unit(rows: Sequence[FocusRow]) -> Unit:
    """Unit of the distances that scores of these rows are made from.

    um where all rows know them; else slices from `best_z`, or levels where that is what there is.
    """
    unscored = [row for row in rows if row.score is None] or list(rows)
    if all(row.distance_um is not None for row in unscored):
        return "um"
    return "levels" if all(row.best_z is None for row in unscored) else "slices"


def labelled_scores(rows: Sequence[FocusRow], sigma: float = SIGMA) -> NDArray[np.float64]:
    """Scores of rows that know where focus is: stated, or made from the distance from it.

    Args:
        rows: N slices.
        sigma: distance at which the score is a half, in the unit that `score_unit` gives.

    Returns:
        [N]

    Raises:
        InputError: a row that knows nothing of focus, or less than the others.
    """
    unit = score_unit(rows)
    found = np.empty(len(rows))
    for place, row in enumerate(rows):
        distance = row.distance_um if unit == "um" else row.level
        if unit == "slices":
            distance = None if row.best_z is None else row.z_index - row.best_z
        if row.score is None and distance is None:
            raise InputError(
                f"{row.where or row.image_path}: neither focus_score nor a distance from focus in "
                f"{unit}, as others have; give focus_score, best_z or level for every slice"
            )
        found[place] = focus_score(distance or 0.0, sigma) if row.score is None else row.score
    return found


def by_stack(rows: Iterable[FocusRow]) -> dict[tuple[str, str], list[FocusRow]]:
    """Rows of each (stack, channel), z ascending; stacks in the order of the rows.

    Raises:
        InputError: two rows of one stack, channel and z.
    """
    stacks: dict[tuple[str, str], list[FocusRow]] = {}
    seen: dict[Key, FocusRow] = {}
    for row in rows:
        if row.key in seen:
            other = seen[row.key]
            raise InputError(
                f"{row.where or row.image_path}: stack {row.stack_id!r}, channel "
                f"{row.channel!r}, z {row.z_index} stands in {other.where or other.image_path} "
                "already; give every slice its own z_index, or the stacks their own stack_id"
            )
        seen[row.key] = row
        stacks.setdefault((row.stack_id, row.channel), []).append(row)
    return {name: sorted(found, key=lambda row: row.z_index) for name, found in stacks.items()}
