"""What weights find in a row of a list, exactly as `luxvox predict` finds it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.manifest import open_row
from ..data.normalize import normalize
from ..data.row import Row
from ..predict.image import predict_maps, voxel_size_warning
from ..predict.instances import split_objects
from ..predict.task_weights import TaskWeights
from ..predict.volume import found_labels, predict_volume
from .examples import Example


class Found(NamedTuple):
    """What was found in a row.

    answer: [Z, Y, X] classes, 0 = background; of restoration normalised intensities.
    objects: [Z, Y, X] as `luxvox predict --instances` numbers them; None where the labels number
        none to compare them with.
    """

    answer: NDArray[Any]
    objects: NDArray[np.uint32] | None = None


def find_in(weights: TaskWeights, row: Row, example: Example) -> Found:
    """Segment or restore a row, resampled where its voxels are far from those of the training.

    Args:
        weights: of a task "segment" or "restore".
        row: of the list.
        example: of the row, read for that task.
    """
    segments, numbered = weights.task.task == "segment", example.instances is not None
    if voxel_size_warning(weights, example.voxel_size_um) is None:
        maps = predict_maps(weights, example.image, example.voxel_size_um)
        if not segments:
            return Found(maps.answer[0])
        labels = found_labels(weights, maps.answer)
        if not numbered or len(maps.answer) > 1:
            return Found(labels)
        return Found(labels, split_objects(labels > 0, example.voxel_size_um, maps.distance))
    volume = open_row(row, channel=0)
    if segments and numbered and not weights.task.label_values:
        objects = predict_volume(weights, volume, instances=True)
        return Found((objects > 0).astype(np.int64), objects)
    found = predict_volume(weights, volume)
    if not segments:
        return Found(normalize(found, example.stats))
    values = weights.task.label_values or (0, 1)
    order = np.argsort(values)
    return Found(order[np.searchsorted(np.sort(values), found)])
