"""The threshold of a binary segmentation, from the few labels themselves.

Annotators cut at an intensity of their own. Moving one threshold is the cheapest way to follow
them, and cannot forget anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .blend import trust
from .examples import Example

THRESHOLDS = np.round(np.arange(0.05, 0.96, 0.05), 2)
_PRIOR_ROWS = 3.0
"""How many rows the threshold 0.5 counts for: a wrong one costs more than a wrong step."""
_NEARLY_BEST = 0.01  # of Dice: differences below say nothing


def best_threshold(
    probabilities: Sequence[NDArray[np.float32]], examples: Sequence[Example]
) -> float:
    """The threshold with the best mean Dice over the support, near 0.5 where several are as good.

    Args:
        probabilities: one [Z, Y, X] an example.
        examples: with labels; those without foreground are left out.

    Returns:
        One of `THRESHOLDS`; 0.5 where no example has foreground.
    """
    curves = [
        _dice_curve(found[example.counts], example.labels[example.counts] > 0)
        for found, example in zip(probabilities, examples, strict=True)
        if example.labels is not None and example.counts is not None and example.labels.any()
    ]
    if not curves:
        return 0.5
    mean = np.mean(curves, axis=0)
    good = THRESHOLDS[mean >= mean.max() - _NEARLY_BEST]
    return float(good[np.abs(good - 0.5).argmin()])


def shrunken(threshold: float, shots: int) -> float:
    """Draw a threshold back towards 0.5, to K / (K + 3) of its distance in logits.

    The next animal's annotator may be another one.

    Args:
        threshold: chosen on K rows, between 0 and 1.
        shots: K.
    """
    logit = math.log(threshold / (1 - threshold)) * trust(shots, _PRIOR_ROWS)
    return round(1 / (1 + math.exp(-logit)), 3)


def _dice_curve(found: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Dice at every threshold, from two histograms."""
    edges = np.concatenate([[-1.0], THRESHOLDS, [2.0]])
    # A voxel is foreground above the threshold, so each bin holds its upper edge.
    place = np.searchsorted(edges, found, side="left")
    inside = np.bincount(place[truth], minlength=len(edges))[::-1].cumsum()[::-1]
    everything = np.bincount(place, minlength=len(edges))[::-1].cumsum()[::-1]
    hits, size = inside[2:], everything[2:]
    return 2 * hits / np.maximum(size + int(truth.sum()), 1)
