"""The capillary bed: thin vessels that fill a grid and meet in threes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree, Voronoi

from .grid import Grid

_EDGE_LENGTH = 5.83 * 0.75  # of Voronoi edges per (cells per volume)^(2/3), a quarter taken out
_LINK_UM = 60.0  # the end of a tree is joined to a capillary no farther away than this


@dataclass(frozen=True)
class Segment:
    """An unbranched vessel.

    Attributes:
        points_um: [N, 3], its middle (z, y, x).
        radius_um: the same all along.
        parent: index of the vessel that it springs from; -1 for none.
        forks: whether it ends in a fork; else it leaves the grid or ends.
    """

    points_um: np.ndarray
    radius_um: float
    parent: int = -1
    forks: bool = False


def grow_bed(
    grid: Grid,
    rng: np.random.Generator,
    length_m_per_mm3: float,
    radius_um: float,
    spread: float,
    waviness: float,
) -> tuple[list[Segment], np.ndarray]:
    """Capillaries that fill the grid and meet in threes.

    Edges of Voronoi cells, of which some are taken out until three meet in a node, have the
    statistics of cortical capillaries (A. F. Smith et al., Frontiers in Physiology 10:233, 2019).

    Args:
        grid: what to fill.
        rng: source of all that is random.
        length_m_per_mm3: length in a volume, m per mm3.
        radius_um: mean radius.
        spread: standard deviation of the radius over its mean.
        waviness: sideways swing of a capillary over its length.

    Returns:
        The capillaries, and the nodes [M, 2] that they run between.
    """
    wanted = length_m_per_mm3 * 1e-3  # um per um3
    spacing = (_EDGE_LENGTH / wanted) ** 0.5
    cells = np.ceil(grid.size_um / spacing).astype(int) + 6
    lattice = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), axis=-1).reshape(-1, 3)
    # Jitter keeps cells alike in size: capillaries supply all tissue evenly.
    voronoi = Voronoi(lattice + rng.uniform(0, 1, lattice.shape))
    nodes = voronoi.vertices
    edges = _thinned(rng, _edges(voronoi), len(nodes))
    inner = np.abs(nodes[edges] - cells / 2).max(axis=1) < cells / 2 - 1
    edges = edges[inner.all(axis=1)]
    chords = nodes[edges[:, 1]] - nodes[edges[:, 0]]
    swing = _swings(rng, chords, waviness)
    bed = _waves(nodes[edges[:, 0]], chords, swing, 17)
    # Scale the whole bed so that its length per volume is the wanted one.
    middle = (np.abs(bed - cells / 2) < cells / 2 - 2).all(axis=2)
    along = np.linalg.norm(np.diff(bed, axis=1), axis=2)
    found = (along * middle[:, 1:]).sum() / np.prod(cells - 4.0)
    scale = (found / wanted) ** 0.5
    origin = grid.size_um / 2 - scale * cells / 2
    near = bed * scale + origin
    margin = 3 * radius_um
    keep = ((near > -margin) & (near < grid.size_um + margin)).all(axis=2).any(axis=1)
    steps = np.maximum(along.sum(axis=1) * scale / point_spacing(grid, radius_um), 2).astype(int)
    factor = np.clip(1 + spread * rng.standard_normal(len(edges)), 0.6, 1.4)
    starts = nodes[edges[:, 0]] * scale + origin
    capillaries = [
        Segment(
            _waves(starts[[i]], chords[[i]] * scale, swing[[i]] * scale, steps[i] + 1)[0],
            float(radius_um * factor[i]),
        )
        for i in np.flatnonzero(keep)
    ]
    return capillaries, edges[keep]


def join_bed(
    grid: Grid, trees: list[Segment], bed: list[Segment], nodes: np.ndarray
) -> tuple[list[Segment], list[tuple[int, int]]]:
    """Trees and bed as one network: the bed opens into trunks, ends of trees reach the bed.

    Args:
        grid: where all lie; nodes beyond it join nothing.
        trees: the vessels of all trees.
        bed: capillaries.
        nodes: [M, 2], between which nodes they run.

    Returns:
        All vessels, those of the trees first, and the new pairs that hang together.
    """
    vessels, links = list(trees), []
    first_at: dict[int, int] = {}
    swallowers = np.split(
        _swallower(trees, np.concatenate([s.points_um for s in bed])) if bed else np.zeros(0, int),
        np.cumsum([len(s.points_um) for s in bed])[:-1],
    )
    for capillary, ends, swallower in zip(bed, nodes.tolist(), swallowers, strict=False):
        points, last = capillary.points_um, len(swallower) - 1
        # Cut into pieces where it runs through a trunk; a piece that was cut opens into the trunk.
        cuts = np.flatnonzero(np.diff(swallower >= 0)) + 1
        for piece in np.split(np.arange(last + 1), cuts):
            if swallower[piece[0]] >= 0:
                continue
            index = len(vessels)
            vessels.append(Segment(points[piece], capillary.radius_um))
            for tip, end, step, node in (
                (piece[0], 0, -1, ends[0]),
                (piece[-1], last, 1, ends[1]),
            ):
                if tip != end:
                    links.append((index, int(swallower[tip + step])))
                elif _holds(grid, points[tip]):
                    links.append((index, first_at.setdefault(node, index)))
    joins = _joins(grid, vessels, len(trees))
    for i, (leaf, target, segment) in enumerate(joins, start=len(vessels)):
        links += [(leaf, i), (target, i)]
        vessels.append(segment)
    return vessels, links


def _swallower(trees: list[Segment], points_um: np.ndarray) -> np.ndarray:
    """[N], index of the vessel that each point lies inside of, -1 for none."""
    if not trees:
        return np.full(len(points_um), -1)
    owner = np.repeat(np.arange(len(trees)), [len(s.points_um) for s in trees])
    gap, nearest = KDTree(np.concatenate([s.points_um for s in trees])).query(points_um)
    found = owner[nearest]
    return np.where(gap < np.array([s.radius_um for s in trees])[found], found, -1)


def _joins(grid: Grid, vessels: list[Segment], trees: int) -> list[tuple[int, int, Segment]]:
    """From every open end of the first `trees` vessels to the nearest end of a capillary."""
    if len(vessels) == trees:
        return []
    tips = np.array([vessel.points_um[-1] for vessel in vessels[trees:]])
    tree, joins = KDTree(tips), []
    for leaf, vessel in enumerate(vessels[:trees]):
        end = vessel.points_um[-1]
        gap, goal = tree.query(end)
        if vessel.forks or gap > _LINK_UM or not _holds(grid, end):
            continue
        target = trees + int(goal)
        thin = min(vessel.radius_um, vessels[target].radius_um)
        steps = int(gap / point_spacing(grid, thin)) + 2
        joins.append((leaf, target, Segment(np.linspace(end, tips[goal], steps), thin)))
    return joins


def _holds(grid: Grid, place_um: np.ndarray) -> bool:
    return bool((place_um >= 0).all() and (place_um <= grid.size_um).all())


def point_spacing(grid: Grid, radius_um: float) -> float:
    """Distance in um of points along a vessel that a painter needs."""
    return max(0.8 * min(grid.pitch_um), 0.5 * radius_um)


def _edges(voronoi: Voronoi) -> np.ndarray:
    """[E, 2], vertices at the ends of every finite edge."""
    pairs = {
        (min(a, b), max(a, b))
        for ring in voronoi.ridge_vertices
        for a, b in zip(ring, ring[1:] + ring[:1], strict=True)
        if min(a, b) >= 0
    }
    return np.array(sorted(pairs))


def _thinned(rng: np.random.Generator, edges: np.ndarray, count: int) -> np.ndarray:
    """Without edges between nodes of four, in random order, until (nearly) all nodes have three."""
    degree = np.bincount(edges.ravel(), minlength=count).tolist()
    kept = []
    for i in rng.permutation(len(edges)).tolist():
        a, b = edges[i].tolist()
        if degree[a] > 3 and degree[b] > 3:
            degree[a] -= 1
            degree[b] -= 1
        else:
            kept.append(i)
    return edges[kept]


def _swings(rng: np.random.Generator, chords: np.ndarray, waviness: float) -> np.ndarray:
    """[E, 3 waves, 3], how far each capillary swings to the side."""
    raw = rng.standard_normal((len(chords), 3, 3)) / np.array([1.0, 2.0, 3.0])[:, None]
    lengths = np.linalg.norm(chords, axis=1)[:, None, None]
    ahead = chords[:, None] / np.maximum(lengths, 1e-9)
    return waviness * lengths * (raw - (raw * ahead).sum(axis=2, keepdims=True) * ahead)


def _waves(starts: np.ndarray, chords: np.ndarray, swing: np.ndarray, count: int) -> np.ndarray:
    """[E, count, 3], points along chords that swing to the side."""
    t = np.linspace(0, 1, count)
    waves = np.sin(np.pi * np.arange(1, 4) * t[:, None])
    return starts[:, None] + t[:, None] * chords[:, None] + waves @ swing
