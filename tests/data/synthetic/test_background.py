"""What surrounds the stained structures: neuropil, tissue, autofluorescence, debris."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from luxvox.data.synthetic.autofluorescence import AutofluorescenceRanges, draw_autofluorescence
from luxvox.data.synthetic.debris import DebrisRanges, draw_debris
from luxvox.data.synthetic.grid import Grid
from luxvox.data.synthetic.neuropil import (
    NeuropilPlan,
    NeuropilRanges,
    draw_neuropil,
    neuropil_words,
    power_law_noise,
)
from luxvox.data.synthetic.painter import Drawing
from luxvox.data.synthetic.tissue import TissueRanges, draw_tissue

GRID = Grid((48, 64, 64), (1.5, 1.5, 1.5))
EDGES = TissueRanges(edge_probability=1.0, hole_probability=0.0, bubble_probability=0.0)
DRAWERS: list[Callable[[Grid, np.random.Generator], np.ndarray]] = [
    lambda grid, rng: draw_neuropil(grid, rng, NeuropilRanges()).density,
    lambda grid, rng: draw_tissue(grid, rng, EDGES),
    lambda grid, rng: draw_autofluorescence(grid, rng, AutofluorescenceRanges()),
    lambda grid, rng: draw_debris(grid, rng, DebrisRanges(aggregates_per_mm3=(5e3, 5e3))),
]


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("draw", DRAWERS)
def test_same_seed_same_bytes_on_any_grid(draw: Callable) -> None:
    one, two, other = draw(GRID, _rng(1)), draw(GRID, _rng(1)), draw(GRID, _rng(2))
    assert one.dtype == np.float32
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != other.tobytes()
    for shape in ((8, 8, 8), (8, 40, 21)):
        for seed in range(4):
            field = draw(Grid(shape, (2.0, 0.7, 0.7)), _rng(seed))
            assert field.shape == shape
            assert np.isfinite(field).all()
            assert field.min() >= 0


@pytest.mark.parametrize("pitch", [(1.5, 1.5, 1.5), (3.0, 1.0, 1.0)])
@pytest.mark.parametrize("exponent", [1.0, 3.0])
def test_power_of_the_texture_falls_as_drawn(pitch: tuple, exponent: float) -> None:
    grid = Grid((64, 96, 96), pitch)
    noise = power_law_noise(grid, exponent, 1e4, _rng())
    assert noise.std() == pytest.approx(1, abs=0.01)
    power = np.abs(np.fft.fftn(noise)) ** 2
    z, y, x = np.meshgrid(
        *[np.fft.fftfreq(n, p) for n, p in zip(grid.shape, pitch, strict=True)], indexing="ij"
    )
    frequency = np.sqrt(z**2 + y**2 + x**2)
    used = (frequency > 0.02) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[used]), np.log(power[used]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)


def _neuropil(seed: int, pattern: str, **fixed: object) -> Drawing:
    """The first drawing from `seed` on whose regions are of this pattern."""
    return next(
        drawn
        for s in range(seed, seed + 50)
        if pattern
        in (drawn := draw_neuropil(GRID, _rng(s), NeuropilRanges(**fixed))).words["pattern"]
    )


def test_holes_take_the_volume_of_somata_and_are_dark() -> None:
    fixed = {
        "somata_per_mm3": (6e4, 6e4),
        "soma_um": (10.0, 10.0),
        "vessels_mm_per_mm3": (0.0, 0.0),
        "contrast": (0.1, 0.1),
    }
    drawn = _neuropil(0, "evenly", **fixed)
    expected = 6e4 * 4 / 3 * np.pi * 5**3 * 1e-9
    assert (drawn.instances == 0).mean() == pytest.approx(expected, rel=0.4)
    inside = drawn.instances == 1
    assert drawn.density[inside].mean() > 4 * drawn.density[~inside].mean()


def test_holes_of_vessels_are_as_long_as_drawn() -> None:
    fixed = {"somata_per_mm3": (1.0, 1.0), "vessel_um": (3.0, 3.0)}
    length = (1e3, 1e3)
    holes = [
        (_neuropil(s, "evenly", vessels_mm_per_mm3=length, **fixed).instances == 0).mean()
        for s in (0, 50, 100)
    ]
    # Crossings and what the sides cut off take some away: 1 mm in a cubic mm is 1e-6 um per um3.
    assert np.mean(holes) == pytest.approx(1e3 * 1e-6 * np.pi * 3**2, rel=0.25)


def test_level_and_contrast_of_neuropil_are_those_drawn() -> None:
    fixed = {"level": (0.5, 0.5), "contrast": (0.2, 0.2), "region_contrast": (0.0, 0.0)}
    drawn = _neuropil(0, "evenly", somata_per_mm3=(1, 1), vessels_mm_per_mm3=(0, 0), **fixed)
    assert drawn.density.mean() == pytest.approx(0.5, rel=0.02)
    assert drawn.density.std() == pytest.approx(0.1, rel=0.05)


def test_compartments_have_dark_unlabelled_borders() -> None:
    few = {"somata_per_mm3": (1.0, 1.0), "vessels_mm_per_mm3": (0.0, 0.0), "exponent": (0.0, 0.0)}
    drawn = _neuropil(0, "compartments", region_um=(50.0, 50.0), septum_um=(6.0, 6.0), **few)
    outside = drawn.instances == 0
    assert 0.02 < outside.mean() < 0.5
    assert drawn.density[~outside].mean() > 1.4 * drawn.density[outside].mean()


def test_words_of_neuropil_follow_from_what_was_drawn() -> None:
    assert neuropil_words(NeuropilPlan("layers", 80.0, 1e4, 3.0)) == {
        "amount": "dense",
        "size": "coarse",
        "pattern": "in layers of different brightness",
    }
    words = neuropil_words(NeuropilPlan("compartments", 80.0, 6e4, 1.0))
    assert words["amount"] == "perforated"
    assert words["size"] == "fine"


def test_most_volumes_are_all_tissue() -> None:
    small = Grid((12, 12, 12), (3.0, 3.0, 3.0))
    whole = [(draw_tissue(small, _rng(s), TissueRanges()) == 1).all() for s in range(200)]
    clear = 0.8 * 0.92 * 0.96 * 0.95
    # Some cavities lie where they cut nothing, so there are rather more.
    assert clear - 0.1 < np.mean(whole) < clear + 0.2


@pytest.mark.parametrize("missing", [0.1, 0.5])
@pytest.mark.parametrize("pitch", [(1.5, 1.5, 1.5), (4.0, 1.0, 1.0)])
def test_an_edge_leaves_the_drawn_share_and_is_soft(missing: float, pitch: tuple) -> None:
    grid = Grid((48, 64, 64), pitch)
    ranges = EDGES.model_copy(
        update={
            "edge_missing": (missing, missing),
            "softness_um": (4.0, 4.0),
            "tear_probability": 0,
        }
    )
    tissue = draw_tissue(grid, _rng(3), ranges)
    assert (tissue < 0.5).mean() == pytest.approx(missing, abs=0.02)
    steepest = np.sqrt(sum(g**2 for g in np.gradient(tissue, *pitch))).max()
    # From 0 to 1 over 4 um; a wavy border may stand up to half as steep again.
    assert 0.1 < steepest < 0.5


def test_bubbles_cavities_and_tears_take_tissue_away() -> None:
    none = {
        "edge_probability": 0.0,
        "hole_probability": 0.0,
        "bubble_probability": 0.0,
        "tear_probability": 0.0,
    }
    bubble = TissueRanges(
        **(none | {"bubble_probability": 1.0}),
        bubbles=(1, 1),
        bubble_um=(10.0, 10.0),
        softness_um=(1.0, 1.0),
    )
    gone = [(1 - draw_tissue(GRID, _rng(s), bubble)).sum() * 1.5**3 for s in range(12)]
    assert max(gone) == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.1)
    for kind in ("hole_probability", "tear_probability"):
        fields = [
            draw_tissue(GRID, _rng(s), TissueRanges(**(none | {kind: 1.0}))) for s in range(8)
        ]
        assert np.mean([f.min() < 0.1 for f in fields]) > 0.5
        assert np.mean([f.max() > 0.9 for f in fields]) > 0.5


@pytest.mark.parametrize("level", [0.02, 0.7])
def test_autofluorescence_has_the_drawn_mean(level: float) -> None:
    light = draw_autofluorescence(GRID, _rng(), AutofluorescenceRanges(level=(level, level)))
    assert light.mean() == pytest.approx(level, rel=1e-3)
    assert light.std() > 0.03 * level


def _plain_light(**fixed: object) -> AutofluorescenceRanges:
    quiet = {
        "slow_contrast": (0.0, 0.0),
        "grain_contrast": (0.0, 0.0),
        "striation_probability": 0.0,
        "lipofuscin_cells_per_mm3": (1e-3, 1e-3),
    }
    return AutofluorescenceRanges(**(quiet | fixed))


def test_each_part_of_autofluorescence_shows() -> None:
    def contrast(**fixed: object) -> float:
        light = draw_autofluorescence(GRID, _rng(2), _plain_light(**fixed))
        return float(light.std() / light.mean())

    assert contrast() < 1e-5
    assert contrast(grain_contrast=(0.2, 0.2)) == pytest.approx(0.2, rel=0.05)
    assert contrast(slow_contrast=(0.2, 0.2)) == pytest.approx(0.2, rel=0.1)
    assert contrast(striation_probability=1.0, striation_contrast=(0.3, 0.3)) == pytest.approx(
        0.3, rel=0.05
    )


def test_lipofuscin_comes_in_clusters() -> None:
    ranges = _plain_light(
        lipofuscin_cells_per_mm3=(3e4, 3e4),
        lipofuscin_grains=(8.0, 8.0),
        lipofuscin_spread_um=(2.0, 2.0),
    )
    light = draw_autofluorescence(GRID, _rng(5), ranges)
    bright = light > 1.5 * np.median(light)
    assert 0 < bright.mean() < 0.05
    blocks = bright.reshape(6, 8, 8, 8, 8, 8).sum(axis=(1, 3, 5))
    assert blocks.var() > 2 * blocks.mean()


@pytest.mark.parametrize("pitch", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)])
def test_striations_are_long_and_thin(pitch: tuple) -> None:
    ranges = _plain_light(
        striation_probability=1.0,
        striation_contrast=(0.2, 0.2),
        striation_length_um=(20.0, 20.0),
        striation_width_um=(1.5, 1.5),
    )
    light = draw_autofluorescence(Grid((64, 80, 80), pitch), _rng(1), ranges)
    slopes = np.stack([g.ravel() for g in np.gradient(light, *pitch)])
    values = np.linalg.eigvalsh(slopes @ slopes.T)
    assert values[0] < 0.05 * values[1]


def test_debris_is_rare_and_bright() -> None:
    grid = Grid((96, 96, 96), (1.5, 1.5, 1.5))
    for seed in range(4):
        debris = draw_debris(grid, _rng(seed), DebrisRanges(specks_per_mm3=(1e3, 1e3)))
        assert (debris > 0).mean() < 0.02
        assert debris.max() > 1.0


@pytest.mark.parametrize("pitch", [(1.5, 1.5, 1.5), (3.0, 1.0, 1.0)])
def test_dye_of_debris_is_its_number_times_its_volume(pitch: tuple) -> None:
    grid = Grid((64, 96, 96), pitch)
    few = {"specks_per_mm3": (1e-3, 1e-3), "lint_per_mm3": (1e-3, 1e-3)}
    dots = DebrisRanges(
        **few,
        aggregates_per_mm3=(4e5, 4e5),
        aggregate_um=(0.5, 0.5),
        aggregate_brightness=(5.0, 5.0),
    )
    dye = draw_debris(grid, _rng(), dots).mean()
    assert dye == pytest.approx(4e5 * 1e-9 * 5 * 4 / 3 * np.pi * 0.5**3, rel=0.12)


def test_lint_is_as_much_dye_as_its_cylinder() -> None:
    grid = Grid((160, 160, 160), (1.5, 1.5, 1.5))
    few = {"specks_per_mm3": (1e-3, 1e-3), "aggregates_per_mm3": (1e-3, 1e-3)}
    lint = DebrisRanges(
        **few,
        lint_per_mm3=(3e3, 3e3),
        lint_um=(2.0, 2.0),
        lint_length_um=(40.0, 40.0),
        lint_brightness=(3.0, 3.0),
    )
    dye = np.mean([draw_debris(grid, _rng(s), lint).mean() for s in range(3)])
    # The sides cut off some: a fibre starts inside and runs out.
    assert 0.75 < dye / (3e3 * 1e-9 * 3 * np.pi * 2**2 * 40) < 1.15
