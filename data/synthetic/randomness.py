"""Random quantities of the simulator: directions, places, walks, smooth noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from ..ranges import Range, Ranges, log_uniform, uniform
from .grid import Grid

__all__ = [
    "Range",
    "Ranges",
    "apart",
    "log_uniform",
    "random_turn",
    "smooth_noise",
    "uniform",
    "unit",
    "winding_walk",
]


def unit(vector: np.ndarray) -> np.ndarray:
    """[3] of length 1 in the same direction."""
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def random_turn(rng: np.random.Generator) -> np.ndarray:
    """[3, 3] random rotation (or reflection), columns orthonormal."""
    return np.linalg.qr(rng.standard_normal((3, 3)))[0]


def apart(
    rng: np.random.Generator,
    count: int,
    size_um: np.ndarray,
    radii_um: np.ndarray,
    closeness: float = 0.9,
    tries: int = 30,
    taken: Sequence[np.ndarray] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Random places for up to `count` balls that hardly overlap.

    Args:
        rng: source of all that is random.
        count: how many are wanted; fewer come back where they no longer fit.
        size_um: [3], of the box that centres lie in.
        radii_um: [count].
        closeness: centres may be this share of the two radii apart; above 1 keeps a gap.
        tries: for each ball.
        taken: centres [3] that are occupied already, with a radius of 0.

    Returns:
        Centres [M, 3] in um and the radii [M] of those that found a place.
    """
    centres = np.asarray(taken, dtype=float).reshape(-1, 3)
    radii = np.zeros(len(centres))
    first = len(centres)
    for radius in radii_um[:count]:
        candidates = rng.uniform(0, 1, (tries, 3)) * size_um
        gaps = np.linalg.norm(candidates[:, None] - centres[None], axis=2)
        free = (gaps > closeness * (radii + radius)[None]).all(axis=1)
        if free.any():
            centres = np.vstack([centres, candidates[int(np.argmax(free))]])
            radii = np.append(radii, radius)
    return centres[first:], radii[first:]


def winding_walk(
    rng: np.random.Generator,
    start_um: np.ndarray,
    heading: np.ndarray,
    step_um: float,
    length_um: float,
    persistence_um: float,
) -> np.ndarray:
    """A smooth random walk: the direction forgets itself over `persistence_um`.

    Returns:
        [N, 3] places (z, y, x), the start first, `step_um` apart.
    """
    count = max(1, int(length_um / step_um))
    # Curvature is smoothed over a few steps, so that the path bends instead of trembling.
    kicks = rng.standard_normal((count, 3))
    smooth = max(1, int(0.2 * persistence_um / step_um))
    kernel = np.ones(smooth) / np.sqrt(smooth)
    kicks = np.stack([np.convolve(kicks[:, i], kernel, mode="same") for i in range(3)], axis=1)
    # A worm-like chain: the mean square turn over a length s is 2 s / persistence; a kernel of
    # n steps correlates kicks, which turns the path n times as much.
    kicks *= np.sqrt(2 * step_um / persistence_um / 2 / smooth)
    direction, place, places = unit(heading), np.asarray(start_um, float), [start_um]
    for kick in kicks:
        direction = unit(direction + kick)
        place = place + step_um * direction
        places.append(place)
    return np.asarray(places)


def smooth_noise(grid: Grid, scale_um: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of zero mean and unit variance that varies over `scale_um`; [Z, Y, X] float32.

    Drawn on a coarse grid, because wide filters on the fine one would cost most of the time.
    """
    pitch = np.asarray(grid.pitch_um)
    factor = np.maximum(1, (scale_um / pitch / 2).astype(int))
    coarse = [max(2, int(-(-n // f)) + 1) for n, f in zip(grid.shape, factor, strict=True)]
    sigma = scale_um / pitch / factor
    noise = gaussian_filter(rng.standard_normal(coarse, np.float32), sigma, mode="wrap")
    ratios = [n / c for n, c in zip(grid.shape, coarse, strict=True)]
    wide = np.asarray(zoom(noise, ratios, order=1, grid_mode=True, mode="nearest"))
    wide = wide[: grid.shape[0], : grid.shape[1], : grid.shape[2]]
    return (wide - wide.mean()) / max(float(wide.std()), 1e-6)
