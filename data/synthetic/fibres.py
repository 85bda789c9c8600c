"""Axons: long, thin, winding fibres with a few swellings, thinner than a voxel."""

from __future__ import annotations

import numpy as np

from .scene import Grid, Structure, deposit, signed_distance

_BOUTON_UM = 25.0  # mean distance between swellings along an axon
_BOUTON_GAIN = 1.7  # how much wider a swelling is
_BOUTON_LENGTH_UM = 1.2


def draw_fibres(
    grid: Grid, count: int, radius_um: float, spread: float, rng: np.random.Generator
) -> Structure:
    """Draw fibres as persistent random walks through the volume.

    Args:
        grid: where to draw.
        count: how many.
        radius_um: mean radius.
        spread: 0 a straight bundle through the middle, 1 winding in all directions everywhere.
        rng: source of all that is random.
    """
    common = _unit(rng.standard_normal(3))
    dye, points, radii = grid.empty(), [], []
    step = 0.5 * grid.pitch_um
    for _ in range(count):
        heading = _unit(common * rng.choice([-1, 1]) + 2 * spread * rng.standard_normal(3))
        path = _walk(grid, heading, step, spread, rng)
        radius = radius_um * rng.uniform(0.7, 1.3) * _swellings(len(path), step, rng)
        brightness = rng.uniform(0.6, 1.0)
        dye += deposit(grid, path, brightness * np.pi * radius**2 * step)
        points.append(path)
        radii.append(radius)
    # A label thinner than a voxel would be torn into pieces. Half a voxel diagonal takes every
    # voxel that a fibre touches, so that it stays one piece.
    drawn = np.maximum(np.concatenate(radii), 0.5 * 3**0.5 * grid.pitch_um)
    distance_um = signed_distance(grid, np.concatenate(points), drawn)
    return Structure(dye, distance_um < 0)


def _walk(
    grid: Grid, heading: np.ndarray, step: float, spread: float, rng: np.random.Generator
) -> np.ndarray:
    """[N, 3] places of a fibre that runs through a random point, both ways until it leaves."""
    reach = 0.15 + 0.25 * spread
    middle = rng.uniform(0.5 - reach, 0.5 + reach, 3) * grid.size_um
    # What pulls a fibre of a bundle back to the common direction.
    pull = 0.06 * (1 - spread)
    halves = []
    for sign in (1.0, -1.0):
        place, direction, drift = middle, sign * heading, np.zeros(3)
        half = []
        most = int(3 * grid.size_um.max() / step)
        for kick in rng.standard_normal((most, 3)):
            # The drift remembers some 20 steps, so that the fibre winds instead of trembling.
            drift = 0.95 * drift + 0.007 * kick
            direction = _unit(direction + drift + pull * sign * heading)
            place = place + step * direction
            if (place < 0).any() or (place > grid.size_um).any():
                break
            half.append(place)
        halves.append(half)
    return np.asarray([*halves[1][::-1], middle, *halves[0]])


def _swellings(length: int, step: float, rng: np.random.Generator) -> np.ndarray:
    """[N], factor on the radius along a fibre: 1, and more at its boutons."""
    factor = np.ones(length)
    along = np.arange(length) * step
    for place in rng.uniform(0, length * step, rng.poisson(length * step / _BOUTON_UM)):
        factor += (_BOUTON_GAIN - 1) * np.exp(-0.5 * ((along - place) / _BOUTON_LENGTH_UM) ** 2)
    return factor


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
