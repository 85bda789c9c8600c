"""Restoration: the crop plus a learned residual."""

from __future__ import annotations

from torch import Tensor, nn


class RestoreHead(nn.Module):
    """crop + conv(features); untrained it changes nothing.

    Args:
        channels: of the features at full resolution.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Conv3d(channels, 1, 1)
        for parameter in self.residual.parameters():
            nn.init.zeros_(parameter)

    def forward(self, full: Tensor, crop: Tensor) -> Tensor:
        """[B, C, Z, Y, X] features and [B, 1, Z, Y, X] normalised crop -> [B, 1, Z, Y, X]."""
        return crop + self.residual(full)
