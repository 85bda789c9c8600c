"""All metrics of one segmented crop under the names that result files carry."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .counted import BoolArray, counted_labels
from .objects import components, object_metrics
from .overlap import cldice, dice
from .surface import VoxelSize, normalised_surface_distance

IOU_THRESHOLDS = (0.5, 0.1)
"""Above which two objects match; scores of the first carry the plain names."""


def segmentation_metrics(
    found: NDArray[Any],
    truth: NDArray[Any],
    voxel_size_um: VoxelSize | None,
    counts: BoolArray | None = None,
    *,
    classes: int = 1,
) -> dict[str, float]:
    """Dice, clDice, normalised surface distance, object F1 and panoptic quality.

    Objects are connected components; for real instances see `objects.object_metrics`. A class that
    is in neither volume scores 1 in every metric and is counted; a class in one of them scores 0.

    Args:
        found: [Z, Y, X], labels 0 (background) to `classes`.
        truth: the same.
        voxel_size_um: (z, y, x) in um; None = unknown, and no "nsd" is given.
        counts: [Z, Y, X] bool, True = counts; None = all. What does not count changes nothing.
        classes: number of foreground classes.

    Returns:
        "dice", "cldice", "nsd", "object_f1", "panoptic_quality", "object_f1_at_0.1", ...: of one
        class as it is, of several the mean over classes, and "dice/1", "dice/2", ... beside it.

    Raises:
        InputError: other shapes, labels outside the classes, a voxel size not above 0.
    """
    found_labels, truth_labels, counts = counted_labels(found, truth, counts, classes)
    by_class = {
        label: _of_class(
            found_labels == label,
            truth_labels == label,
            voxel_size_um,
            counts,
        )
        for label in range(1, classes + 1)
    }
    if classes == 1:
        return by_class[1]
    scores = {
        name: float(np.mean([one[name] for one in by_class.values()])) for name in by_class[1]
    }
    for label, one in by_class.items():
        scores |= {f"{name}/{label}": value for name, value in one.items()}
    return scores


def _of_class(
    found: BoolArray,
    truth: BoolArray,
    voxel_size_um: VoxelSize | None,
    counts: BoolArray,
) -> dict[str, float]:
    scores = {"dice": dice(found, truth, counts), "cldice": cldice(found, truth, counts)}
    if voxel_size_um is not None:
        within = max(voxel_size_um)  # the longest side of a voxel
        scores["nsd"] = normalised_surface_distance(found, truth, voxel_size_um, within, counts)
    # The masks hold nothing that does not count, so no component reaches through it.
    return scores | object_metrics(components(found), components(truth), counts, IOU_THRESHOLDS)
