"""Nuclei: ellipsoids with chromatin inside, of two cell populations, even, clustered or layered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree

from .grid import Grid
from .painter import Drawing, Painter
from .randomness import Range, Ranges, log_uniform, random_turn, uniform, unit

_CLOSENESS = 0.85  # neighbours may be this share of their two mean radii apart
_ROUNDS = 25  # tries for a nucleus to find a free place
_FULLEST = 0.4  # share of a layer that nuclei can fill before random places run out
_TOUCHING_UM = 12.0  # nuclei reach in from this far outside

Pattern = Callable[[np.ndarray], np.ndarray]


class NucleiRanges(Ranges):
    """Ranges of a volume with stained nuclei."""

    per_mm3: Range = (2e3, 1.5e6)
    """Nuclei per mm3, mean of the volume. The whole mouse brain holds some 2.6e5 cells per mg
    (Herculano-Houzel, Mota and Lent, PNAS 103, 12138 (2006)); the lower end stands for activity
    markers such as c-Fos, the upper one for granule cell layers; our judgement."""
    most: int = 5000
    """Nuclei in one volume at most, for speed: large volumes are less dense."""
    radius_um: Range = (2.7, 5.2)
    """Median radius of neuronal nuclei, um; our judgement (granule cells to pyramidal cells)."""
    radius_spread: Range = (0.04, 0.15)
    """Standard deviation of the logarithm of the radius; our judgement."""
    neuron_share: Range = (0.35, 1.0)
    """Share of neurons, the others are glia; 1 for stains of neurons only; our judgement."""
    glia_radius: Range = (0.68, 0.9)
    """Radius of glial nuclei over that of neuronal ones; our judgement."""
    glia_brightness: Range = (1.1, 1.8)
    """Brightness of glial nuclei, whose chromatin is denser, over neuronal ones; our judgement."""
    shape_spread: Range = (0.04, 0.18)
    """Standard deviation of the logarithm of each half axis; our judgement."""
    slender_share: Range = (0.0, 0.08)
    """Share of slender nuclei, as of the walls of vessels; our judgement."""
    brightness_spread: Range = (0.12, 0.9)
    """Standard deviation of the logarithm of brightness between nuclei: low for dyes of all DNA,
    high for activity markers such as c-Fos; our judgement."""
    chromatin_contrast: Range = (0.05, 0.35)
    """Standard deviation of dye between dense and loose chromatin; our judgement."""
    chromatin_um: Range = (0.7, 1.6)
    """Size of the patches of chromatin, um; our judgement."""
    chromocentres: Range = (0.0, 12.0)
    """Mean number of chromocentres in a nucleus; our judgement (mouse nuclei show some ten)."""
    chromocentre_gain: Range = (0.3, 1.8)
    """Dye in a chromocentre above that around it, relative; our judgement."""
    nucleoli: Range = (0.0, 2.5)
    """Mean number of nucleoli in a nucleus; our judgement."""
    nucleolus_loss: Range = (0.3, 0.9)
    """Share of dye that is missing in a nucleolus; our judgement."""
    mitotic_share: Range = (0.0, 0.01)
    """Share of nuclei in division, condensed to a bright plate or a pair; our judgement."""
    clustered: float = 0.3
    """Share of volumes whose nuclei lie in clusters."""
    layered: float = 0.3
    """Share of volumes whose nuclei lie in a layer; the rest is even."""
    cluster_um: Range = (12.0, 50.0)
    """Standard deviation of a cluster, um; our judgement."""
    clusters_per_mm3: Range = (300.0, 5000.0)
    """Clusters per mm3; our judgement."""
    layer_um: Range = (35.0, 160.0)
    """Thickness of a layer, um: from the hippocampal granule cells to a cortical layer; our
    judgement."""
    between: Range = (0.02, 0.3)
    """Density between clusters and outside layers over that inside; our judgement."""


def draw_nuclei(grid: Grid, rng: np.random.Generator, ranges: NucleiRanges) -> Drawing:
    """Draw the nuclei of one volume; each is one instance, both plates of a pair are two.

    Args:
        grid: where to draw.
        rng: source of all that is random.
        ranges: what is drawn from.

    Returns:
        Density below 1 but for chromocentres; no centreline.
    """
    per_mm3 = min(log_uniform(rng, ranges.per_mm3), ranges.most / grid.volume_mm3)
    radius_um = log_uniform(rng, ranges.radius_um)
    name, pattern = _pattern(grid, rng, ranges)
    centres, radii, brightness = _place(grid, rng, ranges, per_mm3, radius_um, pattern)

    painter = Painter(grid)
    shape_spread = uniform(rng, ranges.shape_spread)
    slender_share = uniform(rng, ranges.slender_share)
    mitotic_share = uniform(rng, ranges.mitotic_share)
    number = 0
    for centre, radius, bright in zip(centres, radii, brightness, strict=True):
        kind = rng.random()
        turn = random_turn(rng)
        stretch = np.exp(shape_spread * rng.standard_normal(3))
        places = [centre]
        if kind < mitotic_share:
            stretch, bright = np.array([0.32, 1.0, 1.0]), min(2.0 * bright, 1.2)
            radius = 0.7 * radius
            if rng.random() < 0.5:
                gap = radius * rng.uniform(0.7, 1.3) * turn[:, 0]
                places = [centre - gap, centre + gap]
        elif kind > 1 - slender_share:
            stretch[0] *= rng.uniform(1.8, 3.0)
        half_axes = radius * stretch / np.prod(stretch) ** (1 / 3)
        for place in places:
            number += 1
            painter.add_ellipsoid(place, half_axes, turn, number, float(bright))
    texture = _chromatin(grid, rng, ranges, centres, radii)
    return painter.drawing(texture, **nuclei_words(per_mm3, radius_um, name))


def nuclei_words(per_mm3: float, radius_um: float, pattern: str) -> dict[str, str]:
    """What a caption may say of nuclei.

    Args:
        per_mm3: density.
        radius_um: median radius.
        pattern: how they lie.
    """
    amounts = ("sparse", "scattered", "dense", "densely packed")
    sizes = ("small", "medium-sized", "large")
    return {
        "amount": amounts[int(np.searchsorted((1e4, 5e4, 2e5), per_mm3))],
        "size": sizes[int(np.searchsorted((3.3, 4.3), radius_um))],
        "pattern": pattern,
    }


def _pattern(grid: Grid, rng: np.random.Generator, ranges: NucleiRanges) -> tuple[str, Pattern]:
    """Name of a pattern, and its relative density (0 to 1) at places [N, 3]."""
    kind = rng.random()
    floor = uniform(rng, ranges.between)
    if kind < ranges.clustered:
        sigma = log_uniform(rng, ranges.cluster_um)
        low, size = -sigma, grid.size_um + 2 * sigma
        wanted = log_uniform(rng, ranges.clusters_per_mm3) * float(np.prod(size)) * 1e-9
        # The first lies inside, so that there is a cluster to see.
        middles = low + rng.uniform(0, 1, (1 + rng.poisson(wanted), 3)) * size
        middles[0] = rng.uniform(0, 1, 3) * grid.size_um
        tree = KDTree(middles)

        def clusters(places: np.ndarray) -> np.ndarray:
            gap = tree.query(places)[0]
            return floor + (1 - floor) * np.exp(-0.5 * (gap / sigma) ** 2)

        return "in clusters", clusters
    if kind < ranges.clustered + ranges.layered:
        normal, side = unit(rng.standard_normal(3)), rng.standard_normal(3)
        across = unit(side - (side @ normal) * normal)
        middle = rng.uniform(0.25, 0.75, 3) * grid.size_um
        half = 0.5 * log_uniform(rng, ranges.layer_um)
        edge = half * rng.uniform(0.08, 0.4)
        bow_um = rng.choice((-1, 1)) * log_uniform(rng, (300.0, 3000.0))  # radius of the bend

        def layer(places: np.ndarray) -> np.ndarray:
            offset = places - middle
            depth = offset @ normal - (offset @ across) ** 2 / (2 * bow_um)
            return floor + (1 - floor) / (1 + np.exp(np.clip((abs(depth) - half) / edge, -50, 50)))

        return "in a layer", layer
    return "spread evenly", lambda places: np.ones(len(places))


def _place(
    grid: Grid,
    rng: np.random.Generator,
    ranges: NucleiRanges,
    per_mm3: float,
    radius_um: float,
    pattern: Pattern,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres [N, 3] um, mean radii [N] um and brightness [N] of nuclei that hardly overlap."""
    low, size = -_TOUCHING_UM, grid.size_um + 2 * _TOUCHING_UM
    volume_um3 = float(np.prod(size))
    inside = float(pattern(rng.uniform(0, 1, (2000, 3)) * grid.size_um).mean())
    around = float(pattern(low + rng.uniform(0, 1, (2000, 3)) * size).mean())
    # The density holds inside the grid; the rim around it follows the same pattern.
    wanted = per_mm3 * 1e-9 * volume_um3 * around / inside
    fits = _FULLEST * around * volume_um3 / (4 / 3 * np.pi * radius_um**3)
    count = int(min(rng.poisson(wanted), fits))

    glia = rng.random(count) > uniform(rng, ranges.neuron_share)
    radii = radius_um * np.exp(uniform(rng, ranges.radius_spread) * rng.standard_normal(count))
    radii = np.where(glia, uniform(rng, ranges.glia_radius) * radii, radii)
    spread, ratio = uniform(rng, ranges.brightness_spread), uniform(rng, ranges.glia_brightness)
    # Two deviations above the median is full, so that density stays near or below 1.
    logs = spread * (np.minimum(rng.standard_normal(count), 2.5) - 2) - np.log(ratio) * ~glia
    brightness = np.maximum(np.exp(logs), 0.03)

    places = np.zeros((count, 3))
    waiting, settled = np.arange(count), np.zeros(0, int)
    widest = float(radii.max(initial=0.0))
    for _ in range(_ROUNDS):
        if not len(waiting):
            break
        places[waiting] = _sample(rng, len(waiting), low, size, pattern)
        both = np.concatenate([settled, waiting])
        pairs = KDTree(places[both]).query_pairs(2 * _CLOSENESS * widest, output_type="ndarray")
        first, second = both[pairs[:, 0]], both[pairs[:, 1]]
        gap = np.linalg.norm(places[first] - places[second], axis=1)
        close = gap < _CLOSENESS * (radii[first] + radii[second])
        # Of a pair the later one has to look for another place.
        failed = np.zeros(count, bool)
        failed[second[close]] = True
        settled, waiting = both[~failed[both]], both[failed[both]]
    settled = np.sort(settled)
    return places[settled], radii[settled], brightness[settled]


