"""Means with intervals over animals, and paired differences.

Crops of one animal are alike, so animals (groups) are drawn anew, then the samples within each of
those drawn (cluster bootstrap, Davison and Hinkley 1997, 3.8). With one group there is no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
FEWEST_PAIRS = 6
"""With five pairs a two-sided rank test cannot reach 0.05, whatever they are."""


class Estimate(NamedTuple):
    """A mean over samples; low and high are None where there are fewer than two groups."""

    mean: float
    low: float | None
    high: float | None


def estimate(
    values: Sequence[float],
    groups: Sequence[str],
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> Estimate:
    """A mean with its 95 % bootstrap interval.

    Args:
        values: one a sample.
        groups: of each sample.
        classes: of each sample; given, the mean is that over classes of the means in them (of 0 and
            1: balanced accuracy).
        seed: of the bootstrap.

    Raises:
        ValueError: no samples.
    """
    if not len(values):
        raise ValueError("no samples to average")
    given = np.asarray(values, float)
    mean = float(_mean(given, np.ones((1, len(given))), classes)[0])
    if len(set(groups)) < 2:
        return Estimate(mean, None, None)
    drawn = _mean(given, _weights(tuple(groups), seed), classes)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(mean, float(low), float(high))


def signed_rank_p(differences: Sequence[float], groups: Sequence[str]) -> float | None:
    """Wilcoxon's signed-rank test over the groups' mean differences, two-sided.

    Over groups, because samples of one animal are no independent witnesses.

    Returns:
        p; None where there are fewer than six groups.
    """
    from scipy.stats import wilcoxon

    means = [
        float(np.mean([d for d, g in zip(differences, groups, strict=True) if g == group]))
        for group in sorted(set(groups))
    ]
    if len(means) < FEWEST_PAIRS:
        return None
    if not any(means):
        return 1.0
    return float(wilcoxon(means).pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson's; None for fewer than three pairs, or where one side is constant."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def left_out_lines(
    raw: Sequence[float], truth: Sequence[float], groups: Sequence[str]
) -> list[float | None]:
    """Calibrate on the other groups: a straight line from raw to truth, for each group anew.

    Args:
        raw: what is known without labels, one a sample.
        truth: what it shall predict.
        groups: of each sample.

    Returns:
        The calibrated value of each sample, 0 to 1; None where the others cannot give a line.
    """
    found: list[float | None] = [None] * len(raw)
    x, y = np.asarray(raw, float), np.asarray(truth, float)
    for group in set(groups):
        rest = np.array([other != group for other in groups])
        if rest.sum() < 3 or np.ptp(x[rest]) == 0:
            continue
        slope, offset = np.polyfit(x[rest], y[rest], 1)
        for place in np.flatnonzero(~rest):
            found[place] = float(np.clip(slope * x[place] + offset, 0, 1))
    return found


def _mean(
    values: NDArray[np.float64], weights: NDArray[np.float64], classes: Sequence[str] | None
) -> NDArray[np.float64]:
    """[R] weighted means of [n] values by [R, n] weights; over classes where they are given."""
    if classes is None:
        return weights @ values / weights.sum(1)
    of = np.asarray(classes)
    total, present = np.zeros(len(weights)), np.zeros(len(weights))
    for name in sorted(set(classes)):
        inside = weights[:, of == name]
        here = inside.sum(1) > 0  # a class may be missing from a resample
        total += np.where(here, inside @ values[of == name] / np.maximum(inside.sum(1), 1), 0)
        present += here
    return total / present


@lru_cache(maxsize=64)
def _weights(groups: tuple[str, ...], seed: int) -> NDArray[np.float64]:
    """[R, n] how often each sample was drawn."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    members = [np.flatnonzero(np.array(groups) == name) for name in sorted(set(groups))]
    weights = np.zeros((RESAMPLES, len(groups)))
    for row in weights:
        for group in rng.integers(len(members), size=len(members)):
            inside = members[group]
            np.add.at(row, inside[rng.integers(len(inside), size=len(inside))], 1)
    return weights
