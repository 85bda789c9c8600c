"""How good a segmentation is likely to be, without labels: from the model's own probabilities.

If they were true, the Dice that a segmentation is expected to reach could be computed from them.
They are not quite: the benchmark calibrates on other groups, and reports how well it then agrees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def expected_dice(probabilities: NDArray[np.float32], threshold: float = 0.5) -> float:
    """Expected Dice of the foreground that a threshold gives.

    Args:
        probabilities: [Z, Y, X] of foreground, the mean over mirror images where that was asked.
        threshold: voxels above it are found.

    Returns:
        2 sum(p over what is found) / (sum(found) + sum(p)), 0 to 1; 1 where nothing is likely.
    """
    found = probabilities > threshold
    total = float(found.sum()) + float(probabilities.sum(dtype=np.float64))
    if total == 0:
        return 1.0
    return 2 * float(probabilities[found].sum(dtype=np.float64)) / total


def disagreement(views: Sequence[NDArray[np.float32]]) -> float:
    """How much answers to mirror images of one crop differ: mean mutual information, in nats.

    Noise that every view sees alike does not count; only what the model cannot make up its mind on.

    Args:
        views: [F, Z, Y, X] probabilities each; F = 1 of a binary head, else one for each class.

    Returns:
        0 where all agree, up to log(2) of a binary head.
    """
    mean = np.mean(views, axis=0)
    inner = np.mean([_entropy(view) for view in views], axis=0)
    return float(np.maximum(_entropy(mean) - inner, 0).mean(dtype=np.float64))


def _entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """[F, Z, Y, X] -> [Z, Y, X], in nats."""
    p = probabilities.astype(np.float64)
    p = np.concatenate([p, 1 - p]) if len(p) == 1 else p
    return -(p * np.log(np.clip(p, 1e-12, 1))).sum(0)
