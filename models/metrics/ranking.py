"""How well numbers follow the true ones: rank and linear correlation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError


def ranking_metrics(
    found: Sequence[float] | NDArray[np.floating[Any]],
    truth: Sequence[float] | NDArray[np.floating[Any]],
) -> dict[str, float]:
    """Correlations of one stack's values, such as scores and distances from focus of slices.

    Equal numbers found everywhere say nothing about the order: both correlations are 0. Equal true
    numbers leave nothing to order: both are nan, and a mean over stacks must leave them out.

    Args:
        found: [N], larger where `truth` should be. truth: [N]. Their units may differ.

    Returns:
        "srcc" (Spearman, ties share their mean rank) and "plcc" (Pearson, no fit before).

    Raises:
        InputError: lengths differ, fewer than two values, or one is not finite.
    """
    from scipy.stats import rankdata

    found = np.asarray(found, dtype=np.float64)
    truth = np.asarray(truth, dtype=np.float64)
    if found.shape != truth.shape or found.ndim != 1 or found.size < 2:
        raise InputError(
            f"found values of shape {found.shape}, true ones of {truth.shape}: "
            "expected two lists of one length, 2 or more"
        )
    if not (np.isfinite(found).all() and np.isfinite(truth).all()):
        raise InputError("found or true values hold nan or inf, expected finite numbers")
    return {
        "srcc": _correlation(rankdata(found), rankdata(truth)),
        "plcc": _correlation(found, truth),
    }


def _correlation(found: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    if np.ptp(truth) == 0:
        return float("nan")
    if np.ptp(found) == 0:
        return 0.0
    return float(np.corrcoef(found, truth)[0, 1])
