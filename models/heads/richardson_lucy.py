"""Richardson-Lucy deconvolution as the first guess of a restoration.

e <- e * H[g / H e] with a Gaussian blur H, which is its own transpose (Richardson, JOSA 62, 1972;
Lucy, Astronomical Journal 79, 1974). Light stays positive and few iterations hardly raise noise, so
settings carry over to volumes with another share of noise; those of a Wiener filter do not
(docs/results.md).
"""

from __future__ import annotations

import math

import torch
from einops import einsum
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

_REACH = 4.0  # standard deviations of the blur
_BRIGHTEST = 12.0  # normalised; a guess may overshoot, its result has to stay a number
_DARKEST = 0.05  # spreads of the tissue; nothing is divided by less


class DeconvolutionConfig(BaseModel):
    """Which blur is undone, and how far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sigma: tuple[float, float, float]
    """(z, y, x) standard deviations of the blur in voxels."""
    iterations: int = Field(ge=1)


@torch.no_grad()
def richardson_lucy(crop: Tensor, config: DeconvolutionConfig) -> Tensor:
    """Deconvolve normalised crops; the lowest intensity of each is taken for no light.

    Args:
        crop: [B, 1, Z, Y, X], normalised: asinh of intensity over the spread of the background.
        config: of the blur.

    Returns:
        The same shape, float32, normalised. No gradient passes.
    """
    with torch.autocast(crop.device.type, enabled=False):
        light = crop.float().clamp(-_BRIGHTEST, _BRIGHTEST).sinh()
        dark = light.amin((2, 3, 4), keepdim=True) - _DARKEST
        given = light - dark
        blurs = [
            blur_matrix(side, sigma).to(crop.device)
            for side, sigma in zip(crop.shape[2:], config.sigma, strict=True)
        ]
        found = _blur(given, blurs)
        for _ in range(config.iterations):
            found = found * _blur(given / _blur(found, blurs).clamp(min=_DARKEST), blurs)
        return (found + dark).asinh().clamp(-_BRIGHTEST, _BRIGHTEST)


def blur_matrix(side: int, sigma: float) -> Tensor:
    """[side, side] of a Gaussian blur of an axis, mirrored at its ends: symmetric, rows add to 1.

    Args:
        side: of the axis in voxels.
        sigma: standard deviation in voxels; 0 gives the identity.
    """
    reach = math.ceil(_REACH * sigma)
    steps = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (steps / max(sigma, 1e-6)) ** 2)
    places = torch.arange(side)[:, None] + steps
    turned = places % (2 * side)  # the axis and its mirror image, over and over
    inside = torch.where(turned < side, turned, 2 * side - 1 - turned)
    matrix = torch.zeros(side, side)
    return matrix.scatter_add_(1, inside, (weights / weights.sum()).expand(side, -1))


def _blur(light: Tensor, blurs: list[Tensor]) -> Tensor:
    # Matrices of axes this short are three times faster than Fourier transforms of padded crops.
    z, y, x = blurs
    along_x = einsum(light, x, "b c z y x, w x -> b c z y w")
    along_y = einsum(along_x, y, "b c z y x, w y -> b c z w x")
    return einsum(along_y, z, "b c z y x, w z -> b c w y x")
