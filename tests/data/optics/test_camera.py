"""What tissue and camera do to the light, and that every effect has the size that it was given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.data.optics import Optics, OpticsRanges, degrade, draw_optics, image, sharp_optics
from luxvox.data.optics.camera import expose, mean_counts
from luxvox.data.optics.path import detection, illumination
from luxvox.data.optics.render import arriving_light
from luxvox.data.optics.storage import store


def optics(**changes: float) -> Optics:
    return Optics.stack([sharp_optics(**changes)])


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("photons", [5.0, 200.0])
@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_photon_noise_has_the_variance_of_its_mean(photons: float, gain: float) -> None:
    camera = optics(photons=photons, counts_per_photon=gain, offset=300.0, read_noise=0.0)
    counts = expose(torch.ones(1, 40, 60, 60), camera, noise())
    arrived = (counts - 300) / gain
    assert float(arrived.mean()) == pytest.approx(photons, rel=0.01)
    rounding = 1 / 12 / gain**2
    assert float(arrived.var()) == pytest.approx(photons + rounding, rel=0.03)
    assert float(mean_counts(torch.ones(1, 1, 1, 1), camera)) == pytest.approx(300 + gain * photons)


def test_dark_counts_are_offset_and_read_noise() -> None:
    counts = expose(torch.zeros(1, 20, 60, 60), optics(offset=110.0, read_noise=3.0), noise())
    assert float(counts.mean()) == pytest.approx(110, abs=0.1)
    assert float(counts.std()) == pytest.approx((9 + 1 / 12) ** 0.5, rel=0.03)


@pytest.mark.parametrize(("bits", "top"), [(12.0, 4095), (16.0, 65535)])
def test_bright_voxels_saturate_at_the_cameras_top(bits: float, top: int) -> None:
    light = torch.linspace(0, 200, 500).view(1, 1, 1, 500)
    counts = expose(light, optics(bits=bits, photons=1000.0), noise())
    assert float(counts.max()) == top
    assert bool((counts == counts.round()).all())
    assert float(counts.min()) >= 0


def test_hot_pixels_are_the_same_in_every_plane() -> None:
    counts = expose(torch.zeros(1, 6, 200, 200), optics(hot_pixels=2e-3, offset=100.0), noise())[0]
    hot = counts > 1000
    assert 0.5e-3 < float(hot.float().mean()) < 3e-3
    assert bool((hot == hot[:1]).all())


def test_light_is_lost_along_the_sheet_and_on_the_way_out() -> None:
    lens = optics(illumination_length_um=200.0, detection_length_um=500.0)
    lit = illumination(lens, (4, 8, 100), (5.0, 2.0, 2.0), noise())[0, 0, 4]
    assert float(lit[60] / lit[10]) == pytest.approx(np.exp(-50 * 2 / 200), rel=1e-3)
    out = detection(lens, 50, 5.0)[0, :, 0, 0]
    assert float(out[0]) == pytest.approx(1.0)
    assert float(out[40] / out[10]) == pytest.approx(np.exp(-30 * 5 / 500), rel=1e-3)
    bleached = detection(optics(bleaching=0.2), 50, 5.0)[0, :, 0, 0]
    assert float(bleached[-1]) == pytest.approx(0.8)


def test_the_sheet_is_dimmer_at_its_edges() -> None:
    lit = illumination(optics(unevenness=0.3), (2, 101, 4), (1.0, 1.0, 1.0), noise())[0, 0, :, 0]
    assert float(lit[50]) == pytest.approx(1.0, abs=1e-3)
    assert float(lit[0]) == pytest.approx(0.7, abs=0.01)


def test_shadows_run_along_the_sheet_and_only_darken() -> None:
    lit = illumination(optics(stripes=0.5, stripe_um=6.0), (40, 80, 80), (1.5, 1, 1), noise())[0]
    assert float(lit.max()) <= 1
    assert float(lit.min()) > 0
    # Deeper on the far side, and smoother along x than across it.
    assert float(lit[..., -1].mean()) < float(lit[..., 0].mean())
    assert float(lit.diff(dim=2).abs().mean()) < 0.3 * float(lit.diff(dim=1).abs().mean())
    assert float(illumination(optics(), (4, 4, 4), (1, 1, 1), noise()).min()) == 1


def test_later_smoothing_has_its_width_and_keeps_the_mean() -> None:
    point = torch.zeros(2, 9, 9, 9)
    point[:, 4, 4, 4] = 1e4
    lens = Optics.stack([sharp_optics(smoothing_px=0.5), sharp_optics()])
    smooth, plain = store(point, lens)
    assert torch.equal(plain, point[1])
    assert float(smooth.sum()) == pytest.approx(1e4, rel=0.01)
    place = torch.arange(9.0) - 4
    for axes in ((1, 2), (0, 2), (0, 1)):
        line = smooth.sum(dim=axes)
        assert float((line * place.square()).sum() / line.sum()) == pytest.approx(0.25, rel=0.05)


def test_background_is_taken_off_and_eight_bits_have_256_levels() -> None:
    counts = (1000 + 500 * torch.rand(2, 20, 30, 30, generator=noise())).round()
    lens = Optics.stack([sharp_optics(subtracted=0.3), sharp_optics(eight_bit=1.0)])
    cut, squeezed = store(counts, lens)
    assert float((cut == 0).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(cut.max()) == pytest.approx(500 * 0.7, abs=20)
    assert float(squeezed.max()) == 255
    assert len(squeezed.unique()) <= 256
    assert torch.corrcoef(torch.stack([squeezed.flatten(), counts[1].flatten()]))[0, 1] > 0.99


def test_noise_comes_after_the_blur() -> None:
    dye = torch.full((1, 1, 8, 64, 64), 0.5)
    lens = optics(na=0.1, defocus_um=20.0, photons=100.0)
    counts = image(dye, (1.0, 1.0, 1.0), lens, noise())[0, 0]
    residual = counts - counts.mean()
    neighbours = (residual[..., 1:] * residual[..., :-1]).mean() / residual.var()
    assert abs(float(neighbours)) < 0.03


def test_planes_are_sampled_not_summed() -> None:
    dye = torch.zeros(1, 1, 12, 16, 16)
    dye[:, :, 4] = 1.0
    lens = optics(na=0.5, sheet_waist_um=1.6)
    counts = image(dye, (1.0, 1.0, 1.0), lens, noise(), z_step=3)[0, 0].mean((1, 2))
    assert counts.shape == (4,)
    assert int(counts.argmax()) == 1  # fine plane 4 is the middle one of the second step
    assert float(counts[1]) > 5 * float(counts[0])


def test_same_generator_same_image_and_another_differs() -> None:
    dye = torch.rand(2, 1, 12, 24, 24, generator=noise(1))
    samples = [draw_optics(OpticsRanges(), np.random.default_rng(i)) for i in range(2)]
    lens = Optics.stack(samples)
    first, again, other = (image(dye, (1.0, 1.0, 1.0), lens, noise(seed)) for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert lens.sample(1) == pytest.approx(samples[1], rel=1e-5)


def test_drawn_parameters_lie_in_their_ranges_and_vary() -> None:
    ranges = OpticsRanges()
    drawn = [draw_optics(ranges, np.random.default_rng(i)) for i in range(200)]
    for name, span in ranges:
        if not isinstance(span, tuple):
            continue
        for key in ("tilt_y", "tilt_x") if name == "tilt" else (name,):
            values = np.array([sample[key] for sample in drawn])
            if name in ("smoothing_px", "subtracted"):  # 0 where the volume was left alone
                assert 0.1 < (values > 0).mean() < 0.6
                values = values[values > 0]
            assert span[0] <= values.min()
            assert values.max() <= span[1]
            assert values.std() > 0
    assert {sample["bits"] for sample in drawn} == {12.0, 16.0}


def test_degrade_keeps_the_units_of_a_volume() -> None:
    blocks = (torch.rand(1, 1, 4, 12, 12, generator=noise(2)) > 0.9).float()
    volume = 500 + 3000 * torch.nn.functional.interpolate(blocks, scale_factor=4)
    good = degrade(
        volume, (1.0, 0.4, 0.4), optics(na=0.8, sheet_waist_um=0.6, photons=1e4), noise()
    )
    assert float(good.mean()) == pytest.approx(float(volume.mean()), rel=0.05)
    bad = degrade(volume, (1.0, 0.4, 0.4), optics(na=0.15, photons=50.0, offset=100.0), noise())
    assert float(bad.mean()) == pytest.approx(float(volume.mean()), rel=0.1)

    def error(image: torch.Tensor) -> float:
        return float((image - volume).square().mean())

    assert error(good) < 0.5 * error(bad)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"na": 1.6}, "refractive index"),
        ({"wavelength_um": 0.0}, "wavelength"),
        ({"sheet_waist_um": 0.0}, "sheet"),
    ],
)
def test_impossible_optics_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        optics(**wrong)


def test_impossible_ranges_are_refused() -> None:
    with pytest.raises((InputError, ValueError), match="NA"):
        OpticsRanges(na=(0.2, 1.4), index=(1.33, 1.5))
    with pytest.raises(ValueError, match="smaller number first"):
        OpticsRanges(na=(0.5, 0.2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_gives_the_cpus_light() -> None:
    dye = torch.rand(2, 12, 40, 40, generator=noise())
    drawn = [
        draw_optics(OpticsRanges(stripes=(0.0, 0.0)), np.random.default_rng(i)) for i in (0, 1)
    ]
    lens = Optics.stack(drawn)
    here = arriving_light(dye, (1.5, 1.0, 1.0), lens, noise(), 2, (1, 1, 2))
    there = arriving_light(
        dye.cuda(), (1.5, 1.0, 1.0), lens.to("cuda"), torch.Generator("cuda"), 2, (1, 1, 2)
    )
    assert torch.allclose(here, there.cpu(), atol=1e-4)