def _sample(
    rng: np.random.Generator, count: int, low: float, size: np.ndarray, pattern: Pattern
) -> np.ndarray:
    """[count, 3] random places, as dense as the pattern says."""
    found = np.empty((0, 3))
    while len(found) < count:
        tried = low + rng.uniform(0, 1, (4 * count + 16, 3)) * size
        found = np.concatenate([found, tried[rng.random(len(tried)) < pattern(tried)]])
    return found[:count]


def _chromatin(
    grid: Grid,
    rng: np.random.Generator,
    ranges: NucleiRanges,
    centres: np.ndarray,
    radii: np.ndarray,
) -> np.ndarray:
    """[Z, Y, X] factor on the dye: patches (1 on average), chromocentres and nucleoli."""
    scale = uniform(rng, ranges.chromatin_um) / 2 / np.asarray(grid.pitch_um)
    noise = gaussian_filter(rng.standard_normal(grid.shape, np.float32), scale, truncate=2.5)
    # Voxels wider than a patch average over it: contrast falls with the number of patches inside.
    patches = np.prod(np.maximum(1.0, 0.5 / scale))
    contrast = uniform(rng, ranges.chromatin_contrast) / np.sqrt(patches)
    texture = 1 + np.float32(contrast / max(float(noise.std()), 1e-6)) * noise
    gain, loss = uniform(rng, ranges.chromocentre_gain), uniform(rng, ranges.nucleolus_loss)
    for mean, spot_um, change in (
        (uniform(rng, ranges.chromocentres), (0.3, 0.7), gain),
        (uniform(rng, ranges.nucleoli), (0.6, 1.1), -loss),
    ):
        owner = np.repeat(np.arange(len(radii)), rng.poisson(mean, len(radii)))
        spot = rng.uniform(*spot_um, len(owner)) * np.minimum(1.0, radii[owner] / 4)
        heading = rng.standard_normal((len(owner), 3))
        heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
        depth = np.cbrt(rng.random(len(owner))) * (0.85 * radii[owner] - spot)
        texture += change * _spots(grid, centres[owner] + depth[:, None] * heading, spot)
    return np.maximum(texture, 0.05)


