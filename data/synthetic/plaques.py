"""Amyloid plaques: dense cores with fuzzy, filamentous halos, and diffuse ones without a core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from .grid import Box, Grid
from .painter import Drawing
from .randomness import Range, Ranges, log_uniform, random_turn, uniform

_LATTICE = 48  # nodes of the periodic noise along each axis
_FURTHEST = 0.35  # greatest displacement of a surface outwards, over the radius
_WIDEST = 1.25 * (1 + _FURTHEST)  # with the soft end of diffuse plaques, over the radius


class PlaquesRanges(Ranges):
    """Ranges of a volume with stained plaques."""

    per_mm3: Range = (10.0, 3000.0)
    """Plaques per mm3; our judgement."""
    least: int = 1
    """Fewest plaques whose centre lies in the volume, where plaques are what is stained."""
    diameter_um: Range = (5.0, 60.0)
    """Smallest and largest outer diameter of a plaque, um; our judgement."""
    median_um: Range = (10.0, 30.0)
    """Median outer diameter of the plaques of a volume, um; our judgement."""
    diameter_spread: Range = (0.2, 0.55)
    """Standard deviation of the logarithm of the diameter; our judgement."""
    cored_share: Range = (0.4, 1.0)
    """Share of plaques with a dense core: dyes such as Congo red and methoxy-X04 show those,
    antibodies diffuse ones too; our judgement."""
    core_share: Range = (0.25, 0.6)
    """Diameter of the core over the outer one; our judgement."""
    halo_density: Range = (0.12, 0.5)
    """Dye in the halo next to the core, where the core holds 1; our judgement."""
    halo_fall: Range = (0.8, 2.5)
    """Power by which the halo falls to 0 at the outer surface; our judgement."""
    diffuse_density: Range = (0.1, 0.4)
    """Dye in plaques without a core, where cores hold 1; our judgement."""
    filaments: Range = (0.2, 0.9)
    """How strongly radial filaments modulate the halo; our judgement."""
    flattening: Range = (0.0, 0.18)
    """Standard deviation of the logarithm of each half axis; our judgement."""
    roughness: Range = (0.04, 0.16)
    """Standard deviation of the surface's displacement over the radius; our judgement."""
    brightness_spread: Range = (0.05, 0.4)
    """Standard deviation of the logarithm of brightness between plaques; our judgement."""
    label_share: float = 0.1
    """A halo belongs to the instance where its mean density is above this share of the core."""


@dataclass(frozen=True)
class _Plaque:
    """One plaque; its halo's density is `halo * (1 - depth) ** fall` from core to surface."""

    centre_um: np.ndarray
    half_axes_um: np.ndarray
    turn: np.ndarray
    core: float  # share of the radius; 0 without a core
    halo: float
    fall: float
    brightness: float
    shift: np.ndarray  # [3, 3] where in the noise lattice its outline, filaments and clumps lie


def draw_plaques(grid: Grid, rng: np.random.Generator, ranges: PlaquesRanges) -> Drawing:
    """Draw the plaques of one volume.

    An instance is one plaque: its core and the part of its halo whose density, averaged over the
    filaments, is above `label_share` of the core; of a diffuse plaque all that lies within its
    surface.

    Args:
        grid: where to draw.
        rng: source of all that is random.
        ranges: what is drawn from.

    Returns:
        Density below 1; no centreline.
    """
    per_mm3 = log_uniform(rng, ranges.per_mm3)
    median_um = log_uniform(rng, ranges.median_um)
    cored_share = uniform(rng, ranges.cored_share)
    filaments, roughness = uniform(rng, ranges.filaments), uniform(rng, ranges.roughness)
    # Smooth periodic noise, looked up by direction for outlines and filaments, by place for clumps.
    lattice = gaussian_filter(
        rng.standard_normal((_LATTICE,) * 3, np.float32), 2.0, mode="wrap", truncate=3.0
    )
    lattice /= lattice.std()

    density, instances = grid.empty(), np.zeros(grid.shape, np.int32)
    owned = grid.empty()  # mean density of the plaque that owns a voxel
    plaques = _plaques(grid, rng, ranges, per_mm3, median_um, cored_share)
    for number, plaque in enumerate(plaques, start=1):
        box = grid.box_around(
            plaque.centre_um, _WIDEST * plaque.half_axes_um.max() + grid.mean_pitch_um
        )
        if box is None:
            continue
        painted, envelope = _paint(grid, box, plaque, lattice, filaments, roughness)
        least = ranges.label_share if plaque.core else 0.5 * plaque.halo
        inside = (envelope > least) & (envelope * plaque.brightness > owned[box])
        instances[box][inside] = number
        owned[box][inside] = (envelope * plaque.brightness)[inside]
        np.maximum(density[box], painted * np.float32(plaque.brightness), out=density[box])
    return Drawing(density, instances, None, plaques_words(per_mm3, median_um, cored_share))


