"""Blood vessels: trees that fork by Murray's law and feed a bed of joined capillaries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtri

from .capillaries import Segment, grow_bed, join_bed, point_spacing
from .grid import Grid
from .painter import Drawing, Painter
from .randomness import Range, Ranges, log_uniform, smooth_noise, uniform, unit, winding_walk

_MURRAY = 3.0  # C. D. Murray, PNAS 12, 207 (1926)


class VesselsRanges(Ranges):
    """What vessels look like."""

    trunks_per_mm2: Range = (2.0, 14.0)
    """Trunks that enter, per mm2 of the faces; our judgement."""
    trunk_radius_um: Range = (4.0, 18.0)
    """um; penetrating and small pial vessels; our judgement."""
    capillary_radius_um: Range = (1.6, 3.0)
    """um, mean of a volume; our judgement."""
    capillary_spread: float = 0.12
    """Standard deviation of a capillary's radius over the mean; our judgement."""
    capillary_m_per_mm3: Range = (0.4, 1.2)
    """Length of capillaries, m per mm3; our judgement. Skeletons of three masks of mouse brain gave
    about 0.9 to 1.0, where their unstated voxel size is taken as 1.8 um."""
    trunks_alone: float = 0.1
    """Share of volumes without a bed, as with stains of arterioles; our judgement."""
    waviness: Range = (0.04, 0.14)
    """Sideways swing of a capillary over its length; our judgement."""
    length_per_radius: Range = (5.0, 14.0)
    """Length of a vessel between forks over its radius; our judgement."""
    persistence_per_radius: Range = (20.0, 80.0)
    """Length over which a trunk forgets its direction, over its radius; our judgement."""
    smaller_share: Range = (0.06, 0.5)
    """Share of the flow (radius cubed) that the smaller daughter takes; our judgement."""
    wall_stained: float = 0.5
    """Share of volumes with stained walls (lectin, CD31); the rest have a filled lumen."""
    wall_um: Range = (1.0, 2.5)
    """um, thickness of the stained wall as far as it shines; our judgement."""
    lumen_level: Range = (0.05, 0.4)
    """Dye in the lumen where walls are stained; our judgement."""
    unevenness: Range = (0.05, 0.45)
    """Standard deviation of the logarithm of the dye along vessels; our judgement."""
    patch_um: Range = (10.0, 60.0)
    """um, extent of evenly stained stretches; our judgement."""
    gap_share: Range = (0.0, 0.05)
    """Share of the vessels that took nearly no dye; our judgement."""


def draw_vessels(grid: Grid, rng: np.random.Generator, ranges: VesselsRanges) -> Drawing:
    """Draw trees and the capillary bed between them; every connected network has one number."""
    capillary = uniform(rng, ranges.capillary_radius_um)
    length = log_uniform(rng, ranges.capillary_m_per_mm3)
    has_bed = rng.uniform() >= ranges.trunks_alone
    z, y, x = grid.size_um * 1e-3
    expected = log_uniform(rng, ranges.trunks_per_mm2) * 2 * (z * y + y * x + x * z)
    trunks = max(int(rng.poisson(expected)), 0 if has_bed else 1)
    trees = [
        grow_tree(grid, rng, ranges, log_uniform(rng, ranges.trunk_radius_um), capillary)
        for _ in range(trunks)
    ]
    segments = [vessel for tree in trees for vessel in tree]
    links = _tree_links(trees)
    if has_bed:
        waviness = uniform(rng, ranges.waviness)
        bed, nodes = grow_bed(grid, rng, length, capillary, ranges.capillary_spread, waviness)
        segments, more = join_bed(grid, segments, bed, nodes)
        links += more
    numbers = _components(len(segments), links)
    words = {
        "amount": _amount(length, ranges) if has_bed else "sparse",
        "calibre": "wide" if trunks and not has_bed else "of mixed calibre" if trunks else "fine",
        "pattern": _pattern(trunks, has_bed),
    }
    return replace(_paint(grid, rng, ranges, segments, numbers), words=words)


def grow_tree(
    grid: Grid, rng: np.random.Generator, ranges: VesselsRanges, radius_um: float, least_um: float
) -> list[Segment]:
    """A tree that enters through a face and forks by Murray's law until daughters would be thin.

    Args:
        grid: what it grows into; what leaves the grid is cut off.
        rng: source of all that is random.
        ranges: of the shape.
        radius_um: of the trunk.
        least_um: no vessel of the tree is thinner.
    """
    ratio = uniform(rng, ranges.persistence_per_radius)
    place, heading = _entry(grid, rng)
    tree: list[Segment] = []
    growing = [(place, heading, max(radius_um, least_um), -1)]
    while growing:
        place, heading, radius, parent = growing.pop()
        step = point_spacing(grid, radius)
        reach = max(radius * uniform(rng, ranges.length_per_radius), 2 * step)
        points = winding_walk(rng, place, heading, step, reach, ratio * radius)
        outside = ((points < -radius) | (points > grid.size_um + radius)).any(axis=1)
        forks = not outside.any() and radius**_MURRAY > 2 * least_um**_MURRAY
        end = int(np.argmax(outside)) if outside.any() else len(points)
        tree.append(Segment(points[: max(end, 1)], radius, parent, forks))
        if forks:
            lowest = max(ranges.smaller_share[0], (least_um / radius) ** _MURRAY)
            share = rng.uniform(lowest, max(lowest, ranges.smaller_share[1]))
            heading = unit(points[-1] - points[-2])
            for daughter, toward in _fork(rng, heading, radius, share):
                growing.append((points[-1], toward, daughter, len(tree) - 1))
    return tree


