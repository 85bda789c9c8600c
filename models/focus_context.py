"""What the frozen 3D encoder adds to a slice: its tokens, read between their middles along z."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .block import init_linear

PLANES = 8
"""Slices behind one token."""


class TokenContext(nn.Module):
    """Tokens of crops -> features of slices.

    A token says the same of all its slices; interpolation and the place inside the token (z mod 8)
    make it differ from slice to slice.

    Args:
        token_width: of the encoder.
        width: of what is given.
    """

    def __init__(self, token_width: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(token_width)
        self.project = init_linear(nn.Linear(token_width, width))
        self.inside = nn.Embedding(PLANES, width)
        nn.init.normal_(self.inside.weight, std=0.02)

    def forward(self, tokens: Tensor, z: Tensor) -> Tensor:
        """Read tokens at slices.

        Args:
            tokens: [B, T, gz, 8, 8, D].
            z: [B, Z] int64, places of the slices, 0 = the first of the crops.

        Returns:
            [B, Z, T, 8, 8, W]
        """
        maps = self.project(self.norm(tokens.float())).transpose(1, 2)  # [B, gz, T, 8, 8, W]
        # The middle of token k lies at slice 8 k + 3.5; before the first and after the last, that.
        place = ((z - (PLANES - 1) / 2) / PLANES).clamp(0, maps.shape[1] - 1)
        low = place.floor().long()
        high = (low + 1).clamp(max=maps.shape[1] - 1)
        share = (place - low)[:, :, None, None, None, None]
        row = torch.arange(len(maps), device=maps.device)[:, None]
        between = maps[row, low] * (1 - share) + maps[row, high] * share
        return between + self.inside(z % PLANES)[:, :, None, None, None]
