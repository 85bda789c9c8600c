"""One answer against the truth: the numbers of a row of results.csv."""

from __future__ import annotations

import numpy as np

from ....models.metrics.ranking import ranking_metrics
from ....predict.focus_peak import find_peak
from .case import Answer, Case, Numbers

METRICS = (
    "srcc", "plcc", "best_error", "mae", "mae_um", "exact", "within_1", "within_dof", "monotone",
    "auc", "coverage", "width", "answered", "empty_scored", "ms_per_slice",
)  # fmt: skip
"""In the order of the columns. `best_error` is in slices, `mae` and `width` are in the unit of the
case; `exact`, `within_1`, `within_dof` and `auc` are of depths of field, and of no other unit."""
HALF = 0.5
"""Slices are in focus to half a depth of field on either side."""
_LEAST_APART = 0.25
"""Slices nearer to each other than that share of a depth of field are not asked for their order."""


def judged(case: Case, answer: Answer, seconds: float) -> dict[str, float | None]:
    """All `METRICS` of one case; None where one is not defined.

    Empty slices count in `empty_scored` only. A method that only ranks gets its distances in sweeps
    from the place of its best slice, where the step is known. What a method refuses to score is
    left out of all but `answered`.

    Args:
        case: with the truth.
        answer: of the method.
        seconds: of processor time that it took.
    """
    known = np.isfinite(case.truth) & np.isfinite(answer.scores)
    truth, scores = case.truth[known], answer.scores[known]
    peak = find_peak(case.stack.z_index, answer.scores) if case.mode == "sweep" else None
    best = None if peak is None else peak.best_z
    found: dict[str, float | None] = dict.fromkeys(METRICS)
    if known.sum() > 2:
        ranks = ranking_metrics(scores, -truth)
        found |= {name: _finite(ranks[name]) for name in ("srcc", "plcc")}
    if best is not None and case.best_z is not None:
        found["best_error"] = abs(best - case.best_z)
    found["monotone"] = _ordered(case, answer)
    if case.unit == "DOF":
        found["auc"] = _auc(scores, truth <= HALF)
    found |= _distances(case, answer, best)
    given = np.isfinite(answer.scores)
    visible = ~case.empty
    found["answered"] = float(given[visible].mean()) if visible.any() else None
    found["empty_scored"] = float(given[case.empty].mean()) if case.empty.any() else None
    found["ms_per_slice"] = 1000 * seconds / len(case.stack)
    return found


def _distances(case: Case, answer: Answer, best: float | None) -> dict[str, float | None]:
    far = answer.far
    if far is None and best is not None and case.step is not None:
        far = np.abs(np.array(case.stack.z_index, np.float64) - best) * case.step
        far[~np.isfinite(answer.scores)] = np.nan
    if far is None:
        return {}
    known = np.isfinite(case.truth) & np.isfinite(far)
    if not known.any():
        return {}
    off = np.abs(far - case.truth)[known]
    found: dict[str, float | None] = {
        "mae": float(off.mean()),
        "mae_um": None if case.um is None else float(off.mean()) * case.um,
    }
    if case.unit == "DOF":
        levels = np.abs(np.floor(far[known]) - np.floor(case.truth[known]))
        found |= {
            "exact": float((levels == 0).mean()),
            "within_1": float((levels <= 1).mean()),
            "within_dof": float((off <= HALF).mean()),
        }
    low, high = answer.low, answer.high
    if low is not None and high is not None and np.isfinite(high[known]).all():
        truth = case.truth[known]
        inside = (low[known] <= truth) & (truth <= high[known])
        found |= {"coverage": float(inside.mean()), "width": float((high - low)[known].mean())}
    return found


def _ordered(case: Case, answer: Answer) -> float | None:
    """Share of pairs on one side of focus in the right order; of volumes all pairs.

    Ties count half. Only in depths of field is it known which slices are too near to be told apart.
    """
    z = np.array(case.stack.z_index, np.float64)
    known = np.isfinite(case.truth) & np.isfinite(answer.scores)
    side = np.zeros(len(z)) if case.best_z is None else np.sign(z - case.best_z)
    apart = _LEAST_APART if case.unit == "DOF" else 0.0
    nearer = case.truth[:, None] < case.truth - apart
    asked = nearer & (side[:, None] == side) & known[:, None] & known
    if not asked.any():
        return None
    with np.errstate(invalid="ignore"):
        right = np.sign(answer.scores[:, None] - answer.scores)[asked]
    return float((right + 1).mean() / 2)


def _auc(scores: Numbers, inside: np.ndarray) -> float | None:
    """Chance that a slice in focus has the higher score than one out of focus."""
    if inside.all() or not inside.any():
        return None
    steps = np.sign(scores[inside][:, None] - scores[~inside])
    return float((steps + 1).mean() / 2)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
