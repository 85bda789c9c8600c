"""Ordinal levels of defocus: edges, the distance that each level stands for, soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


def level_values(edges: Sequence[float]) -> Tensor:
    """Distance that each level stands for: 0 in focus, then middles, half a step past the last.

    Args:
        edges: between K levels, [K - 1] rising.

    Returns:
        [K] float32, in the unit of the edges.
    """
    inner = [(a + b) / 2 for a, b in pairwise(edges)]
    return torch.tensor([0.0, *inner, edges[-1] + (edges[-1] - edges[-2]) / 2])


def soft_labels(distance: Tensor, values: Tensor) -> Tensor:
    """Share a distance between the two levels around it, so that their mean is the distance.

    Args:
        distance: [...] at least 0; past the last level it counts as that.
        values: [K] rising.

    Returns:
        [..., K], 1 in sum.
    """
    at = distance.clamp(float(values[0]), float(values[-1])).contiguous()
    above = torch.searchsorted(values, at, right=True).clamp(1, len(values) - 1)
    low, high = values[above - 1], values[above]
    share = ((at - low) / (high - low))[..., None]
    labels = torch.zeros(*at.shape, len(values), device=at.device)
    labels.scatter_(-1, (above - 1)[..., None], 1 - share)
    return labels.scatter_(-1, above[..., None], share)


def expected_distance(logits: Tensor, values: Tensor) -> Tensor:
    """Mean distance under a distribution over levels: logits [..., K] -> [...], float32."""
    return logits.float().softmax(-1) @ values
