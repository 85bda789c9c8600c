"""What changes over the field of view: defocus, sheet thickness, depth, as maps in micrometres.

Coordinates: z from the first plane, y and x from the middle of the volume, all in um.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .settings import Optics


def axes_um(
    shape: Sequence[int], pitch_um: Sequence[float], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Voxel centres along each axis, [Z, 1, 1], [Y, 1] and [X]; z from the first plane's edge."""
    z, y, x = (
        (torch.arange(n, device=device) + 0.5) * p for n, p in zip(shape, pitch_um, strict=True)
    )
    return (
        z[:, None, None],
        (y - shape[1] * pitch_um[1] / 2)[:, None],
        x - shape[2] * pitch_um[2] / 2,
    )


def defocus_map(optics: Optics, z: Tensor, y: Tensor, x: Tensor, middle_z: float) -> Tensor:
    """Distance of the sheet from the focal plane, in um: what a focus model has to find.

    Args:
        optics: of B samples.
        z, y, x: places in um that broadcast against each other.
        y: see z.
        x: see z.
        middle_z: half the depth of the volume, where `optics.defocus_um` holds.

    Returns:
        [B, ...], the broadcast shape of z, y and x.
    """
    field = [1] * torch.broadcast_tensors(z, y, x)[0].ndim

    def of(name: str) -> Tensor:
        return getattr(optics, name).view(-1, *field)

    bow = of("bow_per_mm") * (y.square() + x.square()) * 1e-6
    return (
        of("defocus_um") + of("tilt_y") * y + of("tilt_x") * x + of("drift") * (z - middle_z) + bow
    )


def sheet_width_um(optics: Optics, x: Tensor) -> Tensor:
    """1/e^2 half thickness of the sheet at x [N] um: [B, N].

    A Gaussian beam: w0 sqrt(1 + (x / xR)^2), xR = pi n w0^2 / lambda (Siegman, Lasers, 1986, 17.1).
    """
    waist = optics.sheet_waist_um[:, None]
    length = math.pi * optics.index[:, None] * waist.square() / optics.wavelength_um[:, None]
    away = x - optics.sheet_offset_um[:, None]
    return waist * torch.sqrt(1 + (away / length).square())
