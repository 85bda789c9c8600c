"""A through-focus series: the objective moves over one plane that the sheet keeps lighting up."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .camera import expose
from .field import sheet_width_um
from .light_sheet import half_side, sheet_profile
from .path import illumination
from .psf import detection_psf
from .settings import Optics


class Sweep(NamedTuple):
    """A series of images of the same content. B samples, P positions of the objective.

    images: [B, 1, P, Y, X] camera counts.
    defocus_um: [B, P], sheet minus focal plane at each position; 0 is in focus.
    """

    images: Tensor
    defocus_um: Tensor


def defocus_sweep(
    volume: Tensor,
    voxel_size_um: tuple[float, float, float],
    optics: Optics,
    positions_um: Tensor,
    generator: torch.Generator,
    plane: int | None = None,
) -> Sweep:
    """Move the objective through focus over one plane of a volume.

    Args:
        volume: [B, 1, Z, Y, X] dye, 1 = filled; sharp, on planes of `voxel_size_um`.
        voxel_size_um: (z, y, x).
        optics: of the B samples; `defocus_um` is where z* lies: an objective at position p has a
            defocus of p + `defocus_um`.
        positions_um: [P], of the objective.
        generator: of the device of `volume`.
        plane: which one the sheet lights up; None takes the middle one.

    Returns:
        Images and the true defocus of each. Noise is drawn anew for every image, after the blur;
        the dye bleaches in the order of the positions.
    """
    shape = tuple(volume.shape[2:])
    middle = shape[0] // 2 if plane is None else plane
    lit = volume[:, 0] * illumination(optics, shape, voxel_size_um, generator)
    defocus = positions_um + optics.defocus_um[:, None]  # [B, P]
    width = sheet_width_um(optics, positions_um.new_zeros(1))  # [B, 1], in the middle of the crop
    offset, sheet = sheet_profile(width, voxel_size_um[0])  # [K], [B, 1, K]
    furthest = float(offset.max()) + float(defocus.abs().max())
    half = tuple(
        min(half_side(optics, furthest, pitch), n - 1)
        for pitch, n in zip(voxel_size_um[1:], shape[1:], strict=True)
    )
    depth = (optics.depth_um[:, None] + (middle + 0.5) * voxel_size_um[0]).expand(defocus.shape)
    psf = detection_psf(optics, offset + defocus[..., None], depth, half, voxel_size_um[1:])
    kernel = sheet[..., None, None] * psf  # [B, P, K, Ky, Kx]
    planes = (middle + torch.arange(len(offset)) - len(offset) // 2).clamp(0, shape[0] - 1)
    padded = F.pad(
        lit[:, planes.to(lit.device)], (half[1], half[1], half[0], half[0]), mode="reflect"
    )  # [B, K, Y + .., X + ..]
    size = padded.shape[2:]
    spectrum = torch.fft.rfft2(padded)[:, None] * torch.fft.rfft2(kernel, s=size)
    light = torch.fft.irfft2(spectrum.sum(2), s=size)[..., 2 * half[0] :, 2 * half[1] :]
    count = len(positions_um)
    taken = torch.arange(count, device=light.device) / max(count - 1, 1)
    kept = 1 - optics.bleaching[:, None] * taken  # [B, P]
    light = light.clamp(min=0) * kept[:, :, None, None]
    return Sweep(expose(light, optics, generator)[:, None], defocus)
