"""Vessels: Murray's law, radii, length per volume, networks in one piece, stained walls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from luxvox.data.synthetic.capillaries import Segment, grow_bed, join_bed
from luxvox.data.synthetic.grid import Grid
from luxvox.data.synthetic.vessels import VesselsRanges, draw_vessels, grow_tree

GRID = Grid.of_volume((48, 64, 64), (2.0, 2.0, 2.0))
COARSE = Grid.of_volume((24, 64, 64), (4.0, 2.0, 2.0))
EVEN = {"unevenness": (0.0, 0.0), "gap_share": (0.0, 0.0)}
LARGE = Grid.of_volume((300, 300, 300), (1.5, 1.5, 1.5))


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _length_um(grid: Grid, segments: list[Segment]) -> float:
    total = 0.0
    for segment in segments:
        points = segment.points_um
        middle = (points[1:] + points[:-1]) / 2
        inside = ((middle > 0) & (middle < grid.size_um)).all(axis=1)
        total += np.linalg.norm(np.diff(points, axis=0), axis=1)[inside].sum()
    return total


def test_same_seed_same_bytes() -> None:
    one, two, other = (draw_vessels(GRID, _rng(s), VesselsRanges()) for s in (1, 1, 2))
    assert one.density.tobytes() == two.density.tobytes()
    assert one.instances.tobytes() == two.instances.tobytes()
    assert one.words == two.words
    assert one.density.tobytes() != other.density.tobytes()


def test_murrays_law_holds_at_every_fork() -> None:
    forks = 0
    for seed in range(6):
        tree = grow_tree(LARGE, _rng(seed), VesselsRanges(), 14.0, 2.2)
        assert min(vessel.radius_um for vessel in tree) >= 2.2 - 1e-9
        for i, vessel in enumerate(tree):
            daughters = [other for other in tree if other.parent == i]
            assert len(daughters) == (2 if vessel.forks else 0)
            if vessel.forks:
                forks += 1
                cubes = sum(daughter.radius_um**3 for daughter in daughters)
                assert cubes == pytest.approx(vessel.radius_um**3, rel=1e-9)
                for daughter in daughters:
                    assert np.allclose(daughter.points_um[0], vessel.points_um[-1])
    assert forks > 20


@pytest.mark.parametrize("wanted", [0.4, 1.2])
def test_the_bed_has_the_wanted_length_and_meets_in_threes(wanted: float) -> None:
    bed, nodes = grow_bed(LARGE, _rng(3), wanted, 2.2, 0.1, 0.1)
    assert _length_um(LARGE, bed) * 1e-6 / LARGE.volume_mm3 == pytest.approx(wanted, rel=0.1)
    degree = np.bincount(nodes.ravel())
    assert 2.5 < degree[degree > 1].mean() < 3.4
    assert np.mean([vessel.radius_um for vessel in bed]) == pytest.approx(2.2, rel=0.03)


def test_open_ends_of_trees_reach_the_bed() -> None:
    tree = grow_tree(LARGE, _rng(1), VesselsRanges(), 16.0, 2.2)
    bed, nodes = grow_bed(LARGE, _rng(3), 1.0, 2.2, 0.1, 0.1)
    vessels, links = join_bed(LARGE, tree, bed, nodes)
    linked = {i for link in links for i in link}
    size = LARGE.size_um
    leaves = [
        i
        for i, vessel in enumerate(tree)
        if not vessel.forks and (vessel.points_um[-1] * (size - vessel.points_um[-1]) > 0).all()
    ]
    assert leaves
    assert linked.issuperset(leaves)
    # No capillary runs through the lumen of a trunk.
    trunk = tree[0]

    def nearest_to_trunk(capillaries: list[Segment]) -> float:
        points = np.concatenate([capillary.points_um for capillary in capillaries])
        return min(np.linalg.norm(points - place, axis=1).min() for place in trunk.points_um[:-3])

    pieces = [vessel for i, vessel in enumerate(vessels) if i >= len(tree)]
    pieces = pieces[: len(pieces) - len(leaves)]  # the last ones run from the leaves to the bed
    assert nearest_to_trunk(bed) < trunk.radius_um
    assert nearest_to_trunk(pieces) >= trunk.radius_um


def test_a_network_is_one_piece_and_its_label_is_where_the_dye_is() -> None:
    ranges = VesselsRanges(trunks_per_mm2=(20.0, 20.0), trunks_alone=0.0, wall_stained=0.0, **EVEN)
    drawing = draw_vessels(GRID, _rng(5), ranges)
    sizes = np.bincount(drawing.instances.ravel())[1:]
    largest = drawing.instances == int(np.argmax(sizes)) + 1
    pieces, _ = label(largest, np.ones((3, 3, 3)))
    assert np.bincount(pieces.ravel())[1:].max() > 0.9 * largest.sum()
    inside = drawing.instances > 0
    assert drawing.density[inside].mean() > 0.6
    assert drawing.density[~inside].mean() < 0.02
    assert drawing.centreline is not None
    assert inside[drawing.centreline].mean() > 0.99


def test_volume_follows_length_and_radius_on_any_grid() -> None:
    ranges = VesselsRanges(
        trunks_per_mm2=(1e-9, 1e-9), trunks_alone=0.0, capillary_radius_um=(3.0, 3.0),
        capillary_spread=0.0, capillary_m_per_mm3=(1.0, 1.0), **EVEN,
    )  # fmt: skip
    wanted = 1.0e-3 * np.pi * 3.0**2
    for volume in (((96, 96, 96), (2.0, 2.0, 2.0)), ((40, 96, 96), (5.0, 2.0, 2.0))):
        grid = Grid.of_volume(*volume)
        shares = [draw_vessels(grid, _rng(s), ranges).density.mean() for s in range(4)]
        # Tubes overlap where they meet, so that a little less than the sum is filled.
        assert 0.75 * wanted < np.mean(shares) < 1.1 * wanted


def test_stained_walls_leave_a_dark_lumen() -> None:
    common = {"trunks_per_mm2": (40.0, 40.0), "trunk_radius_um": (14.0, 14.0), **EVEN}
    filled = draw_vessels(
        GRID, _rng(4), VesselsRanges(trunks_alone=1.0, wall_stained=0.0, **common)
    )
    walls = draw_vessels(
        GRID,
        _rng(4),
        VesselsRanges(
            trunks_alone=1.0, wall_stained=1.0, wall_um=(5.0, 5.0), lumen_level=(0.1, 0.1), **common
        ),
    )
    assert (filled.instances == walls.instances).all()
    assert filled.centreline is not None
    assert filled.words["calibre"] == "wide"
    whole = filled.centreline & (filled.density > 0.99)
    assert np.median(walls.density[whole]) == pytest.approx(0.1, abs=0.05)
    assert walls.density.max() == pytest.approx(1.0, abs=0.01)


def test_gaps_and_patches_take_dye_away() -> None:
    common = {"trunks_alone": 0.0, "wall_stained": 0.0}
    even = draw_vessels(GRID, _rng(6), VesselsRanges(**common, **EVEN))
    patchy = draw_vessels(
        GRID, _rng(6), VesselsRanges(**common, unevenness=(0.4, 0.4), gap_share=(0.2, 0.2))
    )
    deep = even.density > 0.99
    assert patchy.density[deep].std() > even.density[deep].std() + 0.15
    assert 0.05 < (patchy.density[deep] < 0.3).mean() < 0.5


def test_words_say_what_was_drawn() -> None:
    dense = VesselsRanges(capillary_m_per_mm3=(1.2, 1.2), trunks_alone=0.0)
    assert draw_vessels(GRID, _rng(0), VesselsRanges(trunks_alone=1.0)).words["pattern"] == (
        "that branch, without capillaries"
    )
    few = dense.model_copy(update={"trunks_per_mm2": (1e-9, 1e-9)})
    assert draw_vessels(GRID, _rng(0), few).words["pattern"] == "in a capillary network"
    assert draw_vessels(GRID, _rng(0), few).words["calibre"] == "fine"


def test_a_grid_smaller_than_a_vessel() -> None:
    tiny = Grid.of_volume((8, 8, 8), (1.0, 1.0, 1.0))
    for seed in range(5):
        assert draw_vessels(tiny, _rng(seed), VesselsRanges()).density.shape == tiny.shape
        assert draw_vessels(COARSE, _rng(seed), VesselsRanges()).density.shape == COARSE.shape