def plaques_words(per_mm3: float, median_um: float, cored_share: float) -> dict[str, str]:
    """What a caption may say of plaques.

    Args:
        per_mm3: density.
        median_um: median outer diameter.
        cored_share: share of plaques with a dense core.
    """
    amounts = ("few", "sparse", "scattered", "many")
    sizes = ("small", "medium-sized", "large")
    patterns = ("diffuse and dense-cored", "mostly dense-cored", "with dense cores and fuzzy halos")
    return {
        "amount": amounts[int(np.searchsorted((50.0, 250.0, 1000.0), per_mm3))],
        "size": sizes[int(np.searchsorted((14.0, 21.0), median_um))],
        "pattern": patterns[int(np.searchsorted((0.6, 0.9), cored_share))],
    }


def _plaques(
    grid: Grid,
    rng: np.random.Generator,
    ranges: PlaquesRanges,
    per_mm3: float,
    median_um: float,
    cored_share: float,
) -> list[_Plaque]:
    """All plaques that may reach into the grid; those with their centre inside come first."""
    smallest, largest = ranges.diameter_um
    rim = largest / 2
    centres = rng.uniform(0, 1, (max(ranges.least, rng.poisson(per_mm3 * grid.volume_mm3)), 3))
    wide = grid.size_um + 2 * rim
    around = rng.uniform(0, 1, (rng.poisson(per_mm3 * float(np.prod(wide)) * 1e-9), 3)) * wide - rim
    outside = ((around < 0) | (around > grid.size_um)).any(axis=1)
    spread = uniform(rng, ranges.diameter_spread)
    flattening, faintness = uniform(rng, ranges.flattening), uniform(rng, ranges.brightness_spread)
    plaques = []
    for centre in np.concatenate([centres * grid.size_um, around[outside]]):
        diameter = np.clip(median_um * np.exp(spread * rng.standard_normal()), smallest, largest)
        stretch = np.exp(flattening * rng.standard_normal(3))
        cored = rng.random() < cored_share
        plaques.append(
            _Plaque(
                centre_um=centre,
                half_axes_um=diameter / 2 * stretch / np.prod(stretch) ** (1 / 3),
                turn=random_turn(rng),
                core=uniform(rng, ranges.core_share) if cored else 0.0,
                halo=uniform(rng, ranges.halo_density if cored else ranges.diffuse_density),
                fall=uniform(rng, ranges.halo_fall),
                brightness=float(np.exp(-faintness * abs(rng.standard_normal()))),
                shift=rng.uniform(0, _LATTICE, (3, 3)),
            )
        )
    return plaques


def _paint(
    grid: Grid,
    box: Box,
    plaque: _Plaque,
    lattice: np.ndarray,
    filaments: float,
    roughness: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Density of one plaque in its box, with filaments and clumps and (second) without them."""
    radius = float(np.cbrt(np.prod(plaque.half_axes_um)))
    offset = np.stack(
        np.broadcast_arrays(
            *(a - np.float32(c) for a, c in zip(grid.axes_um(box), plaque.centre_um, strict=True))
        )
    )
    own = np.tensordot((plaque.turn / plaque.half_axes_um).T.astype(np.float32), offset, axes=1)
    depth = np.sqrt((own * own).sum(axis=0))  # 1 on the undisturbed surface
    density, envelope = np.zeros_like(depth), np.zeros_like(depth)
    ramp = grid.mean_pitch_um / radius  # the width of a voxel, in depth
    near = depth < _WIDEST + ramp
    own, depth = own[:, near], depth[near]
    heading = own / np.maximum(depth, np.float32(1e-3))

    bumps = roughness * (
        0.8 * _noise(lattice, 4.0 * heading, plaque.shift[0])
        + 0.6 * _noise(lattice, 10.0 * heading, plaque.shift[1])
    )
    # The displacement fades towards the centre, where all directions meet.
    depth = depth / (1 + np.clip(bumps, -0.4, _FURTHEST) * np.minimum(1, 2 * depth))
    strands = _noise(lattice, 14.0 * heading + 1.2 * own, plaque.shift[1])
    clumps = _noise(lattice, own * np.float32(2 * radius / 3.0), plaque.shift[2])
    if plaque.core:
        core = np.clip(0.5 - (depth - plaque.core) / ramp, 0, 1)
        outwards = np.clip((depth - plaque.core) / (1 - plaque.core), 0, 1)
        halo = plaque.halo * (1 - outwards) ** plaque.fall
        # Strands part from each other on their way out.
        modulated = halo * np.exp(
            filaments * (outwards**0.5) * strands - filaments**2 * outwards / 2
        )
        mottled = core * (1 - 0.06 * np.abs(clumps))
        density[near] = np.minimum(mottled + (1 - core) * modulated, 1)
        envelope[near] = core + (1 - core) * halo
    else:
        # Diffuse plaques end softly: over half of their radius, or a voxel.
        plateau = plaque.halo * np.clip(0.5 - (depth - 1) / max(ramp, 0.5), 0, 1)
        density[near] = np.minimum(plateau * np.exp(0.5 * clumps + 0.3 * strands - 0.17), 1)
        envelope[near] = plateau
    return density, envelope


def _noise(lattice: np.ndarray, places: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """[N] noise of unit variance at places [3, N], in nodes of the lattice."""
    moved = places + shift[:, None].astype(np.float32)
    return map_coordinates(lattice, moved, order=1, mode="grid-wrap")
