"""What tissue does to the light on its way in and out: loss with depth, shadows, bleaching.

The sheet enters along x, from the low side; light leaves along z, towards plane 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .field import axes_um
from .settings import Optics, per_voxel

_ABSORBERS = 1.5  # mean number of absorbers that each ray of the sheet has met at the far side


def illumination(
    optics: Optics,
    shape: Sequence[int],
    pitch_um: Sequence[float],
    generator: torch.Generator,
) -> Tensor:
    """[B, Z, Y, X], light that reaches each voxel, 1 = unhindered.

    Loss along the path (Beer and Lambert), the profile of the sheet along y, and shadow stripes:
    absorbers at random places, each dimming all that lies behind it.
    """
    device = optics.na.device
    _, y, x = axes_um(shape, pitch_um, device)

    path = x + shape[2] * pitch_um[2] / 2
    arriving = torch.exp(-path / per_voxel(optics.illumination_length_um))
    edge = shape[1] * pitch_um[1] / 2
    profile = 1 - per_voxel(optics.unevenness) * (y / edge).square()
    light = (arriving * profile).expand(-1, shape[0], -1, -1)
    if not bool((optics.stripes > 0).any()):
        return light
    return light * torch.exp(
        -per_voxel(optics.stripes) * _shadow_depth(optics, shape, pitch_um, generator)
    )


def _shadow_depth(
    optics: Optics,
    shape: Sequence[int],
    pitch_um: Sequence[float],
    generator: torch.Generator,
) -> Tensor:
    """[B, Z, Y, X], optical depth of absorbers in front of each voxel; root mean square 1 behind.

    Absorbers before the crop count as well: half of the depth is there from its first column on.
    """
    device = optics.na.device
    depth = torch.randn(
        len(optics), 2, *shape[:2], generator=generator, device=device
    )  # what is met before, and inside, the crop
    frequency = [
        torch.fft.fftfreq(shape[0], pitch_um[0], device=device)[:, None],
        torch.fft.rfftfreq(shape[1], pitch_um[1], device=device),
    ]
    width = 0.4 * per_voxel(optics.stripe_um)
    smooth = torch.exp(
        -2 * math.pi**2 * width.square() * (frequency[0].square() + frequency[1].square())
    )
    depth = torch.fft.irfftn(
        torch.fft.rfftn(depth, dim=(2, 3)) * smooth, s=shape[:2], dim=(2, 3)
    ).abs()
    rms = depth.square().mean((2, 3), keepdim=True).sqrt().clamp(min=1e-6)
    before, inside = (depth / rms).unbind(1)
    # Each ray meets its absorber inside the crop somewhere along x.
    where = torch.rand(len(optics), *shape[:2], 1, generator=generator, device=device) * _ABSORBERS
    column = torch.linspace(0, 1, shape[2], device=device)
    met = torch.sigmoid((column - where) * shape[2] * pitch_um[2] / per_voxel(optics.stripe_um))
    return math.sqrt(0.5) * (before[..., None] + inside[..., None] * met)


def detection(optics: Optics, planes: int, spacing_um: float) -> Tensor:
    """[B, planes, 1, 1], share of the light that arrives from each plane.

    Loss on the way out, from plane 0 on, and bleaching in the order in which planes are taken.
    """
    device = optics.na.device
    z = torch.arange(planes, device=device)
    out = torch.exp(-(z * spacing_um) / optics.detection_length_um[:, None])
    kept = 1 - optics.bleaching[:, None] * z / max(planes - 1, 1)
    return (out * kept)[:, :, None, None]
