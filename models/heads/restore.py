"""Restoration: the crop, or what deconvolution makes of it, plus a learned residual."""

from __future__ import annotations

from torch import Tensor, nn

from .richardson_lucy import DeconvolutionConfig, richardson_lucy


class RestoreHead(nn.Module):
    """first guess + conv(features); untrained it adds nothing to it.

    Args:
        channels: of the features at full resolution.
        first_guess: a deconvolution; None = the crop itself.
    """

    def __init__(self, channels: int, first_guess: DeconvolutionConfig | None = None) -> None:
        super().__init__()
        self.first_guess = first_guess
        self.residual = nn.Conv3d(channels, 1, 1)
        for parameter in self.residual.parameters():
            nn.init.zeros_(parameter)

    def forward(self, full: Tensor, crop: Tensor) -> Tensor:
        """[B, C, Z, Y, X] features and [B, 1, Z, Y, X] normalised crop -> [B, 1, Z, Y, X]."""
        guess = crop if self.first_guess is None else richardson_lucy(crop, self.first_guess)
        return guess + self.residual(full)
