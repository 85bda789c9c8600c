"""Where there is tissue at all: its outer surface, ventricles, bubbles and tears."""

from __future__ import annotations

import numpy as np

from .grid import Grid
from .randomness import Range, Ranges, log_uniform, smooth_noise, uniform, unit


class TissueRanges(Ranges):
    """Ranges of what lacks tissue; with none of it, as in most volumes, all is tissue."""

    edge_probability: float = 0.2
    """Share of volumes that the surface of the specimen runs through (our judgement)."""
    edge_missing: Range = (0.05, 0.6)
    """Share of such a volume beyond the surface (our judgement)."""
    hole_probability: float = 0.08
    """Share of volumes with ventricles or other large cavities (our judgement)."""
    holes: Range = (1.0, 3.0)
    """How many in such a volume (our judgement)."""
    hole_um: Range = (15.0, 120.0)
    """Mean radius of a cavity, um (our judgement)."""
    bubble_probability: float = 0.04
    """Share of volumes with round gas bubbles (our judgement)."""
    bubbles: Range = (1.0, 4.0)
    """How many in such a volume (our judgement)."""
    bubble_um: Range = (5.0, 40.0)
    """Radius of a bubble, um (our judgement)."""
    tear_probability: float = 0.05
    """Share of volumes with a tear (our judgement)."""
    tear_um: Range = (3.0, 15.0)
    """Half width of a tear, um (our judgement)."""
    softness_um: Range = (1.0, 8.0)
    """Over which tissue thins out at any border, um (our judgement)."""
    waviness: Range = (0.03, 0.35)
    """Standard deviation of a border over the distance that it varies on (our judgement)."""
    wave_um: Range = (30.0, 150.0)
    """Distance that borders vary on, um (our judgement)."""


def draw_tissue(grid: Grid, rng: np.random.Generator, ranges: TissueRanges) -> np.ndarray:
    """Draw how much of every voxel is tissue.

    Args:
        grid: where to draw.
        rng: source of all that is random.
        ranges: what is drawn from.

    Returns:
        [Z, Y, X] float32, 0 outside to 1 inside; all 1 where nothing is missing.
    """
    edge, hole, bubble, tear = (
        rng.uniform() < share
        for share in (
            ranges.edge_probability,
            ranges.hole_probability,
            ranges.bubble_probability,
            ranges.tear_probability,
        )
    )
    if not (edge or hole or bubble or tear):
        return grid.empty(1.0)
    soft = uniform(rng, ranges.softness_um)
    tissue = grid.empty(1.0)

    def cut(depth_um: np.ndarray) -> None:
        """Take away what lies at a negative depth [Z, Y, X] below a border."""
        np.minimum(tissue, np.clip(0.5 + depth_um / np.float32(soft), 0, 1), out=tissue)

    if edge:
        depth = _across(grid, rng) + _waves(grid, rng, ranges)
        # Place the surface by what it leaves, so that no volume comes out empty.
        cut(depth - np.float32(np.quantile(depth, uniform(rng, ranges.edge_missing))))
    if hole:
        for _ in range(round(uniform(rng, ranges.holes))):
            stretch = np.exp(rng.uniform(-0.4, 0.4, 3))
            radius = log_uniform(rng, ranges.hole_um)
            wave = min(log_uniform(rng, ranges.wave_um), radius)
            rough = wave * uniform(rng, ranges.waviness) * smooth_noise(grid, wave, rng)
            cut(_from_middle(grid, rng, stretch / np.prod(stretch) ** (1 / 3)) - radius + rough)
    if bubble:
        for _ in range(round(uniform(rng, ranges.bubbles))):
            radius = log_uniform(rng, ranges.bubble_um)
            cut(_from_middle(grid, rng, np.ones(3)) - np.float32(radius))
    if tear:
        middle = _across(grid, rng) + _waves(grid, rng, ranges)
        place = np.float32(np.quantile(middle, rng.uniform(0.1, 0.9)))
        # A tear ends somewhere: its width falls to nothing over a distance of its own.
        opening = uniform(rng, ranges.tear_um) * np.clip(
            0.5 + _across(grid, rng) / np.float32(0.3 * grid.size_um.max()), 0, 1
        )
        cut(np.where(opening > 0, np.abs(middle - place) - opening, np.float32(soft)))
    return tissue


def _across(grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """[Z, Y, X], um along a random direction from the middle of the grid."""
    across = unit(rng.standard_normal(3)).astype(np.float32)
    z, y, x = (a - np.float32(s / 2) for a, s in zip(grid.axes_um(), grid.size_um, strict=True))
    return across[0] * z + across[1] * y + across[2] * x


def _from_middle(grid: Grid, rng: np.random.Generator, stretch: np.ndarray) -> np.ndarray:
    """[Z, Y, X], um from a random point of the grid, axes shortened by `stretch` [3]."""
    middle = rng.uniform(0, 1, 3) * grid.size_um
    z, y, x = (
        (a - np.float32(m)) / np.float32(s)
        for a, m, s in zip(grid.axes_um(), middle, stretch, strict=True)
    )
    return np.sqrt(z * z + y * y + x * x)


def _waves(grid: Grid, rng: np.random.Generator, ranges: TissueRanges) -> np.ndarray:
    """[Z, Y, X], um that a border strays from a plane."""
    wave = log_uniform(rng, ranges.wave_um)
    return np.float32(wave * uniform(rng, ranges.waviness)) * smooth_noise(grid, wave, rng)
