"""Axons: long, thin, winding fibres with swellings, alone, in terminal fields or in tracts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.signal import lfilter

from .axon_courses import AxonKind, Fibre, grow_axons, step_of
from .grid import Grid
from .painter import Drawing, Painter
from .randomness import Range, Ranges, log_uniform, uniform


class AxonsRanges(Ranges):
    """What axons look like."""

    sparse: AxonKind = AxonKind(
        share=0.35,
        length_m_per_mm3=(0.05, 1.5),
        radius_um=(0.25, 0.7),
        persistence_um=(60.0, 250.0),
        branch_every_um=300.0,
    )
    """Single labelled fibres that wind in all directions."""
    field: AxonKind = AxonKind(
        share=0.25,
        length_m_per_mm3=(0.5, 6.0),
        radius_um=(0.2, 0.45),
        persistence_um=(25.0, 80.0),
        branch_every_um=80.0,
    )
    """Terminal fields: many thin branches with dense swellings."""
    bundle: AxonKind = AxonKind(
        share=0.28,
        length_m_per_mm3=(0.5, 12.0),
        radius_um=(0.25, 0.8),
        persistence_um=(100.0, 400.0),
        divergence=(0.04, 0.25),
        bundle_um=(8.0, 80.0),
    )
    """Tracts and bundles: fibres that run together."""
    thick: AxonKind = AxonKind(
        share=0.12,
        length_m_per_mm3=(0.02, 0.2),
        radius_um=(0.7, 1.2),
        persistence_um=(150.0, 600.0),
    )
    """Few thick fibres."""
    bouton_every_um: Range = (3.0, 30.0)
    """um between swellings of a volume's axons; our judgement."""
    bouton_gain: Range = (1.3, 2.5)
    """How much wider an axon is at a swelling; our judgement."""
    bouton_um: Range = (0.4, 1.0)
    """um, standard deviation of a swelling's length; our judgement."""
    calibre_spread: Range = (0.1, 0.4)
    """Standard deviation of the logarithm of the radius from axon to axon; our judgement."""
    brightness_spread: Range = (0.2, 0.8)
    """Standard deviation of the logarithm of the dye from axon to axon; our judgement."""
    unevenness: Range = (0.05, 0.5)
    """Standard deviation of the logarithm of the dye along an axon; our judgement."""
    patch_um: Range = (5.0, 40.0)
    """um, extent of evenly stained stretches; our judgement."""


def draw_axons(grid: Grid, rng: np.random.Generator, ranges: AxonsRanges) -> Drawing:
    """Draw axons of one kind; every axon, with its branches, has one number."""
    kinds = {"sparse": ranges.sparse, "field": ranges.field}
    kinds |= {"bundle": ranges.bundle, "thick": ranges.thick}
    shares = np.array([kind.share for kind in kinds.values()])
    name = list(kinds)[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    kind = kinds[name]
    length = log_uniform(rng, kind.length_m_per_mm3)
    radius = log_uniform(rng, kind.radius_um)
    fibres = grow_axons(grid, rng, kind, length)
    drawing = _paint(grid, rng, ranges, fibres, radius)
    return replace(drawing, words=_words(name, length, radius))


def _paint(
    grid: Grid, rng: np.random.Generator, ranges: AxonsRanges, fibres: list[Fibre], radius: float
) -> Drawing:
    step, painter = step_of(grid), Painter(grid)
    every, gain = log_uniform(rng, ranges.bouton_every_um), uniform(rng, ranges.bouton_gain)
    bouton, patch = uniform(rng, ranges.bouton_um), log_uniform(rng, ranges.patch_um)
    calibre, between = uniform(rng, ranges.calibre_spread), uniform(rng, ranges.brightness_spread)
    along = uniform(rng, ranges.unevenness)
    axons = fibres[-1].axon
    radii = radius * np.exp(calibre * rng.standard_normal(axons))
    # Mean 1, so that the dye of many axons is their volume.
    dyes = np.exp(between * rng.standard_normal(axons) - between**2 / 2)
    middle = np.zeros(grid.shape, bool)
    for fibre in fibres:
        points = fibre.points_um
        bulge = swellings(rng, len(points), step, every, bouton)
        own = radii[fibre.axon - 1] * (1 + (gain - 1) * bulge)
        dye = dyes[fibre.axon - 1] * np.exp(along * _wander(rng, len(points), step, patch))
        thin = own < 0.7 * grid.mean_pitch_um
        amount = dye[thin] * np.pi * own[thin] ** 2 * step
        painter.add_dye(points[thin], amount, fibre.axon)
        for i in np.flatnonzero(~thin):
            painter.add_ball(points[i], float(own[i]), fibre.axon, float(dye[i]))
        middle[grid.voxels_at(points)] = True
    return replace(painter.drawing(), centreline=middle)


def swellings(
    rng: np.random.Generator, count: int, step_um: float, every_um: float, sigma_um: float
) -> np.ndarray:
    """[count], between 0 and 1: how far each point lies in a bouton; they come `every_um`."""
    profile = np.zeros(count)
    places = rng.uniform(0, count, rng.poisson(count * step_um / every_um)).astype(int)
    profile[places] = 1.0
    reach = int(3 * sigma_um / step_um) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step_um / sigma_um) ** 2)
    return np.minimum(np.convolve(profile, kernel)[reach : reach + count], 1.0)


def _wander(rng: np.random.Generator, count: int, step_um: float, patch_um: float) -> np.ndarray:
    """[count], noise of unit variance that varies over `patch_um`."""
    memory = np.exp(-step_um / patch_um)
    noise = rng.standard_normal(count) * (1 - memory**2) ** 0.5
    noise[0] = rng.standard_normal()
    return np.asarray(lfilter([1], [1, -memory], noise))


def _words(name: str, length_m_per_mm3: float, radius_um: float) -> dict[str, str]:
    amount = (
        "sparse" if length_m_per_mm3 < 0.5 else "dense" if length_m_per_mm3 > 3 else "scattered"
    )
    patterns = {
        "sparse": "that wind in all directions",
        "field": "in a branching terminal field",
        "bundle": "running in one direction",
        "thick": "as single thick fibres",
    }
    calibre = "fine" if radius_um < 0.35 else "thick" if radius_um >= 0.7 else "of medium calibre"
    return {"amount": amount, "calibre": calibre, "pattern": patterns[name]}