def _entry(grid: Grid, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A point on one of the faces, larger ones more often, and a direction into the grid."""
    size = grid.size_um
    faces = np.prod(size) / size
    axis, far = int(rng.choice(3, p=faces / faces.sum())), bool(rng.integers(2))
    place = rng.uniform(0.05, 0.95, 3) * size
    place[axis] = size[axis] if far else 0.0
    heading = 0.5 * rng.standard_normal(3)
    heading[axis] = -1.0 if far else 1.0
    return place, unit(heading)


def _fork(
    rng: np.random.Generator, heading: np.ndarray, radius: float, share: float
) -> list[tuple[float, np.ndarray]]:
    """Radius and direction of two daughters; angles of least work (Murray, 1926, as above)."""
    large, small = radius * (1 - share) ** (1 / _MURRAY), radius * share ** (1 / _MURRAY)
    aside = unit(np.cross(heading, rng.standard_normal(3)))
    daughters = []
    for own, other, side in ((large, small, 1.0), (small, large, -1.0)):
        cosine = (radius**4 + own**4 - other**4) / (2 * radius**2 * own**2)
        sine = max(1 - cosine**2, 0.0) ** 0.5
        daughters.append((own, cosine * heading + side * sine * aside))
    return daughters


def _tree_links(trees: list[list[Segment]]) -> list[tuple[int, int]]:
    """Pairs of vessels that hang together, numbered through all trees."""
    links, first = [], 0
    for tree in trees:
        links += [(first + i, first + s.parent) for i, s in enumerate(tree) if s.parent >= 0]
        first += len(tree)
    return links


def _components(count: int, links: list[tuple[int, int]]) -> np.ndarray:
    """[count], the number of each vessel's network, from 1."""
    pairs = np.array(links, int).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1] + 1


def _paint(
    grid: Grid,
    rng: np.random.Generator,
    ranges: VesselsRanges,
    segments: list[Segment],
    numbers: np.ndarray,
) -> Drawing:
    outer, lumen = Painter(grid), Painter(grid)
    wall = uniform(rng, ranges.wall_um)
    level = uniform(rng, ranges.lumen_level)
    has_wall = rng.uniform() < ranges.wall_stained
    for segment, number in zip(segments, numbers, strict=True):
        beyond = segment.radius_um + 2 * grid.mean_pitch_um
        near = (segment.points_um > -beyond) & (segment.points_um < grid.size_um + beyond)
        points = segment.points_um[near.all(axis=1)]
        radii = np.full(len(points), segment.radius_um)
        outer.add_path(points, radii, int(number))
        # A lumen thinner than a voxel would not be seen: such vessels look filled.
        if has_wall and segment.radius_um - wall > grid.mean_pitch_um:
            lumen.add_path(points, radii - wall, 1)
    drawing = outer.drawing()
    density = drawing.density
    if has_wall:
        density = np.maximum(density - (1 - level) * lumen.drawing().density, 0)
    return replace(drawing, density=density * _stain(grid, rng, ranges))


def _stain(grid: Grid, rng: np.random.Generator, ranges: VesselsRanges) -> np.ndarray:
    """[Z, Y, X] float32, factor on the dye: patchy, with gaps."""
    noise = smooth_noise(grid, log_uniform(rng, ranges.patch_um), rng)
    spread = uniform(rng, ranges.unevenness)
    # Brightest patches are cut off at twice the mean: the stain saturates.
    dye = np.clip(np.exp(spread * noise), 0.0, 2.0)
    lowest = float(ndtri(max(uniform(rng, ranges.gap_share), 1e-6)))
    return dye * np.clip((noise - lowest) / 0.2, 0.1, 1.0)


def _amount(length: float, ranges: VesselsRanges) -> str:
    low, high = np.log(ranges.capillary_m_per_mm3)
    share = (np.log(length) - low) / max(high - low, 1e-9)
    return "sparse" if share < 1 / 3 else "of medium density" if share < 2 / 3 else "dense"


def _pattern(trunks: int, has_bed: bool) -> str:
    if not has_bed:
        return "that branch, without capillaries"
    return "that branch into capillaries" if trunks else "in a capillary network"
