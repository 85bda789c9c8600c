"""A Wiener filter as the first guess of a restoration: what a linear filter can do, it does.

W = H / (H^2 + s L^2), with H the transfer function of a Gaussian blur and L that of the discrete
Laplacian, which stands for what a good image seldom holds (Hunt, IEEE Transactions on Computers
C-22, 1973). Linear in intensity, so it acts there and not on normalised values.
"""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

_REACH = 3.0  # standard deviations of the blur, mirrored beyond the crop
_BRIGHTEST = 12.0  # normalised; a filter may overshoot, its result has to stay a number


class WienerConfig(BaseModel):
    """Which blur is undone, and how boldly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sigma: tuple[float, float, float]
    """(z, y, x) standard deviations of the blur in voxels."""
    strength: float = Field(gt=0)
    """Weight of the Laplacian: the larger, the smoother."""


def wiener_filter(crop: Tensor, config: WienerConfig) -> Tensor:
    """Filter normalised crops.

    Args:
        crop: [B, 1, Z, Y, X], normalised: asinh of intensity over the spread of the background.
        config: of the filter.

    Returns:
        The same shape, float32, normalised.
    """
    with torch.autocast(crop.device.type, enabled=False):
        light = crop.float().clamp(-_BRIGHTEST, _BRIGHTEST).sinh()
        sides = light.shape[2:]
        pads = [
            min(math.ceil(_REACH * sigma), side - 1)
            for sigma, side in zip(config.sigma, sides, strict=True)
        ]
        z, y, x = pads
        wide = F.pad(light, (x, x, y, y, z, z), mode="reflect")
        spectrum = torch.fft.rfftn(wide, dim=(2, 3, 4))
        gain = _gain(tuple(wide.shape[2:]), config, crop.device)
        found = torch.fft.irfftn(spectrum * gain, s=wide.shape[2:], dim=(2, 3, 4))
        inside = found[..., z : z + sides[0], y : y + sides[1], x : x + sides[2]]
        return inside.asinh()


def _gain(shape: tuple[int, ...], config: WienerConfig, device: torch.device) -> Tensor:
    """[Z, Y, X // 2 + 1], what each frequency is multiplied by."""
    axes = [torch.fft.fftfreq(side, device=device) for side in shape[:-1]]
    axes.append(torch.fft.rfftfreq(shape[-1], device=device))
    grids = torch.meshgrid(*axes, indexing="ij")
    exponents = [2 * (math.pi * s * f).square() for s, f in zip(config.sigma, grids, strict=True)]
    blur = torch.stack(exponents).sum(0).neg().exp()
    laplacian = torch.stack([2 - 2 * (2 * math.pi * f).cos() for f in grids]).sum(0)
    return blur / (blur.square() + config.strength * laplacian.square())
