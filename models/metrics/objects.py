"""Whole objects found: F1 and panoptic quality at thresholds of intersection over union.

Objects are instances or, of a semantic mask, its connected components. What is ignored is cut away
from both sides first, so an object may be counted by the part that is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError
from .counted import BoolArray, IntArray, counted_labels


class ObjectOverlaps(NamedTuple):
    """Objects of both sides and their overlaps. Shapes: P pairs that share at least one voxel.

    found, truth: numbers of objects. pairs: [P, 2] rank of the found and of the true object.
    iou: [P] in 0..1, intersection over union of each pair.
    """

    found: int
    truth: int
    pairs: NDArray[np.int64]
    iou: NDArray[np.float64]


def object_metrics(
    found: IntArray,
    truth: IntArray,
    counts: BoolArray | None = None,
    thresholds: Sequence[float] = (0.5,),
) -> dict[str, float]:
    """Object F1 and panoptic quality of two volumes of instances.

    F1 = TP / (TP + FP/2 + FN/2); panoptic quality, Kirillov et al., CVPR 2019 (arXiv 1801.00868),
    is the sum of the matches' IoU over the same denominator. Two objects match where their IoU is
    ABOVE the threshold. Without objects on both sides all scores are 1.

    Args:
        found: [Z, Y, X] integers, 0 = background. truth: the same.
        counts: [Z, Y, X] bool, True = counts; None = all.
        thresholds: each in 0..1 (1 left out).

    Returns:
        "object_f1" and "panoptic_quality" at the first threshold; for each further one T
        "object_f1_at_T" and "panoptic_quality_at_T".

    Raises:
        InputError: shapes differ; labels below 0; a threshold out of range.
    """
    overlaps = object_overlaps(found, truth, counts)
    scores: dict[str, float] = {}
    for place, threshold in enumerate(thresholds):
        suffix = f"_at_{threshold:g}" if place else ""
        matched = matched_iou(overlaps, threshold)
        all_objects = (overlaps.found + overlaps.truth) / 2  # = TP + FP/2 + FN/2
        empty = all_objects == 0
        scores[f"object_f1{suffix}"] = 1.0 if empty else len(matched) / all_objects
        scores[f"panoptic_quality{suffix}"] = 1.0 if empty else float(matched.sum()) / all_objects
    return scores


def components(mask: BoolArray) -> IntArray:
    """Connected components of a mask, [Z, Y, X] bool -> int, 0 = background.

    Voxels that touch by a face, an edge or a corner belong together.
    """
    from scipy.ndimage import generate_binary_structure, label

    labels = np.zeros(mask.shape, dtype=np.int32)
    label(mask, generate_binary_structure(mask.ndim, mask.ndim), output=labels)
    return labels


def object_overlaps(
    found: IntArray, truth: IntArray, counts: BoolArray | None = None
) -> ObjectOverlaps:
    """Sizes and overlaps of all objects, in time of the voxels, not of the pairs.

    Args: as `object_metrics`.
    """
    found_labels, truth_labels, _ = counted_labels(found, truth, counts)
    anything = (found_labels > 0) | (truth_labels > 0)
    # Both labels in one number: numpy sorts numbers many times as fast as rows.
    base = int(truth_labels.max(initial=0)) + 1
    both = found_labels[anything] * base + truth_labels[anything]
    cells, overlap = np.unique(both, return_counts=True)
    found_of, truth_of = np.divmod(cells, base)
    found_ids, found_rank = np.unique(found_of, return_inverse=True)
    truth_ids, truth_rank = np.unique(truth_of, return_inverse=True)
    found_size = np.bincount(found_rank, overlap, len(found_ids))
    truth_size = np.bincount(truth_rank, overlap, len(truth_ids))
    real = (found_of > 0) & (truth_of > 0)
    shared = overlap[real]
    union = found_size[found_rank[real]] + truth_size[truth_rank[real]] - shared
    return ObjectOverlaps(
        int((found_ids > 0).sum()),
        int((truth_ids > 0).sum()),
        np.stack([found_rank[real], truth_rank[real]], axis=1).astype(np.int64),
        shared / union,
    )


def matched_iou(overlaps: ObjectOverlaps, threshold: float) -> NDArray[np.float64]:
    """IoU of each matched pair, one partner an object.

    From 0.5 on a pair above the threshold has no rival (Kirillov et al., section 4.1). Below, the
    matching with the most pairs is taken, and among those the one with the largest sum of IoU.

    Args:
        overlaps: of `object_overlaps`.
        threshold: in 0..1 (1 left out); a pair matches above it.

    Raises:
        InputError: the threshold is out of range.
    """
    if not 0 <= threshold < 1:
        raise InputError(f"IoU threshold {threshold}, expected 0 or more and below 1")
    above = overlaps.iou > threshold
    pairs, iou = overlaps.pairs[above], overlaps.iou[above]
    if threshold >= 0.5 or not len(iou):
        return iou
    _, rows = np.unique(pairs[:, 0], return_inverse=True)
    _, columns = np.unique(pairs[:, 1], return_inverse=True)
    return np.concatenate(
        [_best_pairs(rows[group], columns[group], iou[group]) for group in _groups(rows, columns)]
    )


def _groups(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Pairs that compete for an object, directly or through others: [P], [P] -> indices in 0..P-1.

    One assignment over thousands of objects would need a matrix of gigabytes; nearly all of them
    have no rival.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first_column = int(rows.max()) + 1
    objects = first_column + int(columns.max()) + 1
    edges = coo_array((np.ones(len(rows)), (rows, first_column + columns)), (objects, objects))
    group = connected_components(edges, directed=False)[1][rows]  # [P]
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _best_pairs(
    rows: NDArray[np.intp], columns: NDArray[np.intp], iou: NDArray[np.float64]
) -> NDArray[np.float64]:
    """IoU of the pairs chosen: as many as can be, then the largest sum."""
    if len(iou) == 1:
        return iou
    from scipy.optimize import linear_sum_assignment

    _, rows = np.unique(rows, return_inverse=True)
    _, columns = np.unique(columns, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    table[rows, columns] = iou
    # One more pair must outweigh any sum of IoU, and there are at most min(shape) pairs.
    gain = np.where(table > 0, 1 + table / (min(table.shape) + 1), 0)
    chosen = table[linear_sum_assignment(gain, maximize=True)]
    return chosen[chosen > 0]
