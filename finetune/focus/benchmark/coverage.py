"""Whether intervals hold what they promise: on specimens that were imaged, not on drawn errors."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import numpy as np

from ....data.focus_tiles import TileRule, frame_stack
from ....predict.focus_calibration import Residuals
from ....predict.focus_features import FeatureRecipe, SliceFeatures, StackStandard
from ..ridge import fit_ridge
from .case import Case, Numbers


class Coverage(NamedTuple):
    """What came of it.

    Attributes:
        covered: share of slices inside their interval, mean over unseen specimens.
        error: two standard errors of that share, binomial over these specimens.
        radius: half width of the intervals, in the unit of the cases.
        specimens: unseen ones.
    """

    covered: float
    error: float
    radius: float
    specimens: int


def measure_coverage(
    cases: Iterable[Case], learnt: int, calibrated: int, promised: float = 0.9
) -> Coverage:
    """Learn a ridge on some specimens, calibrate on others, and look at the rest.

    Args:
        cases: one stack each of different specimens, exchangeable; gone through once.
        learnt: that many, the first ones, teach the ridge.
        calibrated: that many, the next ones, make the intervals.
        promised: coverage.

    Raises:
        ValueError: no case is left to look at.
    """
    features = SliceFeatures(FeatureRecipe())
    stream = iter(cases)
    described = [_described(features, case) for case in islice(stream, learnt)]
    rows = [(found, truth) for found, truth in described if len(found)]
    fitted = fit_ridge(
        np.concatenate([found for found, _ in rows]),
        np.concatenate([truth for _, truth in rows]),
        [f"{number}" for number, (found, _) in enumerate(rows) for _ in found],
    )

    def errors(case: Case) -> Numbers:
        found, truth = _described(features, case)
        return truth - fitted(found) if len(found) else np.empty(0)

    parts = [part for part in map(errors, islice(stream, calibrated)) if len(part)]
    stacks = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    radius = Residuals(np.concatenate(parts), stacks).radius(promised)
    inside = [float((np.abs(part) <= radius).mean()) for part in map(errors, stream) if len(part)]
    if not inside:
        raise ValueError("no specimen is left to look at; give more cases")
    error = 2 * float(np.sqrt(promised * (1 - promised) / len(inside)))
    return Coverage(float(np.mean(inside)), error, radius, len(inside))


def _described(features: SliceFeatures, case: Case) -> tuple[Numbers, Numbers]:
    """Features [N, D] against the other slices of the sweep and true distances [N]."""
    found = features.describe_all(case.planes, frame_stack(case.planes, TileRule(side=64)))
    known = np.isfinite(case.truth) & np.isfinite(found).all(1)
    return StackStandard.of(found)(found)[known], case.truth[known]
