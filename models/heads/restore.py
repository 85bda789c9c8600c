"""Restoration: the crop, or what a linear filter makes of it, plus a learned residual."""

from __future__ import annotations

from torch import Tensor, nn

from .wiener import WienerConfig, wiener_filter


class RestoreHead(nn.Module):
    """first guess + conv(features); untrained it adds nothing to it.

    Args:
        channels: of the features at full resolution.
        first_guess: a filter; None = the crop itself.
    """

    def __init__(self, channels: int, first_guess: WienerConfig | None = None) -> None:
        super().__init__()
        self.first_guess = first_guess
        self.residual = nn.Conv3d(channels, 1, 1)
        for parameter in self.residual.parameters():
            nn.init.zeros_(parameter)

    def forward(self, full: Tensor, crop: Tensor) -> Tensor:
        """[B, C, Z, Y, X] features and [B, 1, Z, Y, X] normalised crop -> [B, 1, Z, Y, X]."""
        guess = crop if self.first_guess is None else wiener_filter(crop, self.first_guess)
        return guess + self.residual(full)
