"""Ridge regression from features to scores, judged on stacks that it has not seen.

The penalty is chosen in inner folds, again for every fold that is left out. Folds never cut a
group; where nothing else is said, a group is a stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold
from sklearn.preprocessing import StandardScaler

from ...configs.errors import InputError
from ...models.metrics.ranking import ranking_metrics

ALPHAS = tuple(10.0**power for power in np.arange(-2.0, 7.5, 0.5))
INNER_FOLDS = 5


@dataclass(frozen=True)
class Fitted:
    """A ridge on standardised features. D features.

    Attributes:
        mean, scale: [D]
        weights: [D + 1], the intercept last.
        alpha: that was chosen.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    alpha: float

    def standard(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Features [N, D] in deviations from their mean."""
        return (features - self.mean) / self.scale

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """[N, D] -> scores [N], not bounded."""
        return self.standard(features) @ self.weights[:-1] + self.weights[-1]


@dataclass(frozen=True)
class LeftOut:
    """Scores of slices by fits that had not seen their group. N slices, K stacks.

    Attributes:
        scores: [N], not bounded.
        distance: [N], root mean square of standardised features.
        alphas: of the folds.
        stacks: of each stack its name, SRCC and PLCC; nan where they are not defined.
    """

    scores: NDArray[np.float64]
    distance: NDArray[np.float64]
    alphas: tuple[float, ...]
    stacks: tuple[tuple[str, float, float], ...]

    def summary(self) -> dict[str, Any]:
        """Means over the stacks where the correlations are defined, and how many there are."""
        srcc = np.array([stack[1] for stack in self.stacks])
        plcc = np.array([stack[2] for stack in self.stacks])
        defined = ~np.isnan(srcc)
        return {
            "srcc": float(srcc[defined].mean()) if defined.any() else None,
            "plcc": float(plcc[defined].mean()) if defined.any() else None,
            "stacks": len(srcc),
            "undefined_stacks": int((~defined).sum()),
        }


def fit_ridge(
    features: NDArray[np.float64],
    scores: NDArray[np.float64],
    groups: Sequence[str],
    alphas: Sequence[float] = ALPHAS,
) -> Fitted:
    """Standardise, choose the penalty in folds of whole groups, fit on everything.

    Args:
        features: [N, D]
        scores: [N]
        groups: [N], at least two different ones unless there is one alpha only.
        alphas: penalties to choose from, by the squared error of groups left out.

    Raises:
        InputError: one group only, with several alphas to choose from.
    """
    names = np.asarray(groups)
    chosen = alphas[0]
    if len(alphas) > 1:
        count = len(set(groups))
        if count < 2:
            raise InputError(
                f"one group only ({names[0]!r}), so no alpha can be chosen on another; give "
                "stacks of at least 3 groups, or one alpha"
            )
        folds = list(GroupKFold(min(INNER_FOLDS, count)).split(features, scores, names))
        errors = np.zeros(len(alphas))
        for train, test in folds:
            path = _path(features[train], scores[train], alphas)
            errors += [((fitted(features[test]) - scores[test]) ** 2).sum() for fitted in path]
        chosen = alphas[int(np.argmin(errors))]
    return _path(features, scores, [chosen])[0]


def leave_out(
    features: NDArray[np.float64],
    scores: NDArray[np.float64],
    stacks: Sequence[str],
    groups: Sequence[str],
    alphas: Sequence[float] = ALPHAS,
) -> LeftOut:
    """Leave out one group after the other; everything is chosen anew without it.

    Args:
        features: [N, D]
        scores: [N]
        stacks: [N], correlations are taken inside each.
        groups: [N], specimens; no stack lies in two.
        alphas: penalties to choose from.

    Raises:
        InputError: fewer than three groups, or a stack in two.
    """
    names, inside = np.asarray(groups), np.asarray(stacks)
    different = list(dict.fromkeys(groups))
    if len(different) < 3:
        raise InputError(
            f"{len(different)} groups ({', '.join(different)}), expected at least 3: one to test "
            "on and two to choose alpha with; label more stacks, or fill the column group"
        )
    for stack in dict.fromkeys(stacks):
        if len(set(names[inside == stack])) > 1:
            raise InputError(f"stack {stack!r} is in several groups; give it one")
    found, distance = np.empty(len(scores)), np.empty(len(scores))
    chosen = []
    for group in different:
        out = names == group
        fitted = fit_ridge(features[~out], scores[~out], list(names[~out]), alphas)
        found[out] = fitted(features[out])
        distance[out] = np.sqrt((fitted.standard(features[out]) ** 2).mean(1))
        chosen.append(fitted.alpha)
    return LeftOut(found, distance, tuple(chosen), correlations(found, scores, stacks))


def random_folds(
    features: NDArray[np.float64],
    scores: NDArray[np.float64],
    stacks: Sequence[str],
    alphas: Sequence[float] = ALPHAS,
    seed: int = 0,
) -> LeftOut:
    """The same with slices drawn at random, as older work did it: neighbours of a slice are seen.

    Only to show how much better that looks. Arguments as `leave_out`.
    """
    folds = KFold(min(INNER_FOLDS, len(scores)), shuffle=True, random_state=seed)
    tried = np.empty((len(alphas), len(scores)))
    for train, test in folds.split(features):
        path = _path(features[train], scores[train], alphas)
        tried[:, test] = [fitted(features[test]) for fitted in path]
    best = int(np.argmin(((tried - scores) ** 2).sum(1)))
    chosen = correlations(tried[best], scores, stacks)
    return LeftOut(tried[best], np.zeros(len(scores)), (alphas[best],), chosen)


def correlations(
    found: NDArray[np.float64], truth: NDArray[np.float64], stacks: Sequence[str]
) -> tuple[tuple[str, float, float], ...]:
    """Name, SRCC and PLCC of every stack; nan where one slice or one true score leaves no order."""
    names = np.asarray(stacks)
    answers = []
    for stack in dict.fromkeys(stacks):
        inside = names == stack
        if inside.sum() < 2:
            answers.append((str(stack), float("nan"), float("nan")))
            continue
        metrics = ranking_metrics(found[inside], truth[inside])
        answers.append((str(stack), metrics["srcc"], metrics["plcc"]))
    return tuple(answers)


def _path(
    features: NDArray[np.float64], scores: NDArray[np.float64], alphas: Sequence[float]
) -> list[Fitted]:
    """Fits of the same slices, one for each penalty."""
    scaler = StandardScaler().fit(features)
    mean, scale = np.asarray(scaler.mean_), np.asarray(scaler.scale_)
    standard = (features - mean) / scale
    fits = [Ridge(alpha).fit(standard, scores) for alpha in alphas]
    return [
        Fitted(mean, scale, np.append(ridge.coef_, ridge.intercept_), float(alpha))
        for ridge, alpha in zip(fits, alphas, strict=True)
    ]
