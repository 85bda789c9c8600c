"""Segmentation: logits for every voxel, and at coarser levels while training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Segmentation(NamedTuple):
    """Answers of the head. Shapes: B batch, K = 1 (binary) or classes.

    logits: [B, K, Z, Y, X].
    coarse: logits [B, K, ceil(Z / sz), ...] of coarser levels, fine to coarse; empty in evaluation.
        They answer for labels[..., ::sz, ::sy, ::sx], with the scales of the features.
    distance: [B, 1, Z, Y, X], for splitting objects that touch; None without that channel.
    """

    logits: Tensor
    coarse: tuple[Tensor, ...]
    distance: Tensor | None


class SegmentHead(nn.Module):
    """A 1x1x1 convolution per level.

    Args:
        channels: of the features at full resolution, then of the coarser maps.
        classes: K; 1 = binary, with a sigmoid.
        distance: whether there is a distance channel too.
    """

    def __init__(self, channels: Sequence[int], classes: int = 1, distance: bool = False) -> None:
        super().__init__()
        self.classes = classes
        self.logits = nn.Conv3d(channels[0], classes, 1)
        self.coarse = nn.ModuleList(nn.Conv3d(width, classes, 1) for width in channels[1:])
        self.distance = nn.Conv3d(channels[0], 1, 1) if distance else None
        if self.distance is not None:
            # At nothing: a share of its step (`finetune.blend`) has the same peaks, only lower.
            nn.init.zeros_(self.distance.weight)
            nn.init.zeros_(self.distance.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, full: Tensor, coarse: Sequence[Tensor]) -> Segmentation:
        """Full [B, C, Z, Y, X] and the coarser maps of the same crops."""
        deep = zip(self.coarse, coarse, strict=True) if self.training else ()
        return Segmentation(
            logits=self.logits(full),
            coarse=tuple(layer(features) for layer, features in deep),
            distance=None if self.distance is None else self.distance(full),
        )
