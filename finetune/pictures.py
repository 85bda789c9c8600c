"""From examples and what was found in them to cases that a report can draw."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..report.cases import Case
from .examples import Example, Task


def case_of(example: Example, task: Task, found: NDArray[Any] | None, note: str = "") -> Case:
    """One example with what was found in it.

    Args:
        example: read for the task.
        task: decides what `found` is.
        found: [Z, Y, X] labels, or restored image, normalised; None of classification.
        note: what is to be said of it.
    """
    return Case(
        name=example.id,
        image=example.image,
        voxel_size_um=example.voxel_size_um,
        labels=example.labels,
        found=found if task == "segment" else None,
        counts=example.counts,
        target=example.target,
        restored=found if task == "restore" else None,
        note=note,
    )
