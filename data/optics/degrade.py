"""The same optics applied to a real volume: a worse image of what it shows."""

from __future__ import annotations

import torch
from torch import Tensor

from .camera import expose
from .light_sheet import Nodes
from .render import arriving_light
from .settings import Optics, per_voxel

_FLOOR, _TOP = 0.01, 0.999  # quantiles of a volume taken as no dye, and as filled with dye
_MOST_SAMPLED = 100_000


def degrade(
    volume: Tensor,
    voxel_size_um: tuple[float, float, float],
    optics: Optics,
    generator: torch.Generator,
    nodes: Nodes = (1, 1, 2),
) -> Tensor:
    """Image a real volume once more; its own intensities stand for dye.

    The volume brings its own blur and noise, which stay: use good volumes, and ranges of optics
    that are worse than theirs.

    Args:
        volume: [B, 1, Z, Y, X] intensities, linear in light (counts, not normalised by asinh).
        voxel_size_um: (z, y, x).
        optics: of the B samples, on the device of `volume`.
        generator: of that device.
        nodes: see `light_sheet.blur`.

    Returns:
        [B, 1, Z, Y, X] in the units of `volume`, gain and offset undone: comparable with it.
    """
    floor, top = _levels(volume)
    span = (top - floor).clamp(min=1e-6)
    density = ((volume - floor) / span).clamp(min=0)[:, 0]
    light = arriving_light(density, voxel_size_um, optics, generator, 1, nodes)
    counts = expose(light, optics, generator)

    photons = (counts - per_voxel(optics.offset)) / per_voxel(optics.counts_per_photon) - per_voxel(
        optics.background_photons
    )
    return (photons / per_voxel(optics.photons))[:, None] * span + floor


def _levels(volume: Tensor) -> tuple[Tensor, Tensor]:
    """Intensities [B, 1, 1, 1, 1] that stand for no dye and for filled with dye."""
    flat = volume.flatten(1).float()
    flat = flat[:, :: max(1, flat.shape[1] // _MOST_SAMPLED)]
    quantiles = torch.tensor([_FLOOR, _TOP], device=volume.device)
    floor, top = torch.quantile(flat, quantiles, dim=1)
    return floor.view(-1, 1, 1, 1, 1), top.view(-1, 1, 1, 1, 1)
