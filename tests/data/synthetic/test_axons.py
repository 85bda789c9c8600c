"""Axons: persistence, length per volume, dye of thin fibres, bundles, swellings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from luxvox.data.synthetic.axon_courses import AxonKind, grow_axons, step_of, walk
from luxvox.data.synthetic.axons import AxonsRanges, draw_axons, swellings
from luxvox.data.synthetic.grid import Grid

GRID = Grid.of_volume((64, 64, 64), (2.0, 2.0, 2.0))
FLAT = Grid.of_volume((22, 64, 64), (6.0, 2.0, 2.0))
KINDS = ("sparse", "field", "bundle", "thick")
PLAIN = {
    "bouton_gain": (1.0, 1.0), "calibre_spread": (0.0, 0.0), "brightness_spread": (0.0, 0.0),
    "unevenness": (0.0, 0.0),
}  # fmt: skip


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _only(name: str, **changes: object) -> dict[str, AxonKind]:
    """Ranges in which one kind alone is drawn."""
    kinds = {k: getattr(AxonsRanges(), k).model_copy(update={"share": 0.0}) for k in KINDS}
    kinds[name] = kinds[name].model_copy(update={"share": 1.0, **changes})
    return kinds


def test_same_seed_same_bytes() -> None:
    one, two, other = (draw_axons(GRID, _rng(s), AxonsRanges()) for s in (1, 1, 2))
    assert one.density.tobytes() == two.density.tobytes()
    assert one.instances.tobytes() == two.instances.tobytes()
    assert one.density.tobytes() != other.density.tobytes()


def test_walks_forget_their_direction_over_the_persistence() -> None:
    count, persistence = 600, 50.0
    paths = walk(
        _rng(), np.zeros((count, 3)), np.tile([0.0, 0.0, 1.0], (count, 1)), 1.0, 200, persistence
    )
    steps = np.diff(paths, axis=1)
    assert np.allclose(np.linalg.norm(steps, axis=2), 1.0)
    cosine = (steps[:, 40] * steps[:, 40 + 50]).sum(axis=1).mean()
    assert cosine == pytest.approx(np.exp(-1), abs=0.08)
    # Smooth: one step to the next turns far less than a chain of independent kicks would.
    turn = 1 - (steps[:, 1:] * steps[:, :-1]).sum(axis=2).mean()
    assert turn < 0.5 * (1 - np.exp(-1 / persistence))


@pytest.mark.parametrize("grid", [GRID, FLAT])
@pytest.mark.parametrize("wanted", [0.3, 3.0])
def test_length_per_volume_is_the_wanted_one(grid: Grid, wanted: float) -> None:
    fibres = grow_axons(grid, _rng(2), AxonsRanges().field, wanted)
    length = sum((len(fibre.points_um) * step_of(grid)) for fibre in fibres)
    assert length * 1e-6 / grid.volume_mm3 == pytest.approx(wanted, rel=0.02)
    for fibre in fibres:
        assert (fibre.points_um >= 0).all()
        assert (fibre.points_um < grid.size_um).all()
        gaps = np.linalg.norm(np.diff(fibre.points_um, axis=0), axis=1)
        assert (gaps < 1.01 * step_of(grid)).all()


@pytest.mark.parametrize("grid", [GRID, FLAT])
def test_dye_of_thin_fibres_is_their_volume(grid: Grid) -> None:
    radius = 0.4
    ranges = AxonsRanges(
        **_only("sparse", length_m_per_mm3=(1.0, 1.0), radius_um=(radius, radius)), **PLAIN
    )
    drawing = draw_axons(grid, _rng(3), ranges)
    wanted = 1.0e-3 * np.pi * radius**2  # length per volume times the cross-section
    assert drawing.density.mean() == pytest.approx(wanted, rel=0.03)


def test_bundles_run_one_way_and_fields_do_not() -> None:
    def order(kind: AxonKind) -> float:
        """Largest share of the squared directions along one axis: 1 parallel, 1/3 all ways."""
        fibres = grow_axons(GRID, _rng(4), kind, 3.0)
        ways = np.concatenate([np.diff(f.points_um, axis=0) for f in fibres]) / step_of(GRID)
        return float(np.linalg.eigvalsh(ways.T @ ways / len(ways)).max())

    assert order(AxonsRanges().bundle) > 0.85
    assert order(AxonsRanges().field) < 0.55


def test_swellings_come_as_often_as_wanted() -> None:
    profile = swellings(_rng(), 200_000, 0.25, 20.0, 0.6)
    peaks = label(profile > 0.9)[1]
    assert peaks == pytest.approx(200_000 * 0.25 / 20.0, rel=0.1)
    assert profile.min() == 0.0
    assert profile.max() == 1.0


def test_swellings_are_wider() -> None:
    common = _only("sparse", length_m_per_mm3=(1.0, 1.0), radius_um=(0.3, 0.3))
    plain = draw_axons(GRID, _rng(5), AxonsRanges(**common, **PLAIN))
    beaded = draw_axons(
        GRID, _rng(5), AxonsRanges(**common, **{**PLAIN, "bouton_gain": (2.0, 2.0)})
    )
    assert beaded.density.sum() > 1.05 * plain.density.sum()
    assert beaded.density.max() > 1.5 * np.percentile(plain.density[plain.density > 0], 99)


@pytest.mark.parametrize("name", KINDS)
def test_axons_are_in_one_piece_and_labels_hold_the_dye(name: str) -> None:
    drawing = draw_axons(GRID, _rng(6), AxonsRanges(**_only(name)))
    inside = drawing.instances > 0
    assert drawing.density[inside].sum() > 0.75 * drawing.density.sum()
    assert drawing.density[inside].mean() > 20 * drawing.density[~inside].mean()
    assert drawing.centreline is not None
    assert inside[drawing.centreline].mean() > 0.95
    assert drawing.instances.max() >= 1


def test_a_lone_axon_with_its_branches_is_one_piece() -> None:
    ranges = AxonsRanges(**_only("field", length_m_per_mm3=(0.3, 0.3)))
    drawing = draw_axons(GRID, _rng(7), ranges)
    for number in range(1, int(drawing.instances.max()) + 1):
        pieces, _ = label(drawing.instances == number, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        assert sizes.max() > 0.7 * sizes.sum()


@pytest.mark.parametrize("name", KINDS)
def test_words_say_the_kind_and_how_much(name: str) -> None:
    words = {
        length: draw_axons(
            GRID, _rng(8), AxonsRanges(**_only(name, length_m_per_mm3=(length, length)))
        ).words
        for length in (0.1, 4.0)
    }
    assert words[0.1]["amount"] == "sparse"
    assert words[4.0]["amount"] == "dense"
    assert ("one direction" in words[4.0]["pattern"]) == (name == "bundle")


@pytest.mark.parametrize(
    ("radius", "said"), [(0.25, "fine"), (0.5, "of medium calibre"), (1.0, "thick")]
)
def test_words_say_the_calibre(radius: float, said: str) -> None:
    ranges = AxonsRanges(**_only("sparse", radius_um=(radius, radius)))
    assert draw_axons(GRID, _rng(9), ranges).words["calibre"] == said


def test_tiny_grids_are_drawn_too() -> None:
    tiny = Grid.of_volume((8, 8, 8), (1.0, 1.0, 1.0))
    for seed in range(8):
        assert draw_axons(tiny, _rng(seed), AxonsRanges()).instances.max() >= 1
