"""Plaques: numbers, sizes, cores and halos as the drawn parameters say."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import measure

from luxvox.data.synthetic import plaques
from luxvox.data.synthetic.grid import Grid
from luxvox.data.synthetic.plaques import PlaquesRanges, draw_plaques, plaques_words

ISO = Grid((96, 96, 96), (1.0, 1.0, 1.0))
FLAT = Grid((32, 96, 96), (3.0, 1.0, 1.0))
PLAIN = {
    "median_um": (24.0, 24.0),
    "diameter_spread": (0.0, 0.0),
    "cored_share": (1.0, 1.0),
    "core_share": (0.5, 0.5),
    "halo_density": (0.4, 0.4),
    "halo_fall": (1.0, 1.0),
    "filaments": (0.0, 0.0),
    "roughness": (0.0, 0.0),
    "brightness_spread": (0.0, 0.0),
}


def _draw(grid: Grid, seed: int, **given: object):
    return draw_plaques(grid, np.random.default_rng(seed), PlaquesRanges(**given))


def _whole(grid: Grid, **given: object):
    """The first drawing whose plaque 1 touches no side, its instance alone."""
    for seed in range(200):
        drawn = _draw(grid, seed, **{**given, "per_mm3": (1.0, 1.0)})
        mine = drawn.instances == 1
        edges = [np.take(mine, i, axis).any() for axis in range(3) for i in (0, -1)]
        if mine.any() and not any(edges):
            return drawn
    raise AssertionError("no plaque lies within the grid")


def test_same_seed_same_bytes() -> None:
    one, same, other = (_draw(ISO, seed) for seed in (1, 1, 2))
    assert one.density.tobytes() == same.density.tobytes()
    assert one.instances.tobytes() == same.instances.tobytes()
    assert one.density.tobytes() != other.density.tobytes()


@pytest.mark.parametrize("grid", [ISO, FLAT])
def test_core_and_label_have_the_volumes_of_their_spheroids(grid: Grid) -> None:
    drawn = _whole(grid, **PLAIN)
    voxel = np.prod(grid.pitch_um)
    core = (drawn.density > 0.7).sum() * voxel
    assert core == pytest.approx(4 / 3 * np.pi * 6.0**3, rel=0.1)
    # The halo 0.4 * (1 - depth) falls to the label's share 0.1 three quarters of its way out.
    labelled = (drawn.instances == 1).sum() * voxel
    assert labelled == pytest.approx(4 / 3 * np.pi * (6.0 + 0.75 * 6.0) ** 3, rel=0.08)


def test_number_follows_the_density_and_the_least() -> None:
    small = {**PLAIN, "median_um": (6.0, 6.0), "per_mm3": (2e4, 2e4)}
    counts = [len(np.unique(_draw(ISO, seed, **small).instances)) - 1 for seed in range(8)]
    # Those whose centre lies up to a label's radius outside show as well.
    expected = 2e4 * (96 + 2 * 2.6) ** 3 * 1e-9
    assert np.mean(counts) == pytest.approx(expected, abs=4 * np.sqrt(expected / 8))
    few = {"per_mm3": (1e-3, 1e-3)}
    assert len(np.unique(_draw(ISO, 0, **few, least=3).instances)) - 1 in (2, 3)
    assert _draw(ISO, 0, **few, least=0).instances.max() == 0


def test_each_instance_is_in_one_piece() -> None:
    for seed in range(6):
        instances = _draw(ISO, seed, least=2).instances
        for number in np.unique(instances)[1:]:
            pieces = measure.label(instances == number)
            sizes = np.bincount(pieces.ravel())[1:]
            assert sizes.max() > 0.97 * sizes.sum()


def test_filaments_roughen_the_halo_and_diffuse_plaques_have_no_core() -> None:
    plain = _whole(ISO, **PLAIN)
    hairy = _whole(ISO, **{**PLAIN, "filaments": (0.9, 0.9)})
    halo = [d.density[(d.instances == 1) & (d.density < 0.7)].std() for d in (plain, hairy)]
    assert halo[1] > 1.3 * halo[0]
    diffuse = {**PLAIN, "cored_share": (0.0, 0.0), "diffuse_density": (0.2, 0.2)}
    drawn = _whole(ISO, **diffuse)
    assert drawn.density[drawn.instances == 1].mean() == pytest.approx(0.19, abs=0.05)


def test_outline_is_displaced() -> None:
    def out_of_round(roughness: float) -> float:
        given = {"roughness": (roughness, roughness), "flattening": (0.0, 0.0)}
        places = np.argwhere(_whole(ISO, **{**PLAIN, **given}).instances == 1)
        gap = np.linalg.norm(places - places.mean(axis=0), axis=1)
        return float(gap.max() / np.cbrt(len(places) * 3 / (4 * np.pi)))

    assert out_of_round(0.0) < 1.08
    assert out_of_round(0.15) > 1.15


def test_no_plaque_is_cut_by_its_own_box(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"median_um": (40.0, 40.0), "cored_share": (0.0, 0.0), "roughness": (0.16, 0.16)}
    tight = [_draw(ISO, seed, **given).density for seed in range(6)]
    monkeypatch.setattr(plaques, "_WIDEST", 4.0)
    wide = [_draw(ISO, seed, **given).density for seed in range(6)]
    for one, other in zip(tight, wide, strict=True):
        np.testing.assert_array_equal(one, other)


def test_density_and_label_agree() -> None:
    drawn = _draw(ISO, 4, least=2)
    inside = drawn.instances > 0
    assert drawn.density[inside].mean() > 20 * drawn.density[~inside].mean()
    assert drawn.density.max() <= 1


def test_words_follow_the_parameters() -> None:
    assert plaques_words(20.0, 11.0, 0.5) == {
        "amount": "few",
        "size": "small",
        "pattern": "diffuse and dense-cored",
    }
    drawn = _draw(ISO, 0, per_mm3=(2e3, 2e3), median_um=(25.0, 25.0), cored_share=(1.0, 1.0))
    assert drawn.words == plaques_words(2e3, 25.0, 1.0)
    assert drawn.words["amount"] == "many"


def test_grid_smaller_than_a_plaque() -> None:
    drawn = _draw(Grid((8, 9, 10), (0.5, 0.4, 0.4)), 0)
    assert drawn.density.shape == (8, 9, 10)
    assert np.isfinite(drawn.density).all()
