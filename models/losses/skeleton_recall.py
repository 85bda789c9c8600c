"""Skeleton recall: tubes should be found along their whole length, however thin.

Kirchhoff et al., ECCV 2024 (arXiv 2404.03010). The skeleton is made once from the labels, on the
CPU, where soft-clDice thins the prediction at every step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from ..metrics.skeleton import skeleton
from .segmentation import foreground_probability


def tubed_skeleton(labels: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """The skeleton of all foreground, two voxels thickened, with the classes of the labels.

    Args:
        labels: [Z, Y, X] integers, 0 = background; ignored voxels set to 0 before.

    Returns:
        [Z, Y, X] of the same type: the class along the centrelines, 0 elsewhere. It never leaves
        the labels' foreground.
    """
    from scipy.ndimage import binary_dilation

    return np.where(binary_dilation(skeleton(labels > 0), iterations=2), labels, 0).astype(
        labels.dtype
    )


def skeleton_recall_loss(logits: Tensor, skeleton: Tensor, counts: Tensor | None = None) -> Tensor:
    """1 - the mean probability of the right class along the skeleton.

    Shapes: B batch, K channels, Z Y X voxels.

    Args:
        logits: [B, K, Z, Y, X]; K = 1 binary, K > 1 with the background as channel 0.
        skeleton: [B, Z, Y, X] integers of `tubed_skeleton`.
        counts: [B, Z, Y, X] bool, True = counts; None = all. The others change neither loss nor
            gradient.

    Returns:
        A scalar, the mean over foreground classes that have a skeleton in the batch; 0 (with a
        gradient of 0) where none has. It says nothing about false voxels: add it to Dice and
        cross-entropy.
    """
    if counts is None:
        counts = torch.ones_like(skeleton, dtype=torch.bool)
    logits = torch.where(rearrange(counts, "b ... -> b 1 ..."), logits.float(), 0.0)
    probability = foreground_probability(logits)  # [B, F, Z, Y, X]
    classes = torch.arange(1, probability.shape[1] + 1, device=logits.device).view(1, -1, 1, 1, 1)
    along = rearrange(torch.where(counts, skeleton, 0), "b ... -> b 1 ...") == classes
    length = along.sum((0, 2, 3, 4))  # [F]
    recall = torch.where(along, probability, 0.0).sum((0, 2, 3, 4)) / length.clamp(min=1)
    present = length > 0
    return torch.where(present, 1 - recall, 0.0).sum() / present.sum().clamp(min=1)
