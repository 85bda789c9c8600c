"""Detection point spread functions, integrated over pixels.

Scalar diffraction: Born and Wolf, Principles of Optics, 8.8, with the phase of an index mismatch
(Gibson and Lanni, J. Opt. Soc. Am. A 8, 1601 (1991)) after the best focus was found again.
Gaussian: the beam that is as wide in focus as that Airy disk. How it spreads follows from its waist
(Siegman, Lasers, 1986, 17.1): zR = pi n w0^2 / lambda = 0.60 n lambda / NA^2. No beam of that width
spreads more slowly, so it cannot be as long as the lens's focus as well (0.89 in place of 0.60).
Far from focus its blur is 0.73 times that of the lens, by the root of second moments: the blur of a
lens whose pupil grows dark towards its rim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .settings import Optics

FWHM_ACROSS = 0.514
"""Full width at half maximum of an Airy disk, in wavelength / NA: 2 * 1.6163 / (2 pi)."""
FWHM_ALONG = 1.772
"""The same along z, in index * wavelength / NA^2: sinc^2 is 1/2 at 0.886 of its half width / 2."""
BEAM_WAIST = FWHM_ACROSS / math.sqrt(2 * math.log(2))
"""1/e^2 half width of the beam with that FWHM across, in wavelength / NA."""

_PUPIL_POINTS = 64
_SUBPIXELS = 3


class _BesselJ0(torch.autograd.Function):
    """J0 with its derivative, -J1, which torch does not know."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        """J0 of every element."""
        ctx.save_for_backward(x)
        return torch.special.bessel_j0(x)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> Tensor:
        """Chain rule."""
        (x,) = ctx.saved_tensors
        return -grad_outputs[0] * torch.special.bessel_j1(x)


def detection_psf(
    optics: Optics,
    distance_um: Tensor,
    depth_um: Tensor,
    half: Sequence[int],
    pitch_um: Sequence[float],
) -> Tensor:
    """Images of points at some distance from the focal plane.

    Args:
        optics: of B samples.
        distance_um: [B, N, K], of the point from the focal plane, towards the lens positive.
        depth_um: [B, N], of the point below the surface: how much an index mismatch aberrates.
        half: kernel size is 2 * half + 1 pixels along (y, x).
        pitch_um: pixel (y, x).

    Returns:
        [B, N, K, 2 * half_y + 1, 2 * half_x + 1], light per pixel; every image sums to 1, because
        all light that the lens collects passes through every plane.
    """
    weights, radii = _radial_weights(half, pitch_um, distance_um.device)
    scalar = _scalar_profile(optics, distance_um, depth_um, radii)
    gaussian = _gaussian_profile(optics, distance_um, radii)
    chosen = optics.scalar_psf[:, None, None, None] > 0.5
    image = torch.where(chosen, scalar, gaussian) @ weights
    image = image / image.sum(-1, keepdim=True)
    return image.unflatten(-1, (2 * half[0] + 1, 2 * half[1] + 1))


def _scalar_profile(optics: Optics, distance: Tensor, depth: Tensor, radii: Tensor) -> Tensor:
    """[B, N, K, R], intensity at radii [R] by the diffraction integral over the pupil."""
    step = 1.0 / _PUPIL_POINTS
    rho = (torch.arange(_PUPIL_POINTS, device=radii.device) + 0.5) * step  # [M], pupil radius
    na, index = optics.na[:, None], optics.index[:, None]
    wave = 2 * math.pi / optics.wavelength_um[:, None]  # [B, 1]
    axial = torch.sqrt(index.square() - (na * rho).square())  # [B, M], along z, in units of wave
    spherical = _spherical_phase(optics, rho, axial)  # [B, M], um of path per um of depth
    phase = wave[:, None, None] * (
        distance[..., None] * axial[:, None, None]
        + (depth[..., None] * spherical[:, None])[:, :, None]
    )  # [B, N, K, M]
    bessel = _BesselJ0.apply((wave * na)[..., None] * radii[:, None] * rho)  # [B, R, M]
    ring = (rho * step).to(phase.dtype)
    pupil = torch.stack([phase.cos() * ring, phase.sin() * ring], dim=1)  # [B, 2, N, K, M]
    field = pupil @ bessel.transpose(1, 2)[:, None, None]
    return field.square().sum(1)


def _spherical_phase(optics: Optics, rho: Tensor, axial: Tensor) -> Tensor:
    """[B, M]: path difference per um of depth, without piston and defocus.

    Moving the focus makes up for what looks like defocus; only the rest spoils the image.
    """
    tissue = optics.index + optics.index_mismatch
    # Rays that the thinner medium would reflect totally do not get through; they are kept at the
    # rim, which matters for mismatches far beyond those of cleared tissue only.
    inside = (tissue[:, None].square() - (optics.na[:, None] * rho).square()).clamp(min=1e-4)
    path = inside.sqrt() - axial
    weight = rho / rho.sum()
    flat = axial - (axial * weight).sum(-1, keepdim=True)
    path = path - (path * weight).sum(-1, keepdim=True)
    share = (path * flat * weight).sum(-1, keepdim=True) / (flat.square() * weight).sum(
        -1, keepdim=True
    )
    return path - share * flat


def _gaussian_profile(optics: Optics, distance: Tensor, radii: Tensor) -> Tensor:
    """[B, N, K, R], a Gaussian beam with the width of the diffraction limit."""
    waist = BEAM_WAIST * optics.wavelength_um / optics.na
    rayleigh = math.pi * optics.index * waist.square() / optics.wavelength_um
    widened = 1 + (distance / rayleigh[:, None, None]).square()
    variance = (waist / 2).square()[:, None, None] * widened
    return torch.exp(-0.5 * radii.square() / variance[..., None]) / variance[..., None]


def _radial_weights(
    half: Sequence[int], pitch_um: Sequence[float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """How the profile at radii [R] fills the pixels of a kernel: [R, pixels], and the radii in um.

    Every pixel averages a few points inside it, which a camera pixel does with the light.
    """
    offset = (torch.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5
    y, x = (
        ((torch.arange(-h, h + 1)[:, None] + offset) * pitch).abs()
        for h, pitch in zip(half, pitch_um, strict=True)
    )  # [pixels, S] each
    radius = torch.sqrt(y[:, None, :, None].square() + x[None, :, None, :].square()).flatten(2)
    radius = radius.flatten(0, 1)  # [pixels, S * S]
    step = min(pitch_um) / 4
    place = radius / step
    low = place.floor().long()
    count = int(low.max()) + 2
    share = place - low
    weights = torch.zeros(count, len(radius))
    for index, part in ((low, 1 - share), (low + 1, share)):
        weights.scatter_add_(0, index.T, part.T)
    radii = torch.arange(count) * step
    return (weights / radius.shape[1]).to(device), radii.to(device)