def _spots(grid: Grid, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """[Z, Y, X] share of each voxel that balls fill: centres [N, 3] and radii [N] in um."""
    pitch = np.asarray(grid.pitch_um)
    total = np.zeros(int(np.prod(grid.shape)))
    if not len(centres):
        return total.reshape(grid.shape).astype(np.float32)
    # A ball is a cloud of points closer together than voxels; each shares itself among 8 of them.
    steps = int(np.clip(np.ceil(2 * radii.max() / pitch.min()), 2, 12))
    ticks = (np.arange(steps) + 0.5) / steps * 2 - 1
    cloud = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    cloud = cloud[np.linalg.norm(cloud, axis=1) <= 1]
    weight = 4 / 3 * np.pi * radii**3 / float(np.prod(pitch)) / len(cloud)
    for offset in cloud:
        place = (centres + radii[:, None] * offset) / pitch - 0.5
        base = np.floor(place).astype(int)
        share = place - base
        for corner in np.ndindex(2, 2, 2):
            index = base + corner
            part = np.where(corner, share, 1 - share).prod(axis=1) * weight
            inside = ((index >= 0) & (index < grid.shape)).all(axis=1)
            flat = np.ravel_multi_index(tuple(index[inside].T), grid.shape)
            np.add.at(total, flat, part[inside])
    return total.reshape(grid.shape).astype(np.float32)
