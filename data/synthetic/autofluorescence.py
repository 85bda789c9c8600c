"""Light of unlabelled tissue: slow variation, grain, lipofuscin and myelin-like striations."""

from __future__ import annotations

import numpy as np
from scipy import fft

from .grid import Grid
from .painter import Painter
from .randomness import Range, Ranges, log_uniform, smooth_noise, uniform, unit


class AutofluorescenceRanges(Ranges):
    """Ranges of autofluorescence, in micrometres; levels are relative to a stain of 1."""

    level: Range = (0.01, 0.25)
    """Mean of the volume (our judgement)."""
    slow_um: Range = (30.0, 300.0)
    """Distance of the slow variation, um (our judgement)."""
    slow_contrast: Range = (0.05, 0.5)
    """Standard deviation of the slow variation over its mean (our judgement)."""
    grain_um: Range = (1.0, 4.0)
    """Distance of the fine granular texture, um (our judgement)."""
    grain_contrast: Range = (0.0, 0.25)
    """Standard deviation of the fine texture over its mean (our judgement)."""
    lipofuscin_brightness: Range = (2.0, 20.0)
    """Light in a lipofuscin grain over that of the tissue around it (our judgement; it grows with
    age)."""
    lipofuscin_cells_per_mm3: Range = (3.0e3, 4.0e4)
    """Cells with lipofuscin per mm3 (our judgement)."""
    lipofuscin_grains: Range = (2.0, 12.0)
    """Grains in such a cell (our judgement)."""
    lipofuscin_um: Range = (0.3, 0.8)
    """Radius of a grain, um (our judgement)."""
    lipofuscin_spread_um: Range = (2.0, 5.0)
    """Standard deviation of grains about their cell's middle along each axis, um
    (our judgement)."""
    striation_probability: float = 0.3
    """Share of volumes with striations, as where myelinated fibres run (our judgement)."""
    striation_contrast: Range = (0.05, 0.4)
    """Standard deviation of the striations over their mean (our judgement)."""
    striation_length_um: Range = (20.0, 80.0)
    """Standard deviation of a streak's length, um (our judgement)."""
    striation_width_um: Range = (0.8, 3.0)
    """Standard deviation of a streak's width, um (our judgement)."""


def draw_autofluorescence(
    grid: Grid, rng: np.random.Generator, ranges: AutofluorescenceRanges
) -> np.ndarray:
    """Draw the light of unlabelled tissue.

    Args:
        grid: where to draw.
        rng: source of all that is random.
        ranges: what is drawn from.

    Returns:
        [Z, Y, X] float32, at least 0; its mean is the drawn level.
    """
    level = log_uniform(rng, ranges.level)
    slow = smooth_noise(grid, log_uniform(rng, ranges.slow_um), rng)
    light = np.exp(np.float32(uniform(rng, ranges.slow_contrast)) * slow)
    grain_um, contrast = log_uniform(rng, ranges.grain_um), uniform(rng, ranges.grain_contrast)
    if contrast > 0:
        light *= 1 + np.float32(contrast) * smooth_noise(grid, grain_um, rng)
    if rng.uniform() < ranges.striation_probability:
        light *= 1 + np.float32(uniform(rng, ranges.striation_contrast)) * _striations(
            grid,
            log_uniform(rng, ranges.striation_length_um),
            log_uniform(rng, ranges.striation_width_um),
            rng,
        )
    light = np.clip(light, 0, None) / max(float(light.mean()), 1e-9)
    light += _lipofuscin(grid, rng, ranges)
    return light * np.float32(level / float(light.mean(dtype=np.float64)))


def _lipofuscin(grid: Grid, rng: np.random.Generator, ranges: AutofluorescenceRanges) -> np.ndarray:
    """[Z, Y, X], light of grains in clusters, relative to that of the tissue."""
    cells = int(rng.poisson(log_uniform(rng, ranges.lipofuscin_cells_per_mm3) * grid.volume_mm3))
    grains = np.rint(rng.uniform(*ranges.lipofuscin_grains, cells)).astype(int)
    middles = np.repeat(rng.uniform(0, 1, (cells, 3)) * grid.size_um, grains, axis=0)
    spread = uniform(rng, ranges.lipofuscin_spread_um)
    places = middles + spread * rng.standard_normal(middles.shape)
    radii = rng.uniform(*ranges.lipofuscin_um, len(places))
    painter = Painter(grid)
    bright = log_uniform(rng, ranges.lipofuscin_brightness) * rng.uniform(0.3, 1.0, len(places))
    painter.add_dye(places, bright * 4 / 3 * np.pi * radii**3, 0)
    return painter.drawing().density


def _striations(
    grid: Grid, length_um: float, width_um: float, rng: np.random.Generator
) -> np.ndarray:
    """[Z, Y, X] float32 of zero mean and unit variance: noise drawn out along one direction."""
    along = unit(rng.standard_normal(3)).astype(np.float32)
    spectrum = np.asarray(fft.rfftn(rng.standard_normal(grid.shape, np.float32)))
    z, y = (
        np.fft.fftfreq(n, p).astype(np.float32)
        for n, p in zip(grid.shape[:2], grid.pitch_um[:2], strict=True)
    )
    z, y = z[:, None, None], y[None, :, None]
    x = np.fft.rfftfreq(grid.shape[2], grid.pitch_um[2]).astype(np.float32)
    lengthwise = (along[0] * z + along[1] * y + along[2] * x) ** 2
    crosswise = z * z + y * y + x * x - lengthwise
    # The spectrum of a Gaussian of standard deviation s falls as exp(-2 (pi s f)^2).
    blur = np.float32(length_um**2) * lengthwise + np.float32(width_um**2) * crosswise
    spectrum *= np.exp(np.float32(-2 * np.pi**2) * blur)
    spectrum[0, 0, 0] = 0
    noise = np.asarray(fft.irfftn(spectrum, grid.shape), np.float32)
    return noise / max(float(noise.std()), 1e-9)
