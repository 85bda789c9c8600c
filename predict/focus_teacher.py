"""A weak label for sweeps without labels: where the peaks of four measures agree, their mean.

Never test on what a teacher labelled: it knows no more than the measures that it was made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .focus_peak import find_peak

LEAST_SLICES = 5
_WITHIN = 1.0  # slices: greatest distance between peaks that agree


@dataclass(frozen=True)
class Taught:
    """What the teacher says of a sweep.

    Attributes:
        best_z: mean of the measures' peaks; None where it will not say.
        spread: greatest distance between two of them, in slices; None where one has no peak.
        refusal: "" or why it will not: in words.
    """

    best_z: float | None
    spread: float | None
    refusal: str


def teach(
    z: Sequence[int], measures: Mapping[str, NDArray[np.floating]], valid: Sequence[bool]
) -> Taught:
    """Label a sweep by the agreement of its measures.

    Args:
        z: [S] rising places.
        measures: [S] of each name.
        valid: [S], slices that passed the gate.
    """
    keep = np.asarray(valid, bool)
    if keep.sum() < LEAST_SLICES:
        return Taught(None, None, f"{int(keep.sum())} valid slices, needs {LEAST_SLICES}")
    places = []
    for name, values in measures.items():
        scores = np.where(keep, values, np.nan)
        peak = find_peak(z, scores)
        if peak.best_z is None:
            return Taught(None, None, f"{name} has no peak ({peak.reason})")
        if peak.boundary:
            return Taught(None, None, f"the peak of {name} is at an end of the sweep")
        places.append(peak.best_z)
    spread = float(np.ptp(places))
    if spread > _WITHIN:
        found = ", ".join(f"{name} {at:.1f}" for name, at in zip(measures, places, strict=True))
        return Taught(None, spread, f"the peaks lie {spread:.1f} slices apart: {found}")
    return Taught(float(np.mean(places)), spread, "")
