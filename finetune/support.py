"""What a fine-tuned model makes of the rows it learnt from: the threshold, the fit, pictures.

The fit says whether training worked, and nothing about other volumes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..models.metrics.classification import classification_metrics
from ..models.metrics.overlap import dice
from ..predict.image import classify_image, predict_image
from ..predict.task_weights import TaskWeights, Triple
from ..predict.volume import found_labels
from .calibrate import best_threshold, shrunken
from .examples import Example
from .tasks.restore import restore_metrics

_TILES = 2  # a side of the part that is looked at: large volumes would take longer than training


@dataclass(frozen=True)
class Fit:
    """The support after training.

    Attributes:
        weights: with the threshold that was chosen.
        parts: the examples, large ones cut.
        found: of each part [Z, Y, X]: labels, or the restored image; empty for classification.
        metrics: `support/...`, means.
    """

    weights: TaskWeights
    parts: tuple[Example, ...]
    found: tuple[NDArray[np.generic], ...]
    metrics: dict[str, float]


def fit_of(weights: TaskWeights, examples: Sequence[Example], calibrate: bool) -> Fit:
    """Run the model over the support.

    Args:
        weights: fine-tuned.
        examples: what was learnt from.
        calibrate: whether the threshold of a binary segmentation is chosen anew.
    """
    task = weights.task
    if task.task == "classify":
        answers = [classify_image(weights, e.image, e.voxel_size_um).argmax() for e in examples]
        truth = [task.classes.index(str(e.class_name)) for e in examples]
        scores = classification_metrics([int(a) for a in answers], truth, len(task.classes))
        metrics = {f"support/{name}": value for name, value in scores.items()}
        return Fit(weights, tuple(examples), (), metrics)
    parts = tuple(_part(example, task.tile) for example in examples)
    answers = [
        predict_image(weights.asked(part.structure), part.image, part.voxel_size_um)
        for part in parts
    ]
    gathered: dict[str, list[float]] = defaultdict(list)
    if task.task == "restore":
        for answer, part in zip(answers, parts, strict=True):
            for name, value in restore_metrics(answer[0], part).items():
                gathered[f"support/{name}"].append(value)
        found = tuple(answer[0] for answer in answers)
    else:
        if calibrate and not task.classes:
            best = best_threshold([answer[0] for answer in answers], parts)
            chosen = shrunken(best, len(parts))
            weights = replace(weights, task=task.model_copy(update={"threshold": chosen}))
        found = tuple(found_labels(weights, answer) for answer in answers)
        for labels, part in zip(found, parts, strict=True):
            assert part.labels is not None
            value = np.mean(
                [
                    dice(labels == c, part.labels == c, part.counts)
                    for c in range(1, max(2, len(task.classes)))
                ]
            )
            gathered["support/dice"].append(float(value))
    metrics = {name: float(np.mean(values)) for name, values in gathered.items()}
    return Fit(weights, parts, found, metrics)


def write_support(run: Path, fit: Fit) -> None:
    """Write RUN/support.npz, from which the report draws.

    Of example i `image_i`, `truth_i` and `found_i` [Z, Y, X] (labels are integers, restored images
    floats), and of all `ids` [E] and `voxel_size_um` [E, 3] (z, y, x), NaN where unknown.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, (part, found) in enumerate(zip(fit.parts, fit.found, strict=False)):
        truth = part.target if part.labels is None else part.labels
        assert truth is not None
        dtype = np.float16 if part.labels is None else np.uint8
        arrays[f"image_{number}"] = part.image.astype(np.float16)
        arrays[f"truth_{number}"] = truth.astype(dtype)
        arrays[f"found_{number}"] = found.astype(dtype)
    sizes = [part.voxel_size_um or (np.nan,) * 3 for part in fit.parts]
    np.savez_compressed(
        run / "support.npz",
        ids=np.array([part.id for part in fit.parts]),
        voxel_size_um=np.array(sizes),
        **arrays,  # pyright: ignore[reportArgumentType]
    )


def _part(example: Example, tile: Triple) -> Example:
    """A box of at most `_TILES` tiles a side around the middle of the foreground, if there is."""
    shape = example.image.shape
    sides = [min(n, _TILES * t) for n, t in zip(shape, tile, strict=True)]
    centre = [n // 2 for n in shape]
    if example.labels is not None and example.labels.any():
        centre = [int(np.median(axis)) for axis in np.nonzero(example.labels)]
    starts = [min(max(c - s // 2, 0), n - s) for c, s, n in zip(centre, sides, shape, strict=True)]
    box = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return example.cut(box)
