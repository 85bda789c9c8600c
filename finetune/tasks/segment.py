"""Segmentation: Dice and cross-entropy at several scales, centrelines of tubes, one row's metrics.

Binary tasks keep the pretrained head, told by text which foreground is meant. Several labels get a
head of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...models.dense import DenseFeatures, DenseModel, SegmentConfig
from ...models.heads.segment import Segmentation, SegmentHead
from ...models.losses.segmentation import deep_supervision_loss
from ...models.losses.skeleton_recall import skeleton_recall_loss
from ...models.metrics.objects import object_metrics
from ...models.metrics.segmentation import IOU_THRESHOLDS, segmentation_metrics
from ..examples import Example
from ..sub_crops import Batch

SKELETON_WEIGHT = 0.5
_TUBES = re.compile(
    r"vessel|vascul|capillar|arter|\bveins?\b|axon|fib(re|er)s?\b|neurite|dendrit|tracts?\b", re.I
)


def segment_head(label_values: Sequence[int], objects: bool = False) -> tuple[str, SegmentConfig]:
    """Name and dimensions of the head: the pretrained "segment", or "labels" of several classes.

    Args:
        label_values: value of each class, background first; empty = binary.
        objects: whether a channel learns how deep inside its object a voxel lies.
    """
    if not label_values:
        return "segment", SegmentConfig(distance=objects)
    return "labels", SegmentConfig(classes=len(label_values))


def are_tubes(structures: Sequence[str | None]) -> bool:
    """Whether the names of what is labelled are all those of tubes: vessels, axons, fibres ..."""
    return bool(structures) and all(name and _TUBES.search(name) for name in structures)


class SegmentTask(nn.Module):
    """The model as segmentation trains it.

    Args:
        model: with the head.
        head: its name.
    """

    def __init__(self, model: DenseModel, head: str) -> None:
        super().__init__()
        chosen = model.heads[head]
        assert isinstance(chosen, SegmentHead)
        self.model, self.head = model, head

    def features(self, batch: Batch) -> DenseFeatures:
        """All that comes before the head."""
        return self.model(batch.image, batch.voxel_size_um, batch.spacing_known, batch.condition)

    def forward(self, batch: Batch, features: DenseFeatures | None = None) -> dict[str, Tensor]:
        """Terms of the loss, and `loss`; features of the batch may be given, if nothing moved."""
        assert batch.labels is not None
        given = self.features(batch) if features is None else features
        found: Segmentation = self.model.heads[self.head](given.full, given.coarse)
        terms = deep_supervision_loss([found.logits, *found.coarse], batch.labels, batch.counts)
        loss = terms["dice"] + terms["cross_entropy"]
        if batch.skeleton is not None:
            terms["skeleton"] = skeleton_recall_loss(found.logits, batch.skeleton, batch.counts)
            loss = loss + SKELETON_WEIGHT * terms["skeleton"]
        if batch.depth is not None and found.distance is not None:
            terms["depth"] = _depth_loss(found.distance, batch.depth, batch.counts[:, None])
            loss = loss + terms["depth"]
        return terms | {"loss": loss}


def _depth_loss(found: Tensor, depth: Tensor, counts: Tensor) -> Tensor:
    """Mean error inside objects and outside, each for one half. All [B, 1, Z, Y, X]."""
    error = (found.float() - depth).abs()
    parts = [error[(depth > 0) & counts], error[(depth == 0) & counts]]
    return torch.stack([part.mean() for part in parts if part.numel()] or [error.sum() * 0]).mean()


def segment_metrics(
    found: NDArray[np.int64],
    example: Example,
    classes: int = 1,
    objects: NDArray[np.integer] | None = None,
) -> dict[str, float]:
    """Metrics of one example, under the names that result files carry.

    Args:
        found: [Z, Y, X] classes, 0 = background.
        example: with labels. Where its voxel size is unknown, "nsd" counts in voxels.
        classes: of foreground.
        objects: [Z, Y, X] numbered objects, 0 = background, beside those that the example's labels
            number: "numbered_object_f1", "numbered_panoptic_quality" and so on.
    """
    assert example.labels is not None
    # A share of the surface within one voxel needs no um: where they are unknown, voxels are cubes.
    size = example.voxel_size_um or (1.0, 1.0, 1.0)
    scores = segmentation_metrics(found, example.labels, size, example.counts, classes=classes)
    if objects is None or example.instances is None:
        return scores
    numbered = object_metrics(objects, example.instances, example.counts, IOU_THRESHOLDS)
    return scores | {f"numbered_{name}": score for name, score in numbered.items()}
