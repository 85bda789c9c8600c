"""A small 2D encoder of image quality: how blurred, how noisy, whatever is shown.

It is trained by `luxvox focus-quality`. Strided convolutions stay shallow, because blur and noise
are local; mean and spread over the image are what it says.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F


class QualityConfig(BaseModel):
    """Dimensions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, ...] = (16, 32, 64)
    """Of each level; every level after the first halves the sides."""
    projection: int = Field(default=32, ge=2)
    """Width of the vectors that are contrasted."""


class QualityEncoder(nn.Module):
    """[B, 1, Y, X] with 0 = no dye and 1 = bright -> [B, 2 C] features.

    Args:
        config: dimensions.
    """

    def __init__(self, config: QualityConfig) -> None:
        super().__init__()
        self.config = config
        widths = (1, *config.channels)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=1 if number == 0 else 2, padding=1, padding_mode="reflect")
            for number, (a, b) in enumerate(pairwise(widths))
        )
        self.mixers = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", groups=width // 8)
            for width in config.channels
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for width in config.channels)
        width = 2 * sum(config.channels)
        self.projector = nn.Sequential(
            nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, config.projection)
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, D]: logarithms of the mean size and spread of every channel of every level."""
        found = []
        x = images
        for layer, mixer, norm in zip(self.layers, self.mixers, self.norms, strict=True):
            x = layer(x)
            # Before the norm: how large an answer is tells blur and noise apart.
            size = x.flatten(2)
            found += [size.abs().mean(2), size.std(2, correction=0)]
            x = F.gelu(norm(x))
            x = x + F.gelu(mixer(x))
        return torch.cat(found, 1).clamp(min=1e-5).log()

    def project(self, features: Tensor) -> Tensor:
        """[B, D] -> unit vectors [B, projection]."""
        return F.normalize(self.projector(features), dim=-1)
