"""The physics of image formation: energy, widths, focus, tilt, aberration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from luxvox.data.optics import Optics, defocus_sweep, sharp_optics
from luxvox.data.optics.field import axes_um, defocus_map, sheet_width_um
from luxvox.data.optics.light_sheet import blur
from luxvox.data.optics.psf import BEAM_WAIST, FWHM_ACROSS, FWHM_ALONG, detection_psf


def bead(*shape: int) -> torch.Tensor:
    """[1, Z, Y, X], one voxel of dye in the middle."""
    volume = torch.zeros(1, *shape)
    volume[0, shape[0] // 2, shape[1] // 2, shape[2] // 2] = 1.0
    return volume


def fwhm(profile: torch.Tensor, pitch_um: float) -> float:
    """Full width at half maximum of a line through a peak: of a Gaussian fitted to its top."""
    values = profile.numpy().astype(float)
    top = np.flatnonzero(values > 0.3 * values.max())
    curve = np.polyfit(top * pitch_um, np.log(values[top]), 2)
    return math.sqrt(4 * math.log(2) / -curve[0])


def optics(**changes: float) -> Optics:
    return Optics.stack([sharp_optics(**changes)])


@pytest.mark.parametrize("psf", [0.0, 1.0])
@pytest.mark.parametrize("haze", [0.0, 0.3])
def test_blur_keeps_the_light(psf: float, haze: float) -> None:
    # Small sheet and halo, so that no light leaves the volume.
    lens = optics(
        na=0.4, sheet_waist_um=3.0, defocus_um=4.0, haze=haze, haze_um=4.0, scalar_psf=psf,
        index_mismatch=0.002, depth_um=300.0, scatter_um_per_mm=1.0,
    )  # fmt: skip
    out = blur(bead(41, 65, 65), (1.5, 1.0, 1.0), lens)
    assert float(out.sum()) == pytest.approx(1.0, rel=0.01)
    for axis in range(3):  # and where it is: kernel, scattering and halo have one middle
        place = (
            torch.arange(out.shape[1 + axis])
            * out.sum(dim=[d for d in (1, 2, 3) if d != 1 + axis])[0]
        )
        assert float(place.sum() / out.sum()) == pytest.approx(out.shape[1 + axis] // 2, abs=0.05)
    assert float(out.max()) < 0.5


# Pixels of a third of the width in focus, or finer; a sheet that some planes can follow.
@pytest.mark.parametrize("na", [0.15, 0.3, 0.6])
@pytest.mark.parametrize("fine", [1.0, 0.6])
@pytest.mark.parametrize("psf", [0.0, 1.0])
def test_a_bead_is_as_wide_as_the_lens_and_the_sheet_say(
    na: float, fine: float, psf: float
) -> None:
    wavelength, index, waist = 0.52, 1.45, 3.0
    across = FWHM_ACROSS * wavelength / na
    rayleigh = math.pi * index * (BEAM_WAIST * wavelength / na) ** 2 / wavelength
    along_lens = FWHM_ALONG * index * wavelength / na**2 if psf else 2 * rayleigh
    along_sheet = waist * math.sqrt(2 * math.log(2))
    along = 1 / math.hypot(1 / along_lens, 1 / along_sheet)
    # Anisotropic on purpose: a swapped axis gives a wrong width.
    pitch = (fine * along / 4, fine * across / 3, fine * across / 4)
    lens = optics(
        na=na, wavelength_um=wavelength, index=index, sheet_waist_um=waist, scalar_psf=psf
    )
    image = blur(bead(61, 41, 51), pitch, lens)[0]
    assert fwhm(image[:, 20, 25], pitch[0]) == pytest.approx(along, rel=0.1)
    # A pixel integrates the light that falls on it: its own width adds (variance p^2 / 12).
    for axis, line in ((1, image[30, :, 25]), (2, image[30, 20])):
        pixel = pitch[axis] * math.sqrt(8 * math.log(2) / 12)
        assert fwhm(line, pitch[axis]) == pytest.approx(math.hypot(across, pixel), rel=0.1)


def test_the_beam_spreads_as_its_waist_makes_it() -> None:
    lens = optics(na=0.3, wavelength_um=0.52, index=1.45, scalar_psf=0.0)
    far = torch.tensor([[[0.0, 40.0]]])
    images = detection_psf(lens, far, torch.zeros(1, 1), (40, 40), (0.25, 0.25))[0, 0]
    place = (torch.arange(81) - 40) * 0.25
    spread = (images.sum(1) * place**2).sum(1).sqrt() * 2  # 1/e^2 half widths, with the pixel's own
    near, wide = (spread.square() - 4 * 0.25**2 / 12).sqrt().tolist()
    assert near == pytest.approx(BEAM_WAIST * 0.52 / 0.3, rel=0.02)
    # Width in focus times angle is lambda / (pi n): less is no light.
    angle = math.sqrt(wide**2 - near**2) / 40.0
    assert near * angle == pytest.approx(0.52 / (math.pi * 1.45), rel=0.03)


def test_the_sheet_grows_away_from_its_waist() -> None:
    lens = optics(sheet_waist_um=2.0, sheet_offset_um=-40.0, na=0.1)
    x = torch.tensor([-40.0, 60.0])
    narrow, wide = sheet_width_um(lens, x)[0].tolist()
    assert narrow == pytest.approx(2.0)
    rayleigh = math.pi * 1.45 * 4 / 0.52
    assert wide == pytest.approx(2 * math.sqrt(1 + (100 / rayleigh) ** 2))
    volume = torch.zeros(1, 41, 9, 80)
    volume[0, 20, 4] = 1.0  # a thread along x
    image = blur(volume, (1.0, 1.0, 1.0), lens, nodes=(1, 1, 5))[0, :, 4]
    assert fwhm(image[:, 75], 1.0) > 1.5 * fwhm(image[:, 3], 1.0)


def test_tilt_bow_and_drift_are_in_the_defocus_map() -> None:
    lens = optics(defocus_um=1.0, tilt_x=0.05, tilt_y=-0.02, bow_per_mm=100.0, drift=0.1)
    z, y, x = axes_um((10, 20, 30), (3.0, 2.0, 1.0), torch.device("cpu"))
    defocus = defocus_map(lens, z, y, x, 15.0)[0]
    assert defocus.shape == (10, 20, 30)
    at = defocus[7, 3, 22]
    zc, yc, xc = 22.5, (3.5 - 10) * 2.0, 22.5 - 15
    expected = 1 + 0.05 * xc - 0.02 * yc + 100e-6 * (xc**2 + yc**2) + 0.1 * (zc - 15)
    assert float(at) == pytest.approx(expected, rel=1e-4)


def test_a_tilted_sheet_blurs_the_side_that_leaves_the_focal_plane() -> None:
    lens = optics(na=0.4, defocus_um=6.0, tilt_x=0.1, sheet_waist_um=2.0)  # in focus at the left
    volume = torch.zeros(1, 9, 41, 120)
    volume[0, 4, 20, ::8] = 1.0
    image = blur(volume, (1.0, 1.0, 1.0), lens, nodes=(1, 1, 5))[0, 4, 20]
    assert float(image[:32].max()) > 3 * float(image[-32:].max())


def test_an_index_mismatch_dims_beads_more_the_deeper_they_lie() -> None:
    distance, half, pitch = torch.zeros(1, 3, 1), (12, 12), (0.3, 0.3)
    depth = torch.tensor([[0.0, 1000.0, 4000.0]])
    peak = detection_psf(optics(na=0.8, index_mismatch=0.01), distance, depth, half, pitch)
    top = peak.amax((2, 3, 4))[0]
    assert top[0] > 1.05 * top[1]
    assert top[1] > 1.05 * top[2]
    plain = detection_psf(optics(na=0.8), distance, depth, half, pitch).amax((2, 3, 4))[0]
    assert torch.allclose(plain, plain[:1].expand(3), rtol=1e-4)


def test_aberration_makes_the_two_sides_of_focus_differ_and_a_good_lens_does_not() -> None:
    distance = torch.tensor([[[-8.0, 8.0]]])
    depth = torch.tensor([[3000.0]])
    for mismatch, differs in ((0.0, False), (0.01, True)):
        lens = optics(na=0.5, index_mismatch=mismatch)
        near, far = detection_psf(lens, distance, depth, (16, 16), (0.4, 0.4))[0, 0]
        assert (float((near - far).abs().sum()) > 0.1) is differs


def test_blur_is_differentiable_in_object_and_lens() -> None:
    lens = optics(na=0.3, defocus_um=2.0)
    lens.na.requires_grad_()
    lens.defocus_um.requires_grad_()
    volume = bead(9, 17, 17).requires_grad_()
    blur(volume, (1.0, 1.0, 1.0), lens, nodes=(1, 1, 1)).square().sum().backward()
    assert volume.grad is not None
    assert float(volume.grad.abs().sum()) > 0
    # A larger NA is sharper in focus, but loses more by defocus; here it gets worse by both.
    for parameter in (lens.na, lens.defocus_um):
        assert parameter.grad is not None
        assert float(parameter.grad.abs()) > 0
    step = 1e-3
    values = []
    for na in (0.3 - step, 0.3 + step):
        image = blur(bead(9, 17, 17), (1.0, 1.0, 1.0), optics(na=na, defocus_um=2.0), (1, 1, 1))
        values.append(float(image.square().sum()))
    assert float(lens.na.grad) == pytest.approx((values[1] - values[0]) / (2 * step), rel=0.05)


def normalised_variance(image: torch.Tensor) -> torch.Tensor:
    """Sharpness [P] of images [P, Y, X]: variance over squared mean; knows nothing of the model."""
    return image.var(dim=(1, 2)) / image.mean(dim=(1, 2)).square()


@pytest.mark.parametrize("best", [-7.0, 0.0, 4.0])
def test_the_slice_without_defocus_is_the_sharpest_of_a_sweep(best: float) -> None:
    generator = torch.Generator().manual_seed(3)
    dye = (torch.rand(1, 1, 21, 64, 64, generator=generator) > 0.998).float()
    positions = torch.arange(-12.0, 13.0)
    lens = optics(na=0.4, sheet_waist_um=2.0, defocus_um=-best, photons=3000.0, read_noise=1.0)
    sweep = defocus_sweep(dye, (1.5, 1.0, 1.0), lens, positions, generator)
    assert sweep.images.shape == (1, 1, 25, 64, 64)
    sharpness = normalised_variance(sweep.images[0, 0])
    assert float(positions[sharpness.argmax()]) == best
    assert float(sweep.defocus_um[0].abs().argmin()) == float(sharpness.argmax())
    order = sweep.defocus_um[0].abs().argsort(stable=True)
    ranks = torch.corrcoef(
        torch.stack([order.argsort().float(), sharpness.argsort(descending=True).argsort().float()])
    )
    assert float(ranks[0, 1]) > 0.9


def test_sweep_and_volume_agree_in_focus() -> None:
    generator = torch.Generator().manual_seed(5)
    dye = torch.rand(1, 1, 31, 40, 40, generator=generator)
    lens = optics(na=0.3, sheet_waist_um=3.0, defocus_um=2.5, photons=1e6)
    sweep = defocus_sweep(dye, (1.0, 1.0, 1.0), lens, torch.zeros(1), generator)
    image = blur(dye[:, 0], (1.0, 1.0, 1.0), lens, (1, 1, 1))[0, 15]
    assert torch.allclose(sweep.images[0, 0, 0] / 1e6, image.clamp(max=65535 / 1e6), atol=0.01)


def test_a_sheet_thinner_than_the_planes_are_apart_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="thinner than the planes"):
        blur(bead(9, 9, 9), (8.0, 1.0, 1.0), optics(sheet_waist_um=2.0))
