"""Neuropil: a mesh finer than a voxel, grainy at all scales, dark where somata and vessels lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import fft
from scipy.ndimage import zoom
from scipy.spatial import KDTree

from .grid import Grid
from .painter import Drawing, Painter
from .randomness import (
    Range,
    Ranges,
    apart,
    log_uniform,
    random_turn,
    smooth_noise,
    uniform,
    unit,
    winding_walk,
)

_COARSE_UM = 4.0  # pitch on which compartments are computed
_LABELLED = 0.5  # share of the full stain below which a border counts as no neuropil

Region = Literal["even", "layers", "compartments"]


class NeuropilRanges(Ranges):
    """Ranges of neuropil, in micrometres."""

    level: Range = (0.2, 0.8)
    """Mean dye concentration between the holes (our judgement)."""
    exponent: Range = (1.0, 3.5)
    """Fall of the power of the texture with spatial frequency: f to the minus this
    (our judgement; 0 is white noise, 3 is as strong in every octave)."""
    contrast: Range = (0.08, 0.4)
    """Standard deviation of the texture over its mean (our judgement)."""
    widest_um: Range = (30.0, 120.0)
    """Above this the texture gets no stronger, um (our judgement)."""
    somata_per_mm3: Range = (5.0e3, 9.0e4)
    """Dark somata per mm3 (our judgement, about the cells of mouse cortex at the upper end)."""
    soma_um: Range = (7.0, 14.0)
    """Width of a dark soma, um (our judgement)."""
    vessels_mm_per_mm3: Range = (0.0, 600.0)
    """Length of dark vessels in a volume; mouse cortex holds about 900 with all capillaries
    (our judgement)."""
    vessel_um: Range = (2.0, 6.0)
    """Radius of a dark vessel, um (our judgement)."""
    region_um: Range = (50.0, 200.0)
    """Width of layers or compartments such as glomeruli, um (our judgement)."""
    region_contrast: Range = (0.1, 0.6)
    """Dimmest over brightest region is 1 minus this (our judgement)."""
    septum_um: Range = (3.0, 10.0)
    """Half width of the dark borders of compartments, um (our judgement)."""
    septum_share: Range = (0.05, 0.4)
    """Stain in the middle of a border over that inside (our judgement)."""


@dataclass(frozen=True)
class NeuropilPlan:
    """What is drawn once for a volume; units as in `NeuropilRanges`."""

    region: Region
    region_um: float
    somata_per_mm3: float
    exponent: float


def neuropil_words(plan: NeuropilPlan) -> dict[str, str]:
    """What a caption may say of neuropil of such a plan."""
    patterns: dict[Region, str] = {
        "even": "evenly spread",
        "layers": "in layers of different brightness",
        "compartments": "in rounded compartments",
    }
    return {
        "amount": "perforated" if plan.somata_per_mm3 > 2.5e4 else "dense",
        "size": "coarse" if plan.exponent > 2.2 else "fine",
        "pattern": patterns[plan.region],
    }


def draw_neuropil(grid: Grid, rng: np.random.Generator, ranges: NeuropilRanges) -> Drawing:
    """Draw neuropil everywhere but in holes and borders; it is object 1.

    Args:
        grid: where to draw.
        rng: source of all that is random.
        ranges: what is drawn from.

    Returns:
        density and instances, [Z, Y, X] each; no centreline.
    """
    regions: tuple[Region, ...] = ("even", "layers", "compartments")
    plan = NeuropilPlan(
        regions[int(rng.integers(3))],
        log_uniform(rng, ranges.region_um),
        log_uniform(rng, ranges.somata_per_mm3),
        uniform(rng, ranges.exponent),
    )
    contrast = uniform(rng, ranges.contrast)
    texture = power_law_noise(grid, plan.exponent, uniform(rng, ranges.widest_um), rng)
    brightness = uniform(rng, ranges.level) * np.clip(1 + np.float32(contrast) * texture, 0, None)
    dimming = uniform(rng, ranges.region_contrast)
    inside = np.ones(grid.shape, bool)
    if plan.region == "layers":
        brightness *= _layers(grid, plan.region_um, dimming, rng)
    elif plan.region == "compartments":
        septum = uniform(rng, ranges.septum_um)
        gain, open_share = _compartments(grid, plan.region_um, dimming, septum, rng)
        floor = np.float32(uniform(rng, ranges.septum_share))
        brightness *= gain * (floor + (1 - floor) * open_share)
        inside = open_share >= _LABELLED
    holes = _holes(grid, plan.somata_per_mm3, rng, ranges)
    density = brightness * (1 - np.clip(holes.density, 0, 1))
    label = (inside & (holes.instances == 0)).astype(np.int32)
    return Drawing(density, label, None, neuropil_words(plan))


def power_law_noise(
    grid: Grid, exponent: float, widest_um: float, rng: np.random.Generator
) -> np.ndarray:
    """[Z, Y, X] float32 of zero mean and unit variance; power falls as frequency^-exponent."""
    # Drawn in space and filtered, so that the field is real and periodic without care.
    spectrum = np.asarray(fft.rfftn(rng.standard_normal(grid.shape, np.float32)))
    z, y = (
        np.fft.fftfreq(n, p).astype(np.float32)
        for n, p in zip(grid.shape[:2], grid.pitch_um[:2], strict=True)
    )
    x = np.fft.rfftfreq(grid.shape[2], grid.pitch_um[2]).astype(np.float32)
    square = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x**2 + np.float32(widest_um**-2)
    spectrum *= square ** np.float32(-exponent / 4)
    spectrum[0, 0, 0] = 0
    noise = np.asarray(fft.irfftn(spectrum, grid.shape), np.float32)
    return noise / max(float(noise.std()), 1e-9)


def _layers(grid: Grid, width_um: float, dimming: float, rng: np.random.Generator) -> np.ndarray:
    """[Z, Y, X], 1 - dimming to 1: waves across one direction, bent and of uneven width."""
    across = unit(rng.standard_normal(3))
    z, y, x = grid.axes_um()
    depth = across[0] * z + across[1] * y + across[2] * x
    depth = depth + 0.15 * width_um * smooth_noise(grid, width_um, rng)
    wave = np.cos(2 * np.pi * depth / (2 * width_um) + rng.uniform(0, 2 * np.pi))
    return (1 - dimming * (0.5 - 0.5 * wave)).astype(np.float32)


def _compartments(
    grid: Grid, width_um: float, dimming: float, septum_um: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rounded regions: brightness of each, and 0 in borders to 1 inside, [Z, Y, X] each."""
    margin = width_um
    size = grid.size_um + 2 * margin
    # Random packing fills some two thirds of the space that a lattice would.
    wanted = int(np.ceil(0.65 * np.prod(size / width_um)))
    seeds, _ = apart(rng, wanted, size, np.full(wanted, 0.5 * width_um))
    coarse = [max(2, int(np.ceil(s / _COARSE_UM))) for s in grid.size_um]
    pitch = grid.size_um / coarse
    places = np.indices(coarse).reshape(3, -1).T
    rough = Grid(
        (coarse[0], coarse[1], coarse[2]), (float(pitch[0]), float(pitch[1]), float(pitch[2]))
    )
    # Bent space makes bent borders.
    bends = [smooth_noise(rough, 0.3 * width_um, rng).ravel() for _ in range(3)]
    bent = (places + 0.5) * pitch + 0.1 * width_um * np.stack(bends, axis=1)
    away, nearest = KDTree(seeds - margin).query(bent, k=2)
    gains = 1 - dimming * rng.uniform(0, 1, len(seeds))
    # The distance to the plane between two seeds is about half of what the second is farther.
    border = 0.5 * (away[:, 1] - away[:, 0]).reshape(coarse)
    ratio = [n / c for n, c in zip(grid.shape, coarse, strict=True)]

    def widen(field: np.ndarray) -> np.ndarray:
        wide = zoom(field.astype(np.float32), ratio, order=1, grid_mode=True, mode="nearest")
        return np.asarray(wide)

    open_share = np.clip(widen(border) / np.float32(septum_um), 0, 1)
    return widen(gains[np.asarray(nearest)[:, 0]].reshape(coarse)), open_share


