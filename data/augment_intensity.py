"""Changes of intensity and added noise, in normalised units: asinh of a z-score, 0 is the
tissue."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor


def change_intensity(
    crop: Tensor,
    gain: Tensor,
    offset: Tensor,
    contrast: Tensor,
    loss: Tensor,
    axes: Sequence[int],
    backwards: Sequence[bool],
) -> None:
    """Change intensities in place: contrast, then fall-off, then gain and offset.

    Contrast multiplies the z-score behind the asinh, as if the spread had been measured otherwise:
    nearly a shift for bright voxels, a factor for dim ones. Fall-off lowers both contrast and
    brightness linearly along an axis, as light is lost on its way through tissue.

    Args:
        crop: [B, 1, Z, Y, X].
        gain, offset, contrast, loss: [B] on the CPU; 1, 0, 1, 0 change nothing.
        axes: per sample the axis (0 z, 1 y, 2 x) of the fall-off.
        backwards: per sample whether the far side is at index 0.
    """
    for i in torch.nonzero(contrast != 1)[:, 0].tolist():
        stretch_(crop[i], float(contrast[i]))
    for i in torch.nonzero(loss > 0)[:, 0].tolist():
        side = crop.shape[2 + axes[i]]
        depth = torch.linspace(0, float(loss[i]), side, device=crop.device)
        depth = depth.flip(0) if backwards[i] else depth
        depth = depth.reshape([side if axis == axes[i] else 1 for axis in range(3)])
        crop[i, 0].mul_(1 - depth).sub_(depth)
    crop.mul_(_per_sample(gain, crop)).add_(_per_sample(offset, crop))


def stretch_(y: Tensor, contrast: float) -> Tensor:
    """asinh(contrast * sinh(y)) in place.

    By exp and log, which are vectorised on a CPU where sinh and asinh are not: 5 times faster.
    """
    power = y.abs().exp_()
    half = power.reciprocal().neg_().add_(power).mul_(contrast / 2)  # contrast * sinh|y|
    root = torch.mul(half, half, out=power).add_(1).sqrt_()
    return y.copy_(torch.copysign(half.add_(root).log_(), y))


def add_noise(crop: Tensor, sigma: Tensor, seeds: NDArray) -> None:
    """Add white Gaussian noise in place, to the samples with `sigma` above 0.

    Args:
        crop: [B, 1, Z, Y, X].
        sigma: [B] on the CPU.
        seeds: [B] integers, one generator a sample.
    """
    for i in torch.nonzero(sigma > 0)[:, 0].tolist():
        generator = torch.Generator(crop.device).manual_seed(int(seeds[i]))
        white = torch.randn(crop[i].shape, generator=generator, device=crop.device)
        crop[i].add_(white, alpha=float(sigma[i]))


def _per_sample(values: Tensor, crop: Tensor) -> Tensor:
    return rearrange(values, "b -> b 1 1 1 1").to(crop.device, crop.dtype)
