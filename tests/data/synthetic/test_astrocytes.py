"""Astrocytes: stars of processes in numbers, layers and directions as drawn."""

from __future__ import annotations

import numpy as np
import pytest

from luxvox.data.synthetic.astrocytes import (
    AstrocytesPlan,
    AstrocytesRanges,
    astrocytes_words,
    draw_astrocytes,
)
from luxvox.data.synthetic.grid import Grid
from luxvox.data.synthetic.painter import Drawing

GRID = Grid((64, 64, 64), (1.5, 1.5, 1.5))


def _draw(seed: int = 0, grid: Grid = GRID, **fixed: object) -> Drawing:
    return draw_astrocytes(grid, np.random.default_rng(seed), AstrocytesRanges(**fixed))


def test_same_seed_same_bytes_other_seed_other_cells() -> None:
    one, two, other = _draw(1), _draw(1), _draw(2)
    assert one.density.tobytes() == two.density.tobytes()
    assert one.instances.tobytes() == two.instances.tobytes()
    assert one.density.tobytes() != other.density.tobytes()


def test_label_and_centreline_lie_where_the_dye_is() -> None:
    drawing = _draw(4, sponge=(0.02, 0.02))
    inside = drawing.instances > 0
    assert drawing.density[inside].mean() > 20 * drawing.density[~inside].mean()
    middle = drawing.centreline
    assert middle is not None
    assert (middle & inside).sum() > 0.95 * middle.sum() > 0


def test_number_follows_the_density() -> None:
    grid = Grid((80, 80, 80), (4.0, 4.0, 4.0))
    dense = {"layering": (0.0, 0.0), "soma_staining": (1.0, 1.0), "primaries": (0.0, 0.0)}
    numbers = [
        len(np.unique(_draw(s, grid, per_mm3=(6e3, 6e3), sponge=(0, 0), **dense).instances)) - 1
        for s in range(3)
    ]
    expected = 3 * 6e3 * grid.volume_mm3
    # Somata of a radius of 4 um that the sides cut through count as well, some 8 %.
    assert abs(sum(numbers) / 1.06 - expected) < 4 * np.sqrt(expected)


def test_layers_bunch_the_cells() -> None:
    grid = Grid((40, 50, 50), (6.0, 6.0, 6.0))

    def unevenness(layering: float) -> float:
        spread = []
        for seed in range(4):
            drawn = _draw(
                seed,
                grid,
                layering=(layering, layering),
                per_mm3=(8e3, 8e3),
                layer_um=(200.0, 200.0),
            )
            blocks = (drawn.instances > 0).reshape(4, 10, 5, 10, 5, 10).mean(axis=(1, 3, 5))
            spread.append(blocks.std() / blocks.mean())
        return float(np.mean(spread))

    assert unevenness(0.9) > 1.3 * unevenness(0.0)


def test_aligned_processes_run_in_one_direction() -> None:
    grid = Grid((70, 70, 70), (1.5, 1.5, 1.5))

    def anisotropy(alignment: float) -> float:
        fixed = {"alignment": (alignment, alignment), "persistence_um": (80.0, 80.0)}
        ratios = []
        for seed in range(3):
            density = _draw(seed, grid, sponge=(0, 0), **fixed).density
            slopes = np.stack([g.ravel() for g in np.gradient(density)])
            values = np.linalg.eigvalsh(slopes @ slopes.T)
            ratios.append(values[0] / values[2])
        return float(np.mean(ratios))

    assert anisotropy(0.7) < 0.8 * anisotropy(0.0)


def test_the_sponge_is_dim_round_and_unlabelled() -> None:
    plain, sponge = _draw(6, sponge=(0.0, 0.0)), _draw(6, sponge=(0.04, 0.04))
    assert (plain.instances == sponge.instances).all()
    added = (sponge.density - plain.density)[plain.instances == 0]
    assert (added >= 0).all()
    assert 0.001 < added.mean() < 0.04
    assert (added > 0).mean() > 0.2


@pytest.mark.parametrize("pitch", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0)])
def test_the_dye_does_not_depend_on_the_grid(pitch: tuple[float, float, float]) -> None:
    shape = tuple(int(120 / p) for p in pitch)
    fixed = {
        "per_mm3": (8e3, 8e3),
        "layering": (0.0, 0.0),
        "sponge": (0.0, 0.0),
        "process_um": (0.4, 0.6),
        "primaries": (7.0, 7.0),
        "forks": (0.0, 0.0),
        "soma_staining": (0.05, 0.05),
        "soma_um": (8.0, 8.0),
        "territory_um": (40.0, 40.0),
        "brightness": (1.0, 1.0),
    }
    dye = np.mean([_draw(s, Grid(shape, pitch), **fixed).density.mean() for s in range(4)])
    # 7 processes of 21 um (mean), radius 0.55 to 0.4 with most of the way at the stem's, and the
    # soma; neighbours cut some short.
    cell = 7 * 21 * np.pi * 0.51**2 + 0.05 * 4 / 3 * np.pi * 4**3
    assert 0.6 < dye / (8e3 * cell * 1e-9) < 1.15


@pytest.mark.parametrize("shape", [(8, 8, 8), (8, 40, 20)])
def test_small_grids_are_drawn(shape: tuple[int, int, int]) -> None:
    for seed in range(10):
        drawing = _draw(seed, Grid(shape, (2.0, 0.7, 0.7)))
        assert drawing.density.shape == shape
        assert np.isfinite(drawing.density).all()


def test_words_follow_from_what_was_drawn() -> None:
    plan = AstrocytesPlan(6e3, 7.0, 50.0, 40.0, 0.1, 0.3, 0.0, 0.2, 100.0)
    assert astrocytes_words(plan) == {
        "amount": "scattered",
        "size": "small",
        "pattern": "with star-shaped processes",
    }
    drawn = _draw(0, per_mm3=(1.9e4, 1.9e4), alignment=(0.6, 0.6), soma_um=(10.0, 10.0))
    assert drawn.words["amount"] == "dense"
    assert drawn.words["size"] == "large"
    assert "one direction" in drawn.words["pattern"]
