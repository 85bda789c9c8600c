"""Debris: dust, lint and clumps of dye or antibody, few and far brighter than the stain."""

from __future__ import annotations

import numpy as np

from .grid import Grid
from .painter import Painter
from .randomness import Range, Ranges, log_uniform, uniform, winding_walk


class DebrisRanges(Ranges):
    """Ranges of debris, in micrometres; brightness is relative to a stain of 1."""

    specks_per_mm3: Range = (10.0, 500.0)
    """Compact specks of dust or precipitate per mm3 (our judgement)."""
    speck_um: Range = (0.8, 5.0)
    """Radius of a speck, um (our judgement)."""
    speck_brightness: Range = (1.5, 20.0)
    """Dye concentration of a speck (our judgement)."""
    aggregates_per_mm3: Range = (50.0, 5.0e3)
    """Antibody aggregates per mm3, smaller than voxels (our judgement)."""
    aggregate_um: Range = (0.2, 0.8)
    """Radius of an aggregate, um (our judgement)."""
    aggregate_brightness: Range = (2.0, 20.0)
    """Dye concentration of an aggregate (our judgement)."""
    lint_per_mm3: Range = (5.0, 100.0)
    """Lint fibres per mm3 (our judgement)."""
    lint_um: Range = (0.8, 3.0)
    """Radius of lint, um (our judgement)."""
    lint_length_um: Range = (20.0, 250.0)
    """Length of lint, um (our judgement)."""
    lint_brightness: Range = (1.0, 8.0)
    """Dye concentration of lint (our judgement)."""


def draw_debris(grid: Grid, rng: np.random.Generator, ranges: DebrisRanges) -> np.ndarray:
    """Draw what does not belong to the specimen.

    Args:
        grid: where to draw.
        rng: source of all that is random.
        ranges: what is drawn from.

    Returns:
        [Z, Y, X] float32, dye concentration, 0 nearly everywhere.
    """
    painter = Painter(grid)
    for _ in range(_count(grid, rng, ranges.specks_per_mm3)):
        _speck(painter, rng, ranges)
    for _ in range(_count(grid, rng, ranges.lint_per_mm3)):
        radius = log_uniform(rng, ranges.lint_um)
        length = log_uniform(rng, ranges.lint_length_um)
        # Half a voxel at the thin, so that lint is a line and not a row of dots.
        step = max(0.25 * radius, 0.5 * min(grid.pitch_um))
        start = rng.uniform(0, 1, 3) * grid.size_um
        path = winding_walk(rng, start, rng.standard_normal(3), step, length, 2 * length)
        bright = log_uniform(rng, ranges.lint_brightness)
        painter.add_path(path, np.full(len(path), radius), 1, bright)
    count = _count(grid, rng, ranges.aggregates_per_mm3)
    places = rng.uniform(0, 1, (count, 3)) * grid.size_um
    radii = rng.uniform(*ranges.aggregate_um, count)
    dimmest, brightest = np.log(ranges.aggregate_brightness)
    bright = np.exp(rng.uniform(dimmest, brightest, count))
    painter.add_dye(places, bright * 4 / 3 * np.pi * radii**3, 0)
    return painter.drawing().density


def _count(grid: Grid, rng: np.random.Generator, per_mm3: Range) -> int:
    return int(rng.poisson(log_uniform(rng, per_mm3) * grid.volume_mm3))


def _speck(painter: Painter, rng: np.random.Generator, ranges: DebrisRanges) -> None:
    """Paint one speck: a few grains grown together, of its drawn radius in all."""
    radius, bright = log_uniform(rng, ranges.speck_um), log_uniform(rng, ranges.speck_brightness)
    place = rng.uniform(0, 1, 3) * painter.grid.size_um
    if radius < 0.7 * painter.grid.mean_pitch_um:
        painter.add_dye(place[None], np.array([bright * 4 / 3 * np.pi * radius**3]), 0)
        return
    painter.add_ball(place, 0.8 * radius, 1, bright)
    for _ in range(int(rng.integers(1, 5))):
        size = uniform(rng, (0.3, 0.6)) * radius
        aside = rng.standard_normal(3)
        painter.add_ball(place + aside / np.linalg.norm(aside) * (radius - size), size, 1, bright)
