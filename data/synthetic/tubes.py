"""Branching vessels: filled tubes that bend, fork and taper."""

from __future__ import annotations

import numpy as np

from .scene import Grid, Structure, fill, signed_distance

# Murray's law: the cube of a vessel's radius is the sum of the cubes of its daughters' radii.
# C. D. Murray, PNAS 12, 207 (1926).
_MURRAY = 3.0
_SMALLEST_UM = 1.6  # capillaries are some 2 to 4 um wide in radius


def draw_tubes(grid: Grid, trees: int, radius_um: float, rng: np.random.Generator) -> Structure:
    """Draw vessel trees that enter through the sides.

    Args:
        grid: where to draw.
        trees: how many.
        radius_um: mean radius of the trunks.
        rng: source of all that is random.
    """
    points: list[np.ndarray] = []
    radii: list[float] = []
    for _ in range(trees):
        start, heading = _entry(grid, rng)
        stack = [(start, heading, radius_um * rng.uniform(0.75, 1.25))]
        while stack:
            place, heading, radius = stack.pop()
            end, heading = _grow(grid, place, heading, radius, rng, points, radii)
            if end is None:
                continue
            share = rng.uniform(0.3, 0.7)
            for part, side in ((share, 1.0), (1 - share, -1.0)):
                daughter = radius * part ** (1 / _MURRAY)
                if daughter >= _SMALLEST_UM:
                    # The thinner daughter turns away more.
                    turn = _unit(np.cross(heading, rng.standard_normal(3))) * side
                    stack.append((end, _unit(heading + (1.1 - part) * turn), daughter))
    distance_um = signed_distance(grid, np.asarray(points), np.asarray(radii))
    return Structure(fill(distance_um, grid.pitch_um), distance_um < 0)


def _entry(grid: Grid, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A point on one of the six faces and a direction into the volume."""
    place = rng.uniform(0.15, 0.85, 3) * grid.size_um
    axis, far = int(rng.integers(3)), bool(rng.integers(2))
    place[axis] = grid.size_um[axis] if far else 0.0
    heading = 0.5 * rng.standard_normal(3)
    heading[axis] = -1.0 if far else 1.0
    return place, _unit(heading)


def _grow(
    grid: Grid,
    place: np.ndarray,
    heading: np.ndarray,
    radius_um: float,
    rng: np.random.Generator,
    points: list[np.ndarray],
    radii: list[float],
) -> tuple[np.ndarray | None, np.ndarray]:
    """Add one unbranched piece; gives its end and heading there, or None where it left the grid."""
    step = max(0.5 * grid.pitch_um, 0.25 * radius_um)
    length = radius_um * rng.uniform(5, 10)
    bend = _unit(np.cross(heading, rng.standard_normal(3)))
    for _ in range(int(length / step)):
        # A slowly turning bend gives smooth curves; independent kicks would give a jagged tube.
        bend = _unit(bend + 0.35 * rng.standard_normal(3))
        heading = _unit(heading + 0.05 * bend)
        place = place + step * heading
        if (place < -radius_um).any() or (place > grid.size_um + radius_um).any():
            return None, heading
        points.append(place)
        radii.append(radius_um)
    return place, heading


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
