"""Neurons: somata, processes, forks and dye as the drawn parameters say."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import measure

from luxvox.data.synthetic.grid import Grid
from luxvox.data.synthetic.neurites import RALL, Tips, fork
from luxvox.data.synthetic.neuron_ranges import NeuronsRanges
from luxvox.data.synthetic.neurons import draw_neurons, neurons_words

ISO = Grid((80, 80, 80), (1.5, 1.5, 1.5))
FLAT = Grid((40, 80, 80), (3.0, 1.5, 1.5))
ALONE = {"filled_per_mm3": (1e-3, 1e-3), "immunolabel_per_mm3": (1e-3, 1e-3)}
ROUND = {
    "soma_um": (16.0, 16.0),
    "soma_spread": (0.0, 0.0),
    "pyramidal_share": (0.0, 0.0),
    "brightness_spread": (0.0, 0.0),
}


def _draw(grid: Grid, seed: int, **given: object):
    return draw_neurons(grid, np.random.default_rng(seed), NeuronsRanges(**given))


def _tips(kind: int, count: int = 50) -> Tips:
    rng = np.random.default_rng(0)
    heading = rng.standard_normal((count, 3))
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    whole = np.arange(count)
    return Tips(
        place=rng.uniform(0, 50, (count, 3)),
        heading=heading,
        radius=rng.uniform(0.5, 2.0, count),
        left=np.full(count, 100.0),
        owner=whole,
        kind=np.full(count, kind),
        grown=np.full(count, 20.0),
    )


def test_same_seed_same_bytes() -> None:
    one, same, other = (_draw(ISO, seed) for seed in (1, 1, 2))
    assert one.density.tobytes() == same.density.tobytes()
    assert one.instances.tobytes() == same.instances.tobytes()
    assert one.density.tobytes() != other.density.tobytes()


@pytest.mark.parametrize("kind", [0, 1])
def test_dendrites_fork_by_ralls_law(kind: int) -> None:
    tips = _tips(kind)
    both = fork(np.random.default_rng(1), tips)
    first, second = both.radius[:50], both.radius[50:]
    np.testing.assert_allclose(first**RALL + second**RALL, tips.radius**RALL, rtol=1e-9)
    assert (first != second).all()
    np.testing.assert_allclose(np.linalg.norm(both.heading, axis=1), 1, rtol=1e-9)


def test_axons_keep_their_radius_at_forks() -> None:
    tips = _tips(2)
    both = fork(np.random.default_rng(1), tips)
    np.testing.assert_array_equal(both.radius, np.tile(tips.radius, 2))


@pytest.mark.parametrize("grid", [ISO, FLAT])
def test_soma_has_the_drawn_volume(grid: Grid) -> None:
    volumes = []
    for seed in range(12):
        # Without processes that are thick enough to count: only the soma fills voxels.
        given = {"dendrite_radius_um": (0.21, 0.21), "axon_radius_um": (0.15, 0.15), "spiny": 0.0}
        drawn = _draw(grid, seed, **ROUND, **ALONE, **given, immunolabel=0.0)
        solid = drawn.density > 0.5
        if not any(np.take(solid, i, axis).any() for axis in range(3) for i in (0, -1)):
            volumes.append(solid.sum() * np.prod(grid.pitch_um))
    assert len(volumes) >= 3
    assert np.median(volumes) == pytest.approx(4 / 3 * np.pi * 8.0**3, rel=0.08)


def test_number_of_somata_follows_the_density() -> None:
    given = {**ROUND, "immunolabel_per_mm3": (1e4, 1e4), "nucleus_density": (1.0, 1.0)}
    given |= {"weak_processes": (0.0, 0.0), "soma_um": (10.0, 10.0)}
    filled = np.mean([_draw(ISO, s, **given, immunolabel=1.0).density.mean() for s in range(4)])
    expected = 1e4 * ISO.volume_mm3
    # Dye is that of somata alone; a soft edge of a voxel adds some per cent to a ball's volume.
    count = filled * ISO.volume_mm3 * 1e9 / (4 / 3 * np.pi * 5.0**3)
    assert count == pytest.approx(expected, rel=0.1, abs=4 * np.sqrt(expected / 4))


def test_immunolabelled_neurons_have_dark_nuclei_and_weak_processes() -> None:
    given = {**ROUND, **ALONE, "nucleus_density": (0.1, 0.1), "weak_processes": (0.1, 0.1)}
    drawn = _draw(ISO, 2, **given, immunolabel=1.0)
    filled = _draw(ISO, 2, **given, immunolabel=0.0)
    assert ((drawn.density < 0.3) & (drawn.instances > 0)).sum() * 1.5**3 > 200
    assert drawn.density.sum() < 0.8 * filled.density.sum()
    assert "faint processes" in drawn.words["pattern"]


def test_a_neuron_is_nearly_one_piece_and_holds_its_centreline() -> None:
    grid = Grid((120, 120, 120), (1.5, 1.5, 1.5))
    given = {"dendrite_length_um": (30.0, 40.0), "axon_length_um": (40.0, 60.0), "spiny": 0.0}
    shares = []
    for seed in range(5):
        drawn = _draw(grid, seed, **ROUND, **ALONE, **given, immunolabel=0.0)
        assert drawn.centreline is not None
        pieces = measure.label(drawn.instances == 1)
        sizes = np.bincount(pieces.ravel())[1:]
        shares.append(sizes.max() / sizes.sum())
        assert (drawn.instances[drawn.centreline] > 0).mean() > 0.9
    assert np.median(shares) > 0.95


def test_neurons_outside_send_processes_in() -> None:
    drawn = _draw(ISO, 0, filled_per_mm3=(2e3, 2e3), immunolabel=0.0)
    inside = 2e3 * ISO.volume_mm3
    assert len(np.unique(drawn.instances)) - 1 > 2 * inside


def test_density_and_label_agree() -> None:
    drawn = _draw(ISO, 4, immunolabel=0.0)
    inside = drawn.instances > 0
    assert drawn.density[inside].mean() > 10 * drawn.density[~inside].mean()


def test_words_follow_the_parameters() -> None:
    assert neurons_words(100.0, 9.0, False, 1.0) == {
        "amount": "sparse",
        "size": "small",
        "pattern": "with pyramidal somata, branching dendrites and axons",
    }
    drawn = _draw(ISO, 0, **ROUND, immunolabel_per_mm3=(3e3, 3e3), immunolabel=1.0)
    assert drawn.words == neurons_words(3e3, 16.0, True, 0.0)


def test_grid_smaller_than_a_soma() -> None:
    drawn = _draw(Grid((8, 9, 10), (0.5, 0.4, 0.4)), 0)
    assert drawn.density.shape == (8, 9, 10)
    assert np.isfinite(drawn.density).all()
