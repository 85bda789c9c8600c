"""A stack whose focus is known, and what a method says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ....data.focus_labels import FocusUnits
from ....predict.focus import Mode
from ....predict.focus_stack import FocusStack

Numbers = NDArray[np.float64]
Unit = Literal["DOF", "um", "slices", "levels"]


@dataclass(frozen=True)
class Case:
    """One stack of the comparison. S slices.

    Attributes:
        stack: the pixels, read slice by slice.
        group: specimen; nothing of it is learnt by what is judged on it.
        mode: what moved, see `predict.focus`.
        condition: names the table that the stack belongs to.
        truth: [S], |z - z*| of each slice in `unit`; nan where a slice is empty or nobody knows.
        unit: depths of field where the optics are known, else what the list counts in.
        step: of `unit` from z index to z index; None of volumes, and where that is not known.
        um: of one `unit`; None = not known.
        best_z: z index of the best slice, with a fraction; None of volumes.
        empty: [S] bool, slices that are known to show nothing.
        units: what of the optics is known.
        stain: free text.
    """

    stack: FocusStack
    group: str
    mode: Mode
    condition: str
    truth: Numbers
    unit: Unit
    step: float | None
    um: float | None
    best_z: float | None
    empty: NDArray[np.bool_]
    units: FocusUnits
    stain: str | None = None

    @property
    def name(self) -> str:
        """Of the stack and its channel."""
        return f"{self.stack.stack_id} {self.stack.channel}".strip()

    @property
    def planes(self) -> NDArray[np.float32]:
        """[S, Y, X] all slices; read anew at every call."""
        return self.stack.read(range(len(self.stack))).numpy()


@dataclass(frozen=True)
class Answer:
    """What a method says of a case. S slices.

    Attributes:
        scores: [S], larger = sharper; nan where it refuses to say.
        far: [S], distance from focus in the unit of the case; None = it only ranks.
        low, high: [S] around `far`, to hold 90 % of slices; None = it promises nothing.
    """

    scores: Numbers
    far: Numbers | None = None
    low: Numbers | None = None
    high: Numbers | None = None