def _holes(grid: Grid, per_mm3: float, rng: np.random.Generator, ranges: NeuropilRanges) -> Drawing:
    """Somata and vessels that take the place of neuropil; density 1 inside."""
    painter = Painter(grid)
    radii = 0.5 * rng.uniform(*ranges.soma_um, int(rng.poisson(per_mm3 * grid.volume_mm3)))
    centres, radii = apart(rng, len(radii), grid.size_um, radii, tries=10)
    for centre, radius in zip(centres, radii, strict=True):
        painter.add_ellipsoid(centre, radius * rng.uniform(0.8, 1.2, 3), random_turn(rng), 1)
    left_um = uniform(rng, ranges.vessels_mm_per_mm3) * grid.volume_mm3 * 1e3
    while left_um > 0:
        radius = log_uniform(rng, ranges.vessel_um)
        start = rng.uniform(0, 1, 3) * grid.size_um
        length = min(left_um, 200.0)
        step = max(0.5 * radius, 0.5 * min(grid.pitch_um))
        path = winding_walk(rng, start, rng.standard_normal(3), step, length, 80.0)
        painter.add_path(path, np.full(len(path), radius), 1)
        inside = ((path >= 0) & (path < grid.size_um)).all(axis=1)
        left_um -= step * int(inside.sum())
    return painter.drawing()
