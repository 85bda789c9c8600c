"""From light to counts: photons arrive at random, the camera adds its noise, and clips.

EMVA standard 1288 (release 4.0): counts = gain * photo-electrons + offset, with Poisson photons and
Gaussian read noise. One photon is one photo-electron here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .settings import Optics, per_voxel

_HOT = 0.3  # a hot pixel is this share of the range brighter, on average


def expose(light: Tensor, optics: Optics, generator: torch.Generator) -> Tensor:
    """Record light as whole camera counts.

    Args:
        light: [B, Z, Y, X], 1 = a voxel filled with dye, unhindered.
        optics: photons, background, gain, offset, noise, hot pixels and bits.
        generator: of the device of `light`.

    Returns:
        [B, Z, Y, X] float32, whole numbers from 0 to 2^bits - 1.
    """

    photons = torch.poisson(
        light * per_voxel(optics.photons) + per_voxel(optics.background_photons),
        generator=generator,
    )
    noise = torch.randn(light.shape, generator=generator, device=light.device)
    counts = (
        photons * per_voxel(optics.counts_per_photon)
        + per_voxel(optics.offset)
        + noise * per_voxel(optics.read_noise)
    )
    top = 2.0 ** per_voxel(optics.bits) - 1
    counts = counts + top * _hot_pixels(light, optics, generator)
    return counts.round().clamp(min=0).minimum(top)


def mean_counts(light: Tensor, optics: Optics) -> Tensor:
    """Counts without noise, hot pixels and rounding: [B, Z, Y, X] -> the same, differentiable."""

    photons = light * per_voxel(optics.photons) + per_voxel(optics.background_photons)
    return (photons * per_voxel(optics.counts_per_photon) + per_voxel(optics.offset)).minimum(
        2.0 ** per_voxel(optics.bits) - 1
    )


def _hot_pixels(light: Tensor, optics: Optics, generator: torch.Generator) -> Tensor:
    """[B, 1, Y, X], what faulty pixels add, as a share of the range; the same in every plane."""
    shape = (len(light), 1, *light.shape[2:])
    chance = torch.rand(shape, generator=generator, device=light.device)
    size = torch.empty(shape, device=light.device).exponential_(generator=generator)
    return torch.where(chance < per_voxel(optics.hot_pixels), _HOT * size, 0.0)
