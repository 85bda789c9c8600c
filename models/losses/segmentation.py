"""Dice and cross-entropy of voxels, with ignored voxels that change neither loss nor gradient.

MONAI's MaskedDiceLoss multiplies the logits by its mask before the sigmoid, so that each ignored
voxel enters the denominator with a half; here it enters nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

SMOOTH = 1.0
"""Voxels added to both sides of the Dice ratio: a batch with a handful of them stays steady."""


def segmentation_loss(
    logits: Tensor, labels: Tensor, counts: Tensor | None = None
) -> dict[str, Tensor]:
    """Compare logits with labels, binary or of several classes.

    Shapes: B batch, K channels, Z Y X voxels.

    Args:
        logits: [B, K, Z, Y, X]; K = 1 is binary (sigmoid), K > 1 has the background as channel 0
            (softmax).
        labels: [B, Z, Y, X] integers, 0..K-1 (binary: 0, 1) where they count, anything elsewhere.
        counts: [B, Z, Y, X] bool, True = counts; None = all.

    Returns:
        Scalars in fp32. "dice": 1 - soft Dice over all voxels of the batch at once (V-Net, arXiv
        1606.04797, without its squares), mean over the foreground classes that the batch holds:
        an absent one is left to cross-entropy, whose gradient does not vanish. "cross_entropy":
        mean over counted voxels. Both 0, with a gradient of 0, where nothing counts.
    """
    logits, labels, weight = _counted(logits, labels, counts)
    probability = foreground_probability(logits)  # [B, F, Z, Y, X]
    truth = _one_hot(labels, probability.shape[1])
    everywhere = (0, 2, 3, 4)
    overlap = (probability * truth * weight).sum(everywhere)  # [F]
    size = ((probability + truth) * weight).sum(everywhere)
    present = (truth * weight).sum(everywhere) > 0
    per_class = 1 - (2 * overlap + SMOOTH) / (size + SMOOTH)
    dice = torch.where(present, per_class, 0.0).sum() / present.sum().clamp(min=1)

    if logits.shape[1] == 1:
        entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    else:
        entropy = rearrange(F.cross_entropy(logits, labels, reduction="none"), "b ... -> b 1 ...")
    cross_entropy = (entropy * weight).sum() / weight.sum().clamp(min=1)
    return {"dice": dice, "cross_entropy": cross_entropy}


def deep_supervision_loss(
    logits_by_scale: Sequence[Tensor],
    labels: Tensor,
    counts: Tensor | None = None,
) -> dict[str, Tensor]:
    """The segmentation loss at several scales of the decoder, each with half the weight before it.

    Coarse logits are enlarged to the labels' grid rather than the labels reduced: a vessel of two
    voxels survives, and an ignored voxel stays exactly that.

    Args:
        logits_by_scale: S tensors [B, K, z, y, x], the finest first.
        labels: [B, Z, Y, X]. counts: the same, bool; None = all.

    Returns:
        The weighted terms of `segmentation_loss`; the weights add up to 1.
    """
    weights = [0.5**scale for scale in range(len(logits_by_scale))]
    terms: dict[str, Tensor] = {}
    for logits, weight in zip(logits_by_scale, weights, strict=True):
        if logits.shape[2:] != labels.shape[1:]:
            logits = F.interpolate(logits.float(), labels.shape[1:], mode="trilinear")
        for name, term in segmentation_loss(logits, labels, counts).items():
            terms[name] = terms.get(name, 0.0) + term * (weight / sum(weights))
    return terms


def foreground_probability(logits: Tensor) -> Tensor:
    """[B, K, Z, Y, X] logits -> [B, F, Z, Y, X] in 0..1: F = 1 where K = 1, else K - 1."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)[:, 1:]


def _counted(
    logits: Tensor, labels: Tensor, counts: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits in fp32 and labels with 0 where nothing counts; the weight [B, 1, Z, Y, X], 0 or 1.

    Replaced, not multiplied: a logit of inf or nan there has to stay without a trace, and a label
    of 255 must not reach cross-entropy.
    """
    if counts is None:
        counts = torch.ones_like(labels, dtype=torch.bool)
    where = rearrange(counts, "b ... -> b 1 ...")
    logits = torch.where(where, logits.float(), 0.0)
    return logits, torch.where(counts, labels, 0).long(), where.float()


def _one_hot(labels: Tensor, foreground: int) -> Tensor:
    """[B, Z, Y, X] labels -> [B, F, Z, Y, X] float, without the background."""
    classes = torch.arange(1, foreground + 1, device=labels.device)
    return (rearrange(labels, "b ... -> b 1 ...") == classes.view(1, -1, 1, 1, 1)).float()
