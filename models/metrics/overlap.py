"""Overlap of masks: Dice, and clDice of centrelines for tubes.

Both empty scores 1 and is counted like any other sample: where nothing is, nothing should be found.
Exactly one empty scores 0.
"""

from __future__ import annotations

from .counted import BoolArray, counted_labels
from .skeleton import skeleton


def dice(found: BoolArray, truth: BoolArray, counts: BoolArray | None = None) -> float:
    """Dice's coefficient 2 |F n T| / (|F| + |T|); 1 where both are empty.

    Args:
        found: [Z, Y, X] bool. truth: the same. counts: the same, True = counts; None = all.

    Raises:
        InputError: shapes differ.
    """
    found_labels, truth_labels, _ = counted_labels(found, truth, counts, classes=1)
    size = found_labels.sum() + truth_labels.sum()
    if size == 0:
        return 1.0
    return float(2 * (found_labels & truth_labels).sum() / size)


def cldice(found: BoolArray, truth: BoolArray, counts: BoolArray | None = None) -> float:
    """Centreline Dice, Shit et al., CVPR 2021 (arXiv 2003.07311), with skeletons of scikit-image.

    The harmonic mean of topology precision (the share of the found skeleton that lies in the true
    mask) and topology sensitivity (the share of the true skeleton that lies in the found mask). 1
    where both masks are empty, 0 where one is. Skeletons are those of the counted part of a mask,
    in voxels: their place depends on no voxel size.

    Args:
        found: [Z, Y, X] bool. truth: the same. counts: the same, True = counts; None = all.

    Raises:
        InputError: shapes differ.
    """
    found_labels, truth_labels, _ = counted_labels(found, truth, counts, classes=1)
    found_mask, truth_mask = found_labels > 0, truth_labels > 0
    if not found_mask.any() or not truth_mask.any():
        return float(found_mask.any() == truth_mask.any())
    precision = truth_mask[skeleton(found_mask)].mean()
    sensitivity = found_mask[skeleton(truth_mask)].mean()
    if precision + sensitivity == 0:
        return 0.0
    return float(2 * precision * sensitivity / (precision + sensitivity))
