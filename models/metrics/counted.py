"""Two label arrays and what of them counts: the checks that every segmentation metric begins with.

Apart because all of them must leave out the same voxels in the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError

IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]


def same_shape(found: NDArray[Any], truth: NDArray[Any], counts: BoolArray | None) -> BoolArray:
    """The voxels that count: `counts`, or all where it is None.

    Args:
        found: [Z, Y, X]. truth: the same. counts: the same, bool, True = counts.

    Raises:
        InputError: shapes differ, or `counts` is not boolean.
    """
    if found.shape != truth.shape:
        raise InputError(
            f"result of shape {found.shape}, truth of shape {truth.shape}: "
            "expected equal shapes; bring both onto one grid"
        )
    if counts is None:
        return np.ones(truth.shape, dtype=bool)
    if counts.shape != truth.shape or counts.dtype != bool:
        raise InputError(
            f"counts of shape {counts.shape} and type {counts.dtype}, "
            f"expected bool of shape {truth.shape}; give True where a voxel counts"
        )
    return counts


def counted_labels(
    found: NDArray[Any], truth: NDArray[Any], counts: BoolArray | None, classes: int | None = None
) -> tuple[IntArray, IntArray, BoolArray]:
    """Integer labels with 0 wherever a voxel does not count, whatever stood there.

    Args:
        found: [Z, Y, X], classes or instances, 0 = background; bool and whole floats are taken too.
        truth: the same.
        counts: [Z, Y, X] bool, True = counts; None = all.
        classes: the largest label allowed; None = any.

    Returns:
        found, truth (int64), counts.

    Raises:
        InputError: other shapes, broken or negative numbers, or labels above `classes`.
    """
    counts = same_shape(found, truth, counts)
    return (
        _labels(found, counts, classes, "result"),
        _labels(truth, counts, classes, "truth"),
        counts,
    )


def _labels(array: NDArray[Any], counts: BoolArray, classes: int | None, name: str) -> IntArray:
    values = np.where(counts, array, 0)
    labels = values.astype(np.int64)
    if values.dtype.kind == "f" and not np.array_equal(labels, values):
        raise InputError(f"{name} holds broken numbers, expected labels; threshold it first")
    if labels.size and (labels.min() < 0 or (classes is not None and labels.max() > classes)):
        allowed = "0 or more" if classes is None else f"0..{classes}"
        raise InputError(
            f"{name} holds labels {labels.min()}..{labels.max()}, expected {allowed}; "
            "name the values to ignore, or the number of classes"
        )
    return labels
