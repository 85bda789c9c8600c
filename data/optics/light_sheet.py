"""Light-sheet image formation: what the sheet lights up, blurred by where it lies out of focus.

I(z) = sum over u of sheet(u) * (O(z + u) convolved in the plane with h(u + defocus)): the plane
that is imaged gathers light from all depths that the sheet reaches, each with the blur of its
distance from the focal plane. Thickness, defocus and depth change over the field of view; kernels
are made at a few nodes and their images blended in between (Nagy and O'Leary, SIAM J. Sci. Comput.
19, 1063 (1998)).
"""

from __future__ import annotations

import math
from itertools import product

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional as F

from .field import defocus_map, sheet_width_um
from .psf import detection_psf
from .settings import Optics, per_voxel, warn_thin_sheet

Nodes = tuple[int, int, int]

_SHEET_REACH = 1.5  # in 1/e^2 half thicknesses: 99.7 % of the light
_MOST_HALF = (48, 24)  # planes and pixels that a kernel may reach to either side


def blur(
    density: Tensor,
    pitch_um: tuple[float, float, float],
    optics: Optics,
    nodes: Nodes = (1, 1, 2),
) -> Tensor:
    """Image a distribution of dye with a light sheet; its total light is conserved.

    Args:
        density: [B, Z, Y, X] dye (after the illumination), not negative.
        pitch_um: (z, y, x) of its voxels.
        optics: of the B samples.
        nodes: kernels along (z, y, x). One is enough where nothing changes along an axis; defocus
            should change by less than its depth of field from node to node.

    Returns:
        [B, Z, Y, X], light in the planes and pixels of the camera.
    """
    warn_thin_sheet(float(optics.sheet_waist_um.detach().min()), pitch_um[0])
    shape = tuple(density.shape[1:])
    place = _node_places(shape, pitch_um, nodes)
    kernel = _kernels(optics, place, shape, pitch_um)
    half = [side // 2 for side in kernel.shape[2:]]
    padded = _pad(density, half)
    size = [int(next_fast_len(n + 2 * h, real=True) or 0) for n, h in zip(shape, half, strict=True)]
    spectrum = torch.fft.rfftn(padded, s=size, dim=(1, 2, 3))
    result = torch.zeros_like(density)
    for number, weight in enumerate(_blend_weights(shape, nodes, density.device)):
        transfer = _transfer(optics, kernel[:, number], place[number][0], size, pitch_um)
        image = torch.fft.irfftn(spectrum * transfer, s=size, dim=(1, 2, 3))
        # A kernel of side 2 h + 1 whose middle is at h delays by h; the padding adds h more.
        image = image[
            :,
            2 * half[0] : 2 * half[0] + shape[0],
            2 * half[1] : 2 * half[1] + shape[1],
            2 * half[2] : 2 * half[2] + shape[2],
        ]
        result = result + weight * image
    return result.clamp(min=0)


def _node_places(
    shape: tuple[int, ...], pitch_um: tuple[float, float, float], nodes: Nodes
) -> list[tuple[float, float, float]]:
    """(z, y, x) in um of the nodes, z-major: ends of an axis, or its middle where there is one."""
    extent = [n * p for n, p in zip(shape, pitch_um, strict=True)]
    start = (0.0, -extent[1] / 2, -extent[2] / 2)
    along = [
        [s + e * (k / (n - 1) if n > 1 else 0.5) for k in range(n)]
        for s, e, n in zip(start, extent, nodes, strict=True)
    ]
    return [(z, y, x) for z, y, x in product(*along)]


def _blend_weights(shape: tuple[int, ...], nodes: Nodes, device: torch.device) -> list[Tensor]:
    """[Z, Y, X] (broadcast) weight of every node, z-major: linear between nodes, 1 in sum."""
    along = []
    for count, side in zip(nodes, shape, strict=True):
        if count == 1:
            along.append(torch.ones(1, 1, device=device))
            continue
        at = (torch.arange(side, device=device) + 0.5) / side * (count - 1)
        node = torch.arange(count, device=device)[:, None]
        along.append((1 - (at - node).abs()).clamp(min=0))
    return [
        along[0][a][:, None, None] * along[1][b][:, None] * along[2][c]
        for a, b, c in product(*(range(n) for n in nodes))
    ]


def _kernels(
    optics: Optics,
    places: list[tuple[float, float, float]],
    shape: tuple[int, ...],
    pitch_um: tuple[float, float, float],
) -> Tensor:
    """[B, N, Kz, Ky, Kx], one kernel for each node, 1 in sum, for a convolution."""
    device = optics.na.device
    z, y, x = (torch.tensor(axis, device=device) for axis in zip(*places, strict=True))  # [N] each
    width = sheet_width_um(optics, x)  # [B, N]
    defocus = defocus_map(optics, z, y, x, shape[0] * pitch_um[0] / 2)  # [B, N]
    depth = optics.depth_um[:, None] + z
    offset, sheet = sheet_profile(width, pitch_um[0])  # [K], [B, N, K]
    furthest = float(offset.max()) + float(defocus.detach().abs().max())
    half = tuple(half_side(optics, furthest, pitch) for pitch in pitch_um[1:])
    psf = detection_psf(optics, offset + defocus[..., None], depth, half, pitch_um[1:])
    # I(z) gathers O(z + u), a correlation; a convolution wants the planes in reverse.
    return (sheet[..., None, None] * psf).flip(2)


def sheet_profile(width_um: Tensor, pitch_um: float) -> tuple[Tensor, Tensor]:
    """Light of the sheet in the planes around its middle.

    Args:
        width_um: [...], 1/e^2 half thickness.
        pitch_um: distance of planes.

    Returns:
        Offsets [K] in um, the middle one 0, and light [..., K], 1 in sum.
    """
    reach_um = float((_SHEET_REACH * width_um).detach().max())
    planes = max(1, min(math.ceil(reach_um / pitch_um), _MOST_HALF[0]))
    offset = torch.arange(-planes, planes + 1, device=width_um.device) * pitch_um
    light = torch.exp(-2 * (offset / width_um[..., None]).square())
    return offset, light / light.sum(-1, keepdim=True)


def half_side(optics: Optics, distance_um: float, pitch_um: float) -> int:
    """Pixels from the middle of a kernel to its edge: the light cone, and three Airy radii."""
    sine = (optics.na / optics.index).clamp(max=0.95)
    cone = distance_um * sine / torch.sqrt(1 - sine.square())
    radius = cone + 3 * 0.61 * optics.wavelength_um / optics.na
    return max(1, min(math.ceil(float(radius.detach().max()) / pitch_um), _MOST_HALF[1]))


def _transfer(
    optics: Optics,
    kernel: Tensor,
    z_um: float,
    size: list[int],
    pitch_um: tuple[float, float, float],
) -> Tensor:
    """[B, Z, Y, X/2 + 1]: a kernel [B, Kz, Ky, Kx], blurred by scattering, with its halo.

    Scattering blurs more with depth (z_um below the first plane), across only. Transformed axis by
    axis, because most of the padded kernel is empty.
    """
    device = optics.na.device
    # The transfer function of the discrete Gaussian (Lindeberg, IEEE PAMI 12, 234 (1990)) never
    # rings: a sampled Gaussian narrower than a pixel would make light negative beside points.
    frequency = (
        torch.fft.fftfreq(size[0], device=device),
        torch.fft.fftfreq(size[1], device=device),
        torch.fft.rfftfreq(size[2], device=device),
    )
    bend = [
        (1 - torch.cos(2 * math.pi * f)) / pitch**2
        for f, pitch in zip(frequency, pitch_um, strict=True)
    ]
    sigma = optics.scatter_um_per_mm * (optics.depth_um + z_um) * 1e-3
    across = [torch.exp(-sigma.square()[:, None] * axis) for axis in bend[1:]]
    share = per_voxel(optics.haze)
    out = torch.fft.rfft(kernel * (1 - share), n=size[2], dim=3) * across[1][:, None, None]
    out = torch.fft.fft(out, n=size[1], dim=2) * across[0][:, None, :, None]
    out = torch.fft.fft(out, n=size[0], dim=1)
    if not bool((optics.haze > 0).any()):
        return out
    halo = [torch.exp(-optics.haze_um.square()[:, None] * axis) for axis in bend]
    plane = share[:, 0] * halo[1][:, :, None] * halo[2][:, None]  # [B, Y, X/2 + 1]
    # Kernels stand in the corner of the volume, so the halo's middle has to be moved there too.
    middle = [k // 2 for k in kernel.shape[1:]]
    turn = [
        torch.polar(torch.ones_like(f), -2 * math.pi * f * m)
        for f, m in zip(frequency, middle, strict=True)
    ]
    plane = plane * (turn[1][:, None] * turn[2])
    return out + (halo[0] * turn[0])[:, :, None, None] * plane[:, None]


def _pad(density: Tensor, half: list[int]) -> Tensor:
    """Continue a volume beyond its faces by its mirror image, as far as kernels reach.

    Mirrored, not zero: tissue goes on, and edges must not darken. Padding that is longer than the
    volume goes on with the last value.
    """
    mirrored = [min(h, n - 1) for h, n in zip(half, density.shape[1:], strict=True)]
    rest = [h - m for h, m in zip(half, mirrored, strict=True)]
    sides = [side for h in reversed(mirrored) for side in (h, h)]
    out = F.pad(density[:, None], sides, mode="reflect")
    if any(rest):
        out = F.pad(out, [side for h in reversed(rest) for side in (h, h)], mode="replicate")
    return out[:, 0]
