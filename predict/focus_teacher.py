"""Weak labels for sweeps without labels: four measures vote by rank, and must agree on the peak.

Never test on what a teacher labelled: it knows no more than the measures that it was made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from .focus_peak import find_peak

LEAST_SLICES = 5


@dataclass(frozen=True)
class Taught:
    """What the teacher says of a sweep. S slices.

    Attributes:
        ranks: [S] from 0 (worst) to 1 (best), nan = not valid; None where it will not say.
        best_z: mean of the measures' peaks; None as above.
        spread: greatest distance between two of them, in slices; None where one has no peak.
        refusal: "" or why it will not: in words.
    """

    ranks: NDArray[np.float64] | None
    best_z: float | None
    spread: float | None
    refusal: str


def teach(
    z: Sequence[int],
    measures: Mapping[str, NDArray[np.floating]],
    valid: Sequence[bool],
    within: float = 1.0,
) -> Taught:
    """Label a sweep by the agreement of its measures.

    Args:
        z: [S] rising places.
        measures: [S] of each name.
        valid: [S], slices that passed the gate.
        within: greatest distance between peaks, in slices; give the depth of field over the step
            where it is known, and at least 1.
    """
    keep = np.asarray(valid, bool)
    if keep.sum() < LEAST_SLICES:
        return Taught(None, None, None, f"{int(keep.sum())} valid slices, needs {LEAST_SLICES}")
    places, ranks = [], []
    for name, values in measures.items():
        scores = np.where(keep, values, np.nan)
        peak = find_peak(z, scores)
        if peak.best_z is None:
            return Taught(None, None, None, f"{name} has no peak ({peak.reason})")
        if peak.boundary:
            return Taught(None, None, None, f"the peak of {name} is at an end of the sweep")
        places.append(peak.best_z)
        ranks.append((rankdata(scores[keep]) - 1) / (keep.sum() - 1))
    spread = float(np.ptp(places))
    if spread > within:
        found = ", ".join(f"{name} {at:.1f}" for name, at in zip(measures, places, strict=True))
        return Taught(None, None, spread, f"the peaks lie {spread:.1f} slices apart: {found}")
    mean = np.full(len(keep), np.nan)
    mean[keep] = np.mean(ranks, 0)
    return Taught(mean, float(np.mean(places)), spread, "")
