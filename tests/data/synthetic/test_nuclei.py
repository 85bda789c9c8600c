"""Nuclei: sizes, numbers, places and dye as the drawn parameters say."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import measure

from luxvox.data.synthetic.grid import Grid
from luxvox.data.synthetic.nuclei import NucleiRanges, draw_nuclei, nuclei_words

ISO = Grid((72, 72, 72), (1.0, 1.0, 1.0))
FLAT = Grid((24, 72, 72), (3.0, 1.0, 1.0))
PLAIN = {
    "radius_um": (5.0, 5.0),
    "radius_spread": (0.0, 0.0),
    "neuron_share": (1.0, 1.0),
    "mitotic_share": (0.0, 0.0),
    "brightness_spread": (0.0, 0.0),
    "chromatin_contrast": (0.0, 0.0),
    "chromocentres": (0.0, 0.0),
    "nucleoli": (0.0, 0.0),
    "clustered": 0.0,
    "layered": 0.0,
}


def _draw(grid: Grid, seed: int, **given: object):
    return draw_nuclei(grid, np.random.default_rng(seed), NucleiRanges(**given))


def _whole_volumes_um3(grid: Grid, seed: int) -> np.ndarray:
    """Volumes of nuclei that touch no side."""
    instances = _draw(grid, seed, **PLAIN, per_mm3=(3e4, 3e4)).instances
    cut = np.concatenate([np.take(instances, i, a).ravel() for a in range(3) for i in (0, -1)])
    sizes = np.bincount(instances.ravel()) * np.prod(grid.pitch_um)
    sizes[np.unique(np.append(cut, 0))] = 0
    return sizes[sizes > 0]


def test_same_seed_same_bytes() -> None:
    one, same, other = (_draw(ISO, seed, per_mm3=(1e5, 1e5)) for seed in (1, 1, 2))
    assert one.density.tobytes() == same.density.tobytes()
    assert one.instances.tobytes() == same.instances.tobytes()
    assert one.density.tobytes() != other.density.tobytes()


@pytest.mark.parametrize("grid", [ISO, FLAT])
def test_volume_is_that_of_the_ellipsoid(grid: Grid) -> None:
    volumes = np.concatenate([_whole_volumes_um3(grid, seed) for seed in range(4)])
    assert len(volumes) > 10
    assert np.median(volumes) == pytest.approx(4 / 3 * np.pi * 5.0**3, rel=0.06)


@pytest.mark.parametrize("per_mm3", [2e4, 1e5])
@pytest.mark.parametrize("pattern", ["even", "clustered", "layered"])
def test_number_follows_the_density(per_mm3: float, pattern: str) -> None:
    given = {**PLAIN, "radius_um": (2.5, 2.5), "per_mm3": (per_mm3, per_mm3)}
    if pattern != "even":
        given[pattern] = 1.0
    grid = Grid((64, 64, 64), (1.5, 1.5, 1.5))
    # The label holds the volume of each nucleus once, also of the parts of those on the sides.
    filled = sum(float((_draw(grid, s, **given).instances > 0).mean()) for s in range(6)) / 6
    count = filled * grid.volume_mm3 * 1e9 / (4 / 3 * np.pi * 2.5**3)
    expected = per_mm3 * grid.volume_mm3
    # Nuclei in clusters may fail to find room, and sampling of the pattern adds some error.
    assert count == pytest.approx(expected, rel=0.15, abs=4 * np.sqrt(expected / 6))


def test_instances_are_in_one_piece_and_hardly_overlap() -> None:
    instances = _draw(ISO, 3, per_mm3=(2e5, 2e5), layered=0.0, clustered=0.0).instances
    numbers = np.unique(instances)[1:]
    pieces = [measure.label(instances == number).max() for number in numbers]
    assert len(numbers) > 40
    assert np.mean(np.asarray(pieces) == 1) > 0.97


def test_layer_and_clusters_are_less_even_than_even_ones() -> None:
    def spread(**share: float) -> float:
        # Many nuclei to a block, or the chance of their number would hide the pattern.
        given = {**PLAIN, "radius_um": (2.5, 2.5), "per_mm3": (4e5, 4e5), "layer_um": (30.0, 30.0)}
        given |= {"between": (0.05, 0.05)}
        given |= {"cluster_um": (12.0, 12.0), "clusters_per_mm3": (300.0, 300.0)} | share
        blocks = [
            (_draw(ISO, s, **given).instances > 0).reshape(4, 18, 4, 18, 4, 18).mean((1, 3, 5))
            for s in range(4)
        ]
        return float(np.mean([part.std() / part.mean() for part in blocks]))

    even = spread()
    assert spread(clustered=1.0) > 1.3 * even
    assert spread(layered=1.0) > 1.3 * even


def test_brightness_spread_and_chromatin() -> None:
    def means(spread: float) -> np.ndarray:
        drawn = _draw(
            ISO, 5, **{**PLAIN, "brightness_spread": (spread, spread)}, per_mm3=(1e5, 1e5)
        )
        inside = drawn.instances * (drawn.density > 0)
        return np.array([drawn.density[inside == n].mean() for n in np.unique(inside)[1:]])

    assert np.log(means(0.6)).std() == pytest.approx(0.6, rel=0.35)
    assert np.log(means(0.0)).std() < 0.15
    smooth = _draw(ISO, 5, **PLAIN, per_mm3=(1e5, 1e5))
    rough = _draw(ISO, 5, **{**PLAIN, "chromocentres": (9.0, 9.0)}, per_mm3=(1e5, 1e5))
    hollow = _draw(ISO, 5, **{**PLAIN, "nucleoli": (3.0, 3.0)}, per_mm3=(1e5, 1e5))
    assert rough.density.sum() > 1.01 * smooth.density.sum()
    assert hollow.density.sum() < 0.99 * smooth.density.sum()


def test_density_and_label_agree() -> None:
    drawn = _draw(ISO, 4, per_mm3=(1e5, 1e5))
    inside = drawn.instances > 0
    assert drawn.density[inside].mean() > 20 * drawn.density[~inside].mean()


def test_words_follow_the_parameters() -> None:
    assert nuclei_words(3e3, 3.0, "spread evenly") == {
        "amount": "sparse",
        "size": "small",
        "pattern": "spread evenly",
    }
    assert nuclei_words(4e5, 5.0, "in a layer")["amount"] == "densely packed"
    words = _draw(ISO, 0, per_mm3=(3e3, 3e3), radius_um=(5.0, 5.0), layered=1.0, clustered=0.0)
    assert words.words == nuclei_words(3e3, 5.0, "in a layer")


def test_grid_smaller_than_a_nucleus() -> None:
    drawn = _draw(Grid((8, 8, 8), (0.3, 0.2, 0.2)), 0, per_mm3=(1e6, 1e6))
    assert drawn.density.shape == (8, 8, 8)
    assert np.isfinite(drawn.density).all()
