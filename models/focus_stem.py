"""The stem of the focus head: one slice at native resolution, never resized.

A token of the encoder spans 8 slices and cannot tell which of them is sharp; the stem can.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .focus_bank import FocusBank
from .focus_config import CELL, FocusConfig

_STRIDES = (1, 2, 2)
_COMPRESSION = 4.0  # of the asinh before the convolutions: bright spots shall not be all there is
_LEAST_ENERGY = 1e-4


class FocusStem(nn.Module):
    """Three convolutions beside the fixed bank, pooled to cells of 8 x 8 pixels.

    Args:
        config: `channels` (None = no convolutions) and `rings`.
    """

    def __init__(self, config: FocusConfig) -> None:
        super().__init__()
        self.bank = FocusBank(config.rings)
        self.features = self.bank.features
        self.layers = nn.ModuleList()
        if config.channels is None:
            return
        widths = (1, *config.channels)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride, padding=1, padding_mode="reflect")
            for a, b, stride in zip(widths[:-1], widths[1:], _STRIDES, strict=True)
        )
        self.learnt_norm = nn.LayerNorm(widths[-1])
        self.features += widths[-1]

    def forward(self, tiles: Tensor, blur: Tensor) -> Tensor:
        """Describe cells.

        Args:
            tiles: [B, Z, T, 64, 64], see `FocusInput`.
            blur: [B] pixels, see `focus_bank.blur_px`.

        Returns:
            [B, Z, T, 8, 8, F], what is learnt first, then the bank.
        """
        shape = tiles.shape[:3]
        known = self.bank(tiles.flatten(1, 2), blur).unflatten(1, shape[1:])
        known = known.permute(0, 1, 2, 4, 5, 3)
        if not self.layers:
            return known
        x = torch.asinh(_COMPRESSION * tiles).flatten(0, 2)[:, None]
        for number, layer in enumerate(self.layers):
            x = layer(x if number == 0 else F.relu(x))
        # How strongly each filter answers, as the bank has it: contrast becomes a sum.
        side = CELL // (_STRIDES[1] * _STRIDES[2])
        learnt = (F.avg_pool2d(x.float().square(), side) + _LEAST_ENERGY).log()
        learnt = self.learnt_norm(learnt.permute(0, 2, 3, 1)).unflatten(0, shape)
        return torch.cat([learnt, known], -1)
