"""Microglia: as many, as large and as branched as drawn, each in its own territory."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label as connected

from luxvox.data.synthetic.glial_processes import (
    Processes,
    directions,
    grow_processes,
    paint_processes,
)
from luxvox.data.synthetic.grid import Grid
from luxvox.data.synthetic.microglia import (
    MicrogliaPlan,
    MicrogliaRanges,
    draw_microglia,
    microglia_words,
)
from luxvox.data.synthetic.painter import Drawing, Painter

GRID = Grid((96, 64, 64), (1.5, 1.5, 1.5))


def _draw(seed: int = 0, grid: Grid = GRID, **fixed: object) -> Drawing:
    return draw_microglia(grid, np.random.default_rng(seed), MicrogliaRanges(**fixed))


def _grow(persistence_um: float = 1e6, forks: int = 0, roots: int = 40) -> Processes:
    rng = np.random.default_rng(3)
    starts, aims = np.zeros((roots, 3)), directions(rng, roots)
    return grow_processes(
        rng,
        starts,
        aims,
        np.full(roots, 30.0),
        np.full(roots, forks),
        np.zeros(roots, int),
        np.zeros((1, 3)),
        persistence_um,
        0.5,
    )


def test_same_seed_same_bytes_other_seed_other_cells() -> None:
    one, two, other = _draw(1), _draw(1), _draw(2)
    assert one.density.tobytes() == two.density.tobytes()
    assert one.instances.tobytes() == two.instances.tobytes()
    assert one.words == two.words
    assert one.density.tobytes() != other.density.tobytes()


def test_label_and_centreline_lie_where_the_dye_is() -> None:
    drawing = _draw(4, per_mm3=(9e3, 9e3), process_staining=(0.5, 0.5))
    inside = drawing.instances > 0
    assert drawing.density[inside].mean() > 50 * drawing.density[~inside].mean()
    middle = drawing.centreline
    assert middle is not None
    assert middle.any()
    assert (middle & inside).sum() > 0.95 * middle.sum()


def test_a_whole_cell_is_one_piece() -> None:
    ratios = []
    for seed in range(3):
        cells = _draw(seed, per_mm3=(6e3, 6e3), activation=(0.0, 0.2)).instances
        for number in np.unique(cells[cells > 0]):
            pieces, _ = connected(cells == number, np.ones((3, 3, 3)))
            sizes = np.bincount(pieces.ravel())[1:]
            where = np.argwhere(cells == number)
            if (where.min(axis=0) > 0).all() and (
                where.max(axis=0) < np.array(cells.shape) - 1
            ).all():
                ratios.append(sizes.max() / sizes.sum())
    assert len(ratios) > 3
    assert np.mean(ratios) > 0.97


@pytest.mark.parametrize("per_mm3", [2e3, 8e3])
def test_number_follows_the_density(per_mm3: float) -> None:
    grid = Grid((80, 80, 80), (4.0, 4.0, 4.0))
    # Bright somata alone: processes of cells outside reach in, but are dim.
    found = 0
    for seed in range(3):
        drawing = _draw(seed, grid, per_mm3=(per_mm3, per_mm3), process_staining=(0.01, 0.01))
        found += len(np.unique(drawing.instances[drawing.density > 0.2]))
    expected = 3 * per_mm3 * grid.volume_mm3
    # Somata that the sides cut through count as well: a shell of about a radius.
    assert abs(found - expected) < 4 * np.sqrt(expected) + 0.08 * expected


def test_somata_keep_their_distance() -> None:
    grid = Grid((90, 90, 90), (3.0, 3.0, 3.0))
    cells = _draw(5, grid, per_mm3=(8e3, 8e3), activation=(1.0, 1.0), soma_um=(8.0, 8.0)).instances
    numbers = np.unique(cells[cells > 0])
    middles = np.array([(np.argwhere(cells == n).mean(axis=0) + 0.5) * 3.0 for n in numbers])
    gaps = np.linalg.norm(middles[:, None] - middles[None], axis=2) + 1e6 * np.eye(len(middles))
    # 8e3 per mm3 are 50 um apart on a lattice; random places would bring some within a few um.
    assert gaps.min() > 0.6 * 50


@pytest.mark.parametrize("pitch", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0)])
def test_soma_volume_is_that_of_its_ball(pitch: tuple[float, float, float]) -> None:
    shape = tuple(int(180 / p) for p in pitch)
    ranges = {
        "per_mm3": (5e3, 5e3),
        "soma_um": (10.0, 10.0),
        "activation": (0.0, 0.0),
        "primaries": (0.0, 0.0),
        "brightness": (1.0, 1.0),
    }
    drawing = _draw(7, Grid(shape, pitch), **ranges)
    cells = drawing.instances
    inner = [
        n
        for n in np.unique(cells[cells > 0])
        if (w := np.argwhere(cells == n)).min() > 0 and (w.max(axis=0) + 1 < cells.shape).all()
    ]
    volumes = [drawing.density[cells == n].sum() * np.prod(pitch) for n in inner]
    # Lobes and the activation that strays by 0.15 add up to some 25 %.
    assert len(inner) > 5
    assert 0.8 < np.mean(volumes) / (4 / 3 * np.pi * 5**3) < 1.5


def test_activation_thickens_bodies_and_takes_processes() -> None:
    resting = _draw(8, per_mm3=(8e3, 8e3), activation=(0.0, 0.0))
    amoeboid = _draw(8, per_mm3=(8e3, 8e3), activation=(1.0, 1.0))
    assert resting.centreline is not None
    assert amoeboid.centreline is not None
    assert resting.centreline.sum() > 5 * amoeboid.centreline.sum()


@pytest.mark.parametrize("radius_um", [0.4, 1.4, 2.4])
def test_a_straight_process_is_as_long_as_wanted_and_its_dye_its_volume(radius_um: float) -> None:
    grown = _grow(roots=6)
    assert len(grown.points_um) == pytest.approx(6 * 30 / 0.5, rel=0.02)
    assert np.linalg.norm(grown.points_um, axis=1).max() == pytest.approx(30, rel=0.02)
    grid = Grid((60, 60, 60), (1.5, 1.5, 1.5))
    painter = Painter(grid)
    radii = np.full(len(grown.points_um), radius_um)
    paint_processes(painter, grown.points_um + grid.size_um / 2, radii, 0.5, 1, 0.7)
    dye = painter.drawing().density.sum() * 1.5**3
    # Balls overlap where the processes leave their common start, and have round ends.
    assert dye == pytest.approx(
        0.7 * np.pi * radius_um**2 * 6 * 30, rel=0.02 + 0.05 * (radius_um > 2)
    )


def test_forks_are_counted_and_winding_forgets_its_direction() -> None:
    assert len(_grow(forks=3).forks) == pytest.approx(40 * 3, rel=0.1)
    assert len(_grow(forks=0).forks) == 0
    ends = _grow(persistence_um=15.0, roots=400)
    last = ends.points_um[ends.path >= ends.path.max() - 1e-9]
    # Worm-like chain: <R^2> = 2 P L (1 - P/L (1 - exp(-L/P))).
    want = 2 * 15 * 30 * (1 - 0.5 * (1 - np.exp(-2)))
    assert np.mean((last**2).sum(axis=1)) == pytest.approx(want, rel=0.12)


def test_processes_stop_at_the_neighbours_territory() -> None:
    rng = np.random.default_rng(0)
    somata = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 20.0]])
    grown = grow_processes(
        rng,
        np.zeros((50, 3)),
        directions(rng, 50),
        np.full(50, 40.0),
        np.full(50, 2),
        np.zeros(50, int),
        somata,
        20.0,
        0.5,
    )
    assert grown.points_um[:, 2].max() <= 10.0
    assert grown.points_um[:, 2].min() < -15.0


@pytest.mark.parametrize("shape", [(8, 8, 8), (8, 40, 20)])
def test_small_grids_are_drawn(shape: tuple[int, int, int]) -> None:
    for seed in range(10):
        drawing = _draw(seed, Grid(shape, (2.0, 0.7, 0.7)))
        assert drawing.density.shape == shape
        assert np.isfinite(drawing.density).all()


def test_words_follow_from_what_was_drawn() -> None:
    plan = MicrogliaPlan(2e3, 6.0, 50.0, 0.1, 0.5, 20.0)
    assert microglia_words(plan) == {
        "amount": "sparse",
        "size": "small",
        "pattern": "with thin branching processes",
    }
    swollen = microglia_words(MicrogliaPlan(9e3, 9.0, 50.0, 0.9, 0.5, 20.0))
    assert swollen["amount"] == "dense"
    assert swollen["size"] == "large"
    assert "rounded" in swollen["pattern"]
    drawn = _draw(0, per_mm3=(2e3, 2e3), activation=(0.9, 0.9))
    assert drawn.words["amount"] == "sparse"
    assert "rounded" in drawn.words["pattern"]
