"""Classes of crops: accuracy, balanced accuracy, macro F1, confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError


def classification_metrics(
    found: Sequence[int] | NDArray[np.integer[Any]],
    truth: Sequence[int] | NDArray[np.integer[Any]],
    classes: int,
) -> dict[str, float]:
    """Three numbers of one list of samples.

    A class that no sample truly has can have no recall: it stays out of balanced accuracy. It
    enters macro F1, with 0, only if it was found (as in scikit-learn, where labels are not named).

    Args:
        found: [N], classes 0..classes-1. truth: the same. classes: how many there are.

    Returns:
        "accuracy"; "balanced_accuracy", the mean recall over classes in `truth`; "macro_f1", the
        mean F1 over classes in `truth` or `found`.

    Raises:
        InputError: lengths differ, no sample, or a class out of range.
    """
    matrix = confusion_matrix(found, truth, classes)
    hits = np.diagonal(matrix).astype(float)
    true_count, found_count = matrix.sum(axis=1), matrix.sum(axis=0)
    in_truth = true_count > 0
    seen = in_truth | (found_count > 0)
    return {
        "accuracy": float(hits.sum() / matrix.sum()),
        "balanced_accuracy": float((hits[in_truth] / true_count[in_truth]).mean()),
        "macro_f1": float((2 * hits[seen] / (true_count + found_count)[seen]).mean()),
    }


def confusion_matrix(
    found: Sequence[int] | NDArray[np.integer[Any]],
    truth: Sequence[int] | NDArray[np.integer[Any]],
    classes: int,
) -> NDArray[np.int64]:
    """[classes, classes] counts: the row is the true class, the column the found one.

    Arguments and errors as `classification_metrics`.
    """
    found_classes = np.asarray(found)
    truth_classes = np.asarray(truth)
    if found_classes.shape != truth_classes.shape or found_classes.ndim != 1:
        raise InputError(
            f"found classes of shape {found_classes.shape}, true ones of {truth_classes.shape}: "
            "expected one class a sample in both"
        )
    if not truth_classes.size:
        raise InputError("no sample to classify, expected at least one; look at the list")
    for name, values in (("found", found_classes), ("true", truth_classes)):
        if values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= classes:
            raise InputError(
                f"{name} classes {values.min()}..{values.max()} ({values.dtype}), "
                f"expected whole numbers 0..{classes - 1}"
            )
    cells = truth_classes.astype(np.int64) * classes + found_classes.astype(np.int64)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)
