"""Ridge regression on frozen features (B2, B3), from slices to distances from focus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ....configs.errors import InputError
from ....data.focus_tiles import frame_stack
from ....predict.focus_calibration import Residuals
from ....predict.focus_features import FeatureRecipe, SliceFeatures, StackStandard
from ..ridge import Fitted, fit_ridge, leave_out
from .case import Answer, Case, Numbers

_TILE = 64
_FARTHEST_DOF = 10.0
"""Depths of field that targets end at: nobody asks how far beyond. Other units have no such end."""
_PROMISED = 0.9


@dataclass(frozen=True)
class RidgeOnFeatures:
    """A fit and what it needs to describe slices.

    Attributes:
        features: of a slice.
        fitted: from features to distances.
        radius: half width of intervals; infinite where too few specimens are known.
        farthest: distance that targets end at.
        unit: of the distances, see `Case.unit`.
    """

    features: SliceFeatures
    fitted: Fitted
    radius: float
    farthest: float
    unit: str

    def __call__(self, case: Case) -> Answer:
        """Distances from focus; nan for empty slices."""
        found = described(self.features, case)
        far = np.full(len(found), np.nan)
        known = np.isfinite(found).all(1)
        if known.any():
            far[known] = np.clip(self.fitted(found[known]), 0.0, self.farthest)
        if case.unit != self.unit:
            return Answer(-far)
        return Answer(-far, far, np.maximum(far - self.radius, 0.0), far + self.radius)


def learn_ridge(part: str, training: Iterable[Case]) -> RidgeOnFeatures:
    """Fit on cases; the penalty is chosen in inner folds of whole specimens.

    Args:
        part: of `FeatureRecipe.parts`, such as "classical".
        training: of at least three specimens, their truth in one unit.

    Raises:
        InputError: too few specimens that are not empty, or weights that are not there.
    """
    features = SliceFeatures(FeatureRecipe(parts=(part,), tile=_TILE))
    rows, truth, groups, stacks, unit = [], [], [], [], "DOF"
    for case in training:
        found = described(features, case)
        known = np.isfinite(case.truth) & np.isfinite(found).all(1)
        if not known.any():
            continue
        rows.append(found[known])
        truth.append(case.truth[known])
        groups += [case.group] * int(known.sum())
        stacks += [case.name] * int(known.sum())
        unit = case.unit
    if len(set(groups)) < 3:
        raise InputError(
            f"{len(set(groups))} specimens to learn {part} from, expected at least 3 that are not "
            "empty; label more, or fill the column group"
        )
    farthest = _FARTHEST_DOF if unit == "DOF" else np.inf
    given, wanted = np.concatenate(rows), np.minimum(np.concatenate(truth), farthest)
    fitted = fit_ridge(given, wanted, groups)
    left = leave_out(given, wanted, stacks, groups, alphas=(fitted.alpha,))
    missed = wanted - np.clip(left.scores, 0.0, farthest)
    numbers = np.unique(groups, return_inverse=True)[1]
    radius = Residuals(missed, numbers).radius(_PROMISED)
    return RidgeOnFeatures(features, fitted, radius, farthest, unit)


def described(features: SliceFeatures, case: Case) -> Numbers:
    """[S, D] of slices, in sweeps also against the other slices; rows of nan where empty."""
    frame = frame_stack(case.planes, features.recipe.rule)
    found = features.describe_all(case.planes, frame)
    if case.mode == "volume":
        return found
    return np.concatenate([found, StackStandard.of(found)(found)], 1)
