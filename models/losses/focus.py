"""Losses of the focus head: levels, order, distance, its doubt, and the gate.

All in float32, in depths of field. A slice without a known distance (nan) counts nowhere but in the
gate.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from ..focus_config import FocusAnswer
from ..focus_levels import soft_labels

LEAST_APART = 0.5
"""Depths of field between two slices that are ranked."""


class FocusWeights(BaseModel):
    """How much each of `focus_losses` counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    levels: float = Field(default=1.0, ge=0)
    ranking: float = Field(default=0.5, ge=0)
    distance: float = Field(default=0.5, ge=0)
    monotone: float = Field(default=0.2, ge=0)
    doubt: float = Field(default=0.1, ge=0)
    gate: float = Field(default=0.3, ge=0)


def focus_losses(
    answer: FocusAnswer,
    gate: Tensor,
    tile_truth: Tensor,
    slice_truth: Tensor,
    foreground: Tensor,
    values: Tensor | None,
) -> dict[str, Tensor]:
    """All losses by name, each a scalar; unweighted.

    Shapes: B stacks, Z slices, T tiles, K levels.

    Args:
        answer: of the head.
        gate: [B, Z, T, 8, 8] logits.
        tile_truth: [B, Z, T] distances from focus; nan = not known, or nothing to see.
        slice_truth: [B, Z], the same.
        foreground: [B, Z, T, 8, 8], 1 = foreground, 0 = none, nan = not known.
        values: [K] that levels stand for; None where there are no levels.
    """
    losses = {
        "ranking": ranking_loss(answer.expected, slice_truth),
        "distance": distance_loss(answer.expected, slice_truth),
        "monotone": monotone_loss(answer.expected, slice_truth),
        "doubt": doubt_loss(answer.expected, answer.log_variance, slice_truth),
        "gate": gate_loss(gate, foreground),
    }
    if answer.logits is not None and answer.tile_logits is not None and values is not None:
        of_slices = level_loss(answer.logits, slice_truth, values)
        losses["levels"] = 0.5 * (of_slices + level_loss(answer.tile_logits, tile_truth, values))
    return losses


def level_loss(logits: Tensor, truth: Tensor, values: Tensor) -> Tensor:
    """Cross-entropy with soft labels over the two levels around the truth: [..., K], [...]."""
    known = truth.isfinite()
    labels = soft_labels(truth.nan_to_num(0.0), values)
    each = -(labels * logits.float().log_softmax(-1)).sum(-1)
    return _mean(each, known)


def ranking_loss(expected: Tensor, truth: Tensor) -> Tensor:
    """RankNet over all pairs of slices of a stack that lie `LEAST_APART` apart: [B, Z] each."""
    apart = truth[:, :, None] - truth[:, None]  # [B, Z, Z]
    pairs = apart >= LEAST_APART  # False for nan
    each = F.softplus(-(expected[:, :, None] - expected[:, None]).float())
    return _mean(each, pairs)


def distance_loss(expected: Tensor, truth: Tensor) -> Tensor:
    """Smooth L1 of distances: [B, Z] each."""
    known = truth.isfinite()
    return _mean(F.smooth_l1_loss(expected.float(), truth.nan_to_num(0.0), reduction="none"), known)


def monotone_loss(expected: Tensor, truth: Tensor) -> Tensor:
    """What the distance falls by from one slice to the next although it should rise: [B, Z] each.

    One-sided: rising too much costs nothing here.
    """
    if truth.shape[1] < 2:
        return expected.sum() * 0.0
    rise = truth[:, 1:] - truth[:, :-1]
    found = (expected[:, 1:] - expected[:, :-1]).float()
    return _mean((-rise.sign() * found).nan_to_num(0.0).clamp(min=0), rise.isfinite())


def doubt_loss(expected: Tensor, log_variance: Tensor, truth: Tensor) -> Tensor:
    """Gaussian likelihood of the error; teaches the variance only, never the distance itself."""
    known = truth.isfinite()
    error = (expected.detach().float() - truth.nan_to_num(0.0)).square()
    each = 0.5 * (error * (-log_variance).exp() + log_variance)
    return _mean(each, known)


def gate_loss(logits: Tensor, foreground: Tensor) -> Tensor:
    """Binary cross-entropy of cells, where it is known whether they hold foreground."""
    known = foreground.isfinite()
    each = F.binary_cross_entropy_with_logits(
        logits.float(), foreground.nan_to_num(0.0), reduction="none"
    )
    return _mean(each, known)


def weighted(losses: dict[str, Tensor], weights: FocusWeights) -> Tensor:
    """The sum that is minimised."""
    found = [value * getattr(weights, name) for name, value in losses.items()]
    return torch.stack(found).sum()


def _mean(each: Tensor, counts: Tensor) -> Tensor:
    """Mean over what counts; 0, with a gradient of 0, where nothing does."""
    return torch.where(counts, each, 0.0).sum() / counts.sum().clamp(min=1)
