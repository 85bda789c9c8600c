"""Classical measures, the survey of a stack, and the gate."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import fft, ndimage

from luxvox.configs.errors import InputError
from luxvox.data.draws import keyed_rng
from luxvox.data.optics.camera import expose
from luxvox.data.optics.settings import Optics, OpticsRanges, draw_optics
from luxvox.data.optics.storage import store
from luxvox.data.sharpness import (
    MEASURES,
    SUPPORT_PX,
    cut_tiles,
    measure_sharpness,
    spectra,
    tile_sides,
)
from luxvox.data.sharpness_gate import judge_slices
from luxvox.data.sharpness_hot import BEAD, mend
from luxvox.data.sharpness_survey import survey_slices

Z = 17
FOCUS = 9


def scene(rng: np.random.Generator, side: int) -> np.ndarray:
    """Points and threads, sharp."""
    image = np.zeros((side, side), np.float32)
    places = rng.integers(0, side, (side // 2, 2))
    image[places[:, 0], places[:, 1]] = rng.uniform(3, 10, len(places))
    for _ in range(side // 24):
        angle, (y, x) = rng.uniform(0, 2 * np.pi), rng.uniform(0, side, 2)
        for _ in range(2 * side):
            angle += rng.normal(0, 0.05)
            y, x = (y + 0.5 * np.sin(angle)) % side, (x + 0.5 * np.cos(angle)) % side
            image[int(y), int(x)] += 0.5
    return image


def sweep(seed: int = 0, photons: float = 60.0, bleaching: float = 0.0) -> torch.Tensor:
    """[17, 192, 192] camera counts, in focus at slice 9."""
    rng = keyed_rng("sharpness test", seed, 0)
    sharp = scene(rng, 192)
    planes = []
    for z in range(Z):
        blur = math.hypot(1.2, 0.9 * (z - FOCUS))
        light = ndimage.gaussian_filter(sharp, blur, mode="wrap") * photons
        light = light * (1 - bleaching * z / (Z - 1)) + 5
        planes.append(rng.poisson(light) + rng.normal(100, 2, light.shape))
    return torch.from_numpy(np.stack(planes).astype(np.float32))


def scores(stack: torch.Tensor, name: str, drifts: bool = True) -> np.ndarray:
    z = torch.arange(len(stack)).float()
    found = judge_slices(stack, z, survey_slices(stack, z.tolist(), None, drifts), (name,))
    return found.over_tiles(found.measures[name]).numpy()


def reasons(stack: torch.Tensor, largest: float | None = None) -> list[str]:
    z = torch.arange(len(stack)).float()
    return judge_slices(stack, z, survey_slices(stack, z.tolist(), largest)).reasons


def test_energies_are_those_of_filters_in_space():
    rng = keyed_rng("sharpness test", 1, 0)
    tile = ndimage.gaussian_filter(rng.random((40, 56)), 1.0)
    found = spectra(torch.from_numpy(tile).float()[None, None, None])
    quiet = replace(found, noise=torch.zeros_like(found.noise))
    ours = {name: float(value) for name, value in measure_sharpness(quiet).items()}
    for image, end in ((tile, ""), (ndimage.gaussian_filter(tile, 1.5), "_filtered")):
        sobel = [ndimage.sobel(image, axis) for axis in (0, 1)]
        steps = [ndimage.correlate1d(image, [-1, 0, 1], axis) for axis in (0, 1)]
        wanted = {
            "tenengrad": np.mean(sobel[0] ** 2 + sobel[1] ** 2),
            "brenner": np.mean(steps[0] ** 2 + steps[1] ** 2),
            "laplacian_variance": np.var(ndimage.laplace(image)),
            "normvar": image.var() / image.mean(),
            "tamura": math.sqrt(image.std() / image.mean()),
            "smd": sum(np.abs(np.diff(image, axis=axis)).mean() for axis in (0, 1)),
        }
        for name, value in wanted.items():
            assert ours[name + end] == pytest.approx(value, rel=2e-3), name


def test_dcts_is_the_entropy_of_the_normalised_dct():
    rng = keyed_rng("sharpness test", 2, 0)
    tile = ndimage.gaussian_filter(rng.random((48, 60)), 0.8)
    amplitude = np.abs(fft.dctn(tile, norm="ortho"))
    share = amplitude / np.sqrt((amplitude**2).sum())
    rows, columns = int(48 / SUPPORT_PX), int(60 / SUPPORT_PX)
    inside = np.add.outer(np.arange(rows) / rows, np.arange(columns) / columns) < 1
    kept = share[:rows, :columns][inside]
    wanted = -2 / (rows * columns) * np.sum(kept * np.log2(kept))
    ours = measure_sharpness(spectra(torch.from_numpy(tile).float()[None, None, None]), ["dcts"])
    assert float(ours["dcts"]) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_finds_the_focus_of_a_bright_sweep(name):
    assert abs(int(scores(sweep(photons=400), name).argmax()) - FOCUS) <= 1


@pytest.mark.parametrize(
    "name", ["dcts", "tenengrad_filtered", "brenner_filtered", "normvar_filtered", "smd"]
)
def test_gain_and_offset_change_nothing(name):
    stack = sweep()
    np.testing.assert_allclose(
        scores(3.7 * stack + 250, name), scores(stack, name), rtol=0.01, atol=1e-5
    )


@pytest.mark.parametrize("name", ["dcts", "tenengrad_filtered", "brenner_filtered"])
def test_bleaching_by_60_percent_does_not_move_the_best_slice(name):
    assert abs(int(scores(sweep(bleaching=0.6), name).argmax()) - FOCUS) <= 1


def test_white_noise_has_no_energy():
    noise = torch.from_numpy(keyed_rng("sharpness test", 3, 0).normal(0, 1, (1, 512, 512))).float()
    found = spectra(cut_tiles(noise))
    assert float(found.noise.mean()) == pytest.approx(1, abs=0.05)
    energy = measure_sharpness(found, ["tenengrad_filtered", "brenner_filtered"])
    unfreed = replace(found, noise=torch.zeros_like(found.noise))
    with_noise = measure_sharpness(unfreed, list(energy))
    for name, value in energy.items():
        assert abs(float(value.mean())) < 0.1 * float(with_noise[name].mean())


def test_hot_pixels_are_mended_and_do_not_win():
    stack = sweep(photons=30)
    clean = int(scores(stack, "brenner_filtered").argmax())
    places = keyed_rng("sharpness test", 4, 0).integers(1, 191, (40, 2))
    stack[:, places[:, 0], places[:, 1]] += 5000
    stack[2, places[:, 0], places[:, 1]] += 9000  # brighter still where nothing is sharp
    survey = survey_slices(stack, list(range(Z)))
    assert len(survey.hot) >= 0.9 * len({(y, x) for y, x in places.tolist()})
    assert abs(int(scores(stack, "brenner_filtered").argmax()) - clean) <= 1
    mended = mend(stack, survey.hot)
    assert float(mended.max()) < 5000


def test_beads_are_no_hot_pixels():
    bead = np.zeros((1, 64, 64))
    bead[0, 20, 30] = bead[0, 44, 12] = 4000
    image = ndimage.gaussian_filter(bead, (0, 0.7, 0.7))
    image += keyed_rng("sharpness test", 5, 0).normal(100, 2, image.shape)
    assert not len(survey_slices(torch.from_numpy(image).float(), [0.0]).hot)


EMPTY = {
    "white": lambda rng, shape: np.round(rng.normal(100, 3, shape)),
    "few photons": lambda rng, shape: rng.poisson(2, shape),
    "black": lambda rng, shape: np.zeros(shape),
    "smoothed": lambda rng, shape: ndimage.gaussian_filter(rng.normal(100, 5, shape), 0.9),
    "uneven": lambda rng, shape: rng.poisson(
        np.broadcast_to(50 * (1 - 0.3 * np.linspace(-1, 1, shape[1]) ** 2), shape)
    ),
    "struck": lambda rng, shape: rng.normal(100, 3, shape) + 500 * (rng.random(shape) < 2e-5),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_empty_slices_never_pass(kind):
    for seed in range(60):
        rng = keyed_rng("empty", seed, 0)
        planes = np.stack([EMPTY[kind](rng, (128, 128)) for _ in range(3)]).astype(np.float32)
        assert set(reasons(torch.from_numpy(planes))) == {"empty"}


@pytest.mark.slow
def test_the_simulated_camera_without_dye_has_no_score():
    """1,040 slices over all ranges of camera and storage: smoothed, cut off at zero, 8 bits."""
    passed = 0
    for number in range(130):
        rng = keyed_rng("empty camera", 11, number)
        optics = Optics.stack([draw_optics(OpticsRanges(), rng)])
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        dark = store(expose(torch.zeros(1, 8, 128, 128), optics, noise), optics)[0]
        passed += sum(reason == "" for reason in reasons(dark, 65535.0))
    assert passed <= 2


def test_far_defocus_at_low_light_is_not_empty_where_others_show_something():
    stack = sweep(photons=15)
    z = torch.arange(Z).float()
    alone = [judge_slices(p[None], z[:1], survey_slices(p[None], [0.0])).reasons[0] for p in stack]
    assert alone[0] == alone[-1] == "empty"
    assert "empty" not in reasons(stack)
    stack[2] = torch.from_numpy(keyed_rng("empty", 0, 5).normal(105, 3, (192, 192))).float()
    assert [place for place, reason in enumerate(reasons(stack)) if reason == "empty"] == [2]


def test_smoothed_hot_pixels_are_mended():
    rng = keyed_rng("empty", 0, 6)
    dark = rng.normal(100, 3, (6, 128, 128))
    places = rng.integers(4, 124, (6, 2))
    dark[:, places[:, 0], places[:, 1]] += 8000
    dark = np.stack([ndimage.gaussian_filter(plane, 0.9) for plane in dark])
    stack = torch.from_numpy(dark).float()
    survey = survey_slices(stack, list(range(6)))
    assert 6 * 9 <= len(survey.beads) <= 6 * 100
    assert float(mend(stack, survey.beads, 2 * BEAD).max()) < 150
    assert set(reasons(stack)) == {"empty"}


def test_an_empty_slice_among_full_ones_is_empty():
    stack = sweep(photons=400)
    stack[3] = torch.from_numpy(keyed_rng("empty", 0, 1).normal(105, 3, (192, 192))).float()
    found = reasons(stack)
    assert found[3] == "empty"
    assert all(reason == "" for reason in found[6:13])


def test_saturated_and_clear_slices_are_told_apart():
    stack = (20 * sweep(photons=400)).round().clamp(max=4095)
    assert set(reasons(stack, 65535.0)) >= {"saturated"}  # 12 bits in a type of 16
    assert set(reasons(stack, 4095.0)) >= {"saturated"}
    assert set(reasons(sweep(photons=400).round(), 65535.0)) == {""}


def test_tiles_are_chosen_by_foreground_once():
    stack = sweep(photons=400)
    stack[:, :, :96] = torch.from_numpy(
        keyed_rng("empty", 0, 2).normal(105, 3, (Z, 192, 96))
    ).float()
    kept = survey_slices(stack, list(range(Z))).kept
    assert kept.shape == (3, 3)
    assert not kept[:, 0].any()
    assert kept[:, 2].all()
    shuffled = stack[torch.randperm(Z, generator=torch.Generator().manual_seed(0))]
    assert torch.equal(survey_slices(shuffled, list(range(Z))).kept, kept)


def test_nan_pixels_do_not_spread():
    stack = sweep(photons=400)
    stack[4, 10:20, 10:20] = float("nan")
    assert np.isfinite(scores(stack, "dcts")).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((64, 64), (1, 1, 64, 64)), ((800, 256), (12, 4, 66, 64)), ((20, 100), (1, 2, 20, 50))],
)
def test_tiles_are_equal_and_lose_few_pixels(shape, expected):
    assert tile_sides(shape) == expected
    assert cut_tiles(torch.zeros(2, *shape)).shape == (2, *expected)


def test_slices_too_small_are_refused():
    with pytest.raises(InputError, match="at least 16"):
        survey_slices(torch.zeros(1, 12, 300), [0.0])


def test_unknown_measures_are_refused():
    with pytest.raises(ValueError, match="no measure 'sharp'"):
        measure_sharpness(spectra(torch.zeros(1, 1, 1, 16, 16)), ["sharp"])
