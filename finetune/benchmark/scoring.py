"""One answer against the truth, for every method alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..examples import Example, Task
from ..tasks.restore import restore_metrics
from ..tasks.segment import segment_metrics


@dataclass(frozen=True)
class Answer:
    """What a method says of one example.

    Attributes:
        found: [Z, Y, X] bool or labels of a segmentation, or the restored image, normalised; None
            of classification.
        class_name: of classification.
        extra: numbers of the method itself, such as how sure it is; they stand beside the metrics.
    """

    found: NDArray[Any] | None = None
    class_name: str | None = None
    extra: dict[str, float] | None = None


def score(answer: Answer, example: Example, task: Task) -> dict[str, Any]:
    """Metrics of an answer; all numbers are finite.

    Args:
        answer: of the task.
        example: with the truth.
        task: see `tasks.segment.segment_metrics`, `tasks.restore.restore_metrics`; of a class
            "correct" (0 or 1), "class" and "found". Where a voxel size is unknown, "nsd" counts in
            voxels.
    """
    extra = answer.extra or {}
    if task == "classify":
        right = float(answer.class_name == example.class_name)
        names = {"class": example.class_name, "found": answer.class_name}
        return {"correct": right, **names, **extra}
    assert answer.found is not None
    if task == "segment":
        return segment_metrics(answer.found.astype(np.int64), example) | extra
    return restore_metrics(answer.found.astype(np.float32), example) | extra
