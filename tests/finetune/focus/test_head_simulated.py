"""Simulated stacks for the focus head: the defocus that is told is the one that was made."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import tifffile
import torch
from scipy.stats import ks_2samp

from luxvox.configs.errors import InputError
from luxvox.data.optics.settings import Optics, sharp_optics
from luxvox.data.optics.sweep import defocus_sweep
from luxvox.finetune.focus.head_optics import draw_lens, draw_microscope, farthest_um
from luxvox.finetune.focus.head_recipe import Family, HeadRecipe
from luxvox.finetune.focus.head_simulated import image_stack, training_stacks
from luxvox.finetune.focus.head_specimens import Specimen, draw_specimen, open_specimens

FAMILIES: tuple[Family, ...] = get_args(Family)
SMALL = HeadRecipe(side=64, planes=15, slices=5, stacks=3, specimens=2, empty=0.0)
BRIGHT = SMALL.model_copy(update={"photons": (4000.0, 4000.0)})


def points(seed: int = 0, side: int = 96) -> Specimen:
    rng = np.random.default_rng(seed)
    dye = torch.from_numpy((rng.random((15, side, side)) < 0.02).astype(np.float32))
    dye = torch.nn.functional.avg_pool2d(dye, 3, 1, 1) * 9
    return Specimen(f"points {seed}", dye, (1.0, 1.0, 1.0), "lectin")


def detail(image: torch.Tensor) -> float:
    """Energy of differences of smooth neighbours over the variance."""
    small = torch.nn.functional.avg_pool2d(image[None, None], 2)[0, 0]
    return float(small.diff(dim=1).var() / small.var())


def test_slices_near_focus_have_more_detail():
    found = [image_stack(points(n), BRIGHT, "scalar", "sweep", 0, n) for n in range(6)]
    right = []
    for stack in found:
        truth = stack.slice_dof
        sharp, far = int(truth.argmin()), int(truth.argmax())
        if truth[far] - truth[sharp] > 1.5:
            right.append(detail(stack.images[sharp]) > detail(stack.images[far]))
    assert len(right) >= 3
    assert all(right)


def test_a_volume_knows_the_defocus_of_every_tile():
    recipe = BRIGHT.model_copy(update={"side": 128})
    found = [image_stack(points(n, 128), recipe, "scalar", "volume", 0, n) for n in range(4)]
    for stack in found:
        assert stack.images.shape == (5, 128, 128)
        assert stack.defocus_dof.shape == (5, 2, 2)
        assert stack.foreground is not None
        assert stack.foreground.shape == (5, 2, 2, 8, 8)
    spread = [float(s.defocus_dof.std()) for s in found]
    assert max(spread) > 0.05  # tilt and drift
    across = found[0].defocus_dof[:, :, 1] - found[0].defocus_dof[:, :, 0]
    assert torch.allclose(across[:, 0], across[:, 1], atol=1e-4)  # tilted along x only


def test_same_numbers_same_stacks_other_numbers_others():
    one, again, other = (
        image_stack(points(), SMALL, "scalar", "sweep", 0, number) for number in (1, 1, 2)
    )
    assert torch.equal(one.images, again.images)
    assert torch.equal(one.slice_dof, again.slice_dof)
    assert not torch.equal(one.slice_dof, other.slice_dof)


def test_families_differ_and_the_held_out_one_is_never_learnt(monkeypatch):
    rng = np.random.default_rng(0)
    lens = draw_lens(1.0, rng)
    drawn = {f: draw_microscope(lens, SMALL, f, np.random.default_rng(1), 15.0) for f in FAMILIES}
    assert [drawn[f]["scalar_psf"] for f in FAMILIES] == [1.0, 1.0, 0.0]
    assert drawn["scalar"]["index_mismatch"] == 0.0
    assert abs(drawn["aberrated"]["index_mismatch"]) >= 0.004
    seen = []
    monkeypatch.setattr(
        "luxvox.finetune.focus.head_simulated.image_stack",
        lambda specimen, recipe, family, mode, seed, number: seen.append((family, mode)),
    )
    recipe = SMALL.model_copy(update={"families": ("scalar", "gaussian")})
    training_stacks([points(0), points(1)], recipe)
    assert {family for family, _ in seen} == {"scalar", "gaussian"}
    assert {mode for _, mode in seen} == {"sweep", "volume"}
    assert len(seen) == 6


def test_lenses_are_possible_and_blur_stays_inside_the_kernels():
    rng = np.random.default_rng(3)
    for pixel in (0.5, 1.0, 3.0):
        for _ in range(20):
            lens = draw_lens(pixel, rng)
            assert 0.1 <= lens.na <= 0.65
            far = farthest_um(lens, 2.0, SMALL)
            assert 0 <= far <= SMALL.farthest_dof * lens.depth_of_field_um
            cone = far * np.tan(np.arcsin(lens.na / lens.index)) / pixel
            assert cone <= 24


@pytest.mark.parametrize("pixel", [0.33, 0.4, 1.0, 19.0])
def test_lenses_are_drawn_as_by_chance_among_those_that_are_allowed(pixel):
    """Wavelength uniform, sampling log-uniform: what trying until NA fits would come to."""
    rng = np.random.default_rng(1)
    drawn = [draw_lens(pixel, rng) for _ in range(400)]
    wavelength = rng.uniform(0.48, 0.75, 2_000_000)
    na = wavelength / (pixel * np.exp(rng.uniform(*np.log((0.35, 2.5)), len(wavelength))))
    fits = (na >= 0.1) & (na <= 0.65)
    assert fits.sum() > 50
    assert ks_2samp([lens.na for lens in drawn], na[fits]).pvalue > 0.01
    assert ks_2samp([lens.wavelength_um for lens in drawn], wavelength[fits]).pvalue > 0.01
    assert {lens.pixel_um for lens in drawn} == {pixel}


@pytest.mark.parametrize("pixel", [0.1, 0.29, 22.0])
def test_pixels_without_a_lens_are_an_error_and_no_endless_search(pixel):
    with pytest.raises(InputError, match=f"pixels of {pixel:g} um, expected 0.295 to 21.4 um"):
        draw_lens(pixel, np.random.default_rng(0))


def test_empty_stacks_have_no_distance_and_no_foreground():
    recipe = SMALL.model_copy(update={"empty": 0.999})
    stack = image_stack(points(), recipe, "scalar", "sweep", 0, 0)
    assert stack.defocus_dof.isnan().all()
    assert stack.foreground is not None
    assert stack.foreground.sum() == 0
    assert stack.images.std() > 0


def test_simulated_specimens_are_imaged_and_dim_light_shows_less():
    specimen = draw_specimen(SMALL, 5, 3)
    assert torch.equal(specimen.density, draw_specimen(SMALL, 5, 3).density)
    assert specimen.name == "simulated 3"
    assert specimen.stain
    shown = []
    for photons in (20.0, 5000.0):
        recipe = SMALL.model_copy(update={"photons": (photons, photons)})
        stack = image_stack(specimen, recipe, "aberrated", "sweep", 5, 3)
        assert stack.foreground is not None
        shown.append(float(stack.foreground.mean()))
    assert shown[0] < shown[1]


def test_dye_bleaches_along_a_sweep():
    def images(bleaching: float) -> torch.Tensor:
        optics = Optics.stack([sharp_optics(photons=5000.0, bleaching=bleaching)])
        noise = torch.Generator().manual_seed(0)
        dye = points().density[None, None]
        sweep = defocus_sweep(dye, (1.0, 1.0, 1.0), optics, torch.zeros(4), noise)
        return sweep.images[0, 0].mean((1, 2))

    kept = images(0.6) / images(0.0)
    assert torch.allclose(kept, torch.tensor([1.0, 0.8, 0.6, 0.4]), atol=0.02)


def test_real_volumes_become_specimens(tmp_path, monkeypatch):
    light = (200 + 1000 * points(3).density).numpy().astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", light, imagej=True, resolution=(1.0, 1.0),
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
    )  # fmt: skip
    (tmp_path / "list.csv").write_text("image,stain,group\na.tif,lectin,animal 1\n")
    found = open_specimens(str(tmp_path / "list.csv"), SMALL)
    assert [s.name for s in found] == ["animal 1"]
    assert found[0].voxel_size_um == pytest.approx((2.0, 1.0, 1.0))
    assert found[0].density.shape == (15, 96, 96)
    assert float(found[0].density.quantile(0.01)) == pytest.approx(0.0, abs=1e-3)
    stack = image_stack(replace(found[0]), BRIGHT, "scalar", "sweep", 0, 0)
    assert stack.slice_dof.isfinite().any()
    rows = ["id,image,voxel_size_um", "fine,a.tif,2 1 1", "small,a.tif,0.2 0.2 0.2"]
    (tmp_path / "small.csv").write_text("\n".join(rows))
    monkeypatch.setattr("luxvox.data.volume.Volume.read", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(InputError, match=r"a.tif: pixels of 0.2 um, expected 0.295 to 21.4 um"):
        open_specimens(str(tmp_path / "small.csv"), SMALL)
    with pytest.raises(InputError, match="expected at least 3 slices of 128"):
        open_specimens(str(tmp_path / "list.csv"), SMALL.model_copy(update={"side": 128}))
