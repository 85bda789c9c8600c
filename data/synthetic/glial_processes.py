"""Branching, winding processes of glial cells, grown for all cells of a volume at once.

Apart from the cells because microglia and astrocytes differ in numbers, not in how they grow: every
process leaves its soma, winds, forks, tapers, and stops at the border of the neighbour's territory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from .grid import Grid
from .painter import Painter

_THIN, _THICK = 0.7, 1.3  # radii in voxels: below, one thread of dye; above, balls
# Half a radius away along each axis: the same second moment as a filled disk.
_TETRAHEDRON = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)], float)
_FORK_COSINE = (0.65, 0.95)  # of half the angle between two daughters: 18 to 49 degrees


@dataclass(frozen=True)
class Processes:
    """Points along all processes, `step_um` apart.

    Attributes:
        points_um: [N, 3] (z, y, x).
        path: [N], 0 at the soma, 1 at the far tips: share of the whole length gone.
        root: [N], which of the primary processes a point belongs to.
        step_um: between neighbours.
        forks: [F, 3] (z, y, x), where processes divide.
    """

    points_um: np.ndarray
    path: np.ndarray
    root: np.ndarray
    step_um: float
    forks: np.ndarray


def grow_processes(
    rng: np.random.Generator,
    starts_um: np.ndarray,
    headings: np.ndarray,
    lengths_um: np.ndarray,
    forks: np.ndarray,
    owners: np.ndarray,
    somata_um: np.ndarray,
    persistence_um: float,
    step_um: float,
) -> Processes:
    """Grow P primary processes, generation by generation.

    Args:
        rng: source of all that is random.
        starts_um: [P, 3] on the surfaces of somata.
        headings: [P, 3] of length 1.
        lengths_um: [P], from the soma to the tips along the process.
        forks: [P], how many times each divides in all.
        owners: [P], index of its soma.
        somata_um: [S, 3]; a process ends where another soma than its own is the nearest.
        persistence_um: over which a process forgets its direction.
        step_um: between points.
    """
    territory = KDTree(somata_um)
    root = np.arange(len(starts_um))
    place, heading = np.array(starts_um, float), np.array(headings, float)
    gone, budget = np.zeros(len(root)), np.array(forks, int)
    points, paths, roots, divided = [np.empty((0, 3))], [np.empty(0)], [root[:0]], [place[:0]]
    while len(root):
        whole = lengths_um[root]
        left = whole - gone
        # The first piece is short and the last takes what is left, as processes fork near the soma.
        piece = np.where(budget > 0, left * rng.uniform(0.15, 0.5, len(root)), left)
        count = np.maximum((piece / step_um).astype(int), 1)
        track, heading = _walk(rng, place, heading, int(count.max()), persistence_um, step_um)
        kept = np.arange(track.shape[1]) < count[:, None]
        home = np.full(kept.shape, True)
        home[kept] = (
            territory.query(track[kept])[1]
            == np.broadcast_to(owners[root][:, None], kept.shape)[kept]
        )
        kept &= np.logical_and.accumulate(home, axis=1)
        walked = gone[:, None] + step_um * np.arange(1, track.shape[1] + 1)
        points.append(track[kept])
        paths.append((walked / whole[:, None])[kept])
        roots.append(np.broadcast_to(root[:, None], kept.shape)[kept])
        last = count - 1
        every = np.arange(len(root))
        dividing = kept[every, last] & (budget > 0) & (left > 4 * step_um)
        place, heading = track[every, last][dividing], heading[every, last][dividing]
        divided.append(place)
        gone = np.tile((gone + count * step_um)[dividing], 2)
        spare = budget[dividing] - 1
        first = rng.binomial(spare, 0.5)
        budget = np.concatenate([first, spare - first])
        heading = np.concatenate(_fork(rng, heading))
        place, root = np.tile(place, (2, 1)), np.tile(root[dividing], 2)
    return Processes(
        np.concatenate(points),
        np.clip(np.concatenate(paths), 0, 1),
        np.concatenate(roots),
        step_um,
        np.concatenate(divided),
    )


def paint_processes(
    painter: Painter,
    points_um: np.ndarray,
    radii_um: np.ndarray,
    step_um: float,
    number: int,
    brightness: float,
) -> None:
    """Paint the processes of one cell: points [N, 3] `step_um` apart and their radii [N]."""
    # One call a cell: a call a branch would take longer than the rest of the drawing.
    pitch = painter.grid.mean_pitch_um
    dye = brightness * np.pi * radii_um**2 * step_um
    thin, thick = radii_um < _THIN * pitch, radii_um >= _THICK * pitch
    for point, radius in zip(points_um[thick], radii_um[thick], strict=True):
        painter.add_ball(point, float(radius), number, brightness)
    painter.add_dye(points_um[thin], dye[thin], number)
    # Balls of about a voxel are many and slow: four threads of dye as wide as the disk instead.
    # Points lie half a voxel apart, so that every second one is enough.
    between = np.flatnonzero(~thin & ~thick)[::2]
    if len(between):
        spread = 0.5 * radii_um[between, None, None] * _TETRAHEDRON
        threads = (points_um[between, None] + spread).reshape(-1, 3)
        painter.add_dye(threads, np.repeat(2 * dye[between] / 4, 4), number)


def middle_of(grid: Grid, points_um: np.ndarray) -> np.ndarray:
    """[Z, Y, X] bool, the voxels that points [N, 3] lie in."""
    middle = np.zeros(grid.shape, bool)
    middle[grid.voxels_at(points_um)] = True
    return middle


def directions(rng: np.random.Generator, count: int) -> np.ndarray:
    """[count, 3] directions of length 1, all alike."""
    return _normed(rng.standard_normal((count, 3)))


def _normed(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _walk(
    rng: np.random.Generator,
    place: np.ndarray,
    heading: np.ndarray,
    steps: int,
    persistence_um: float,
    step_um: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Worm-like chains from [B, 3]: their points and headings, [B, steps, 3] each."""
    # Two of three components turn a heading, each by a variance of step / persistence, which
    # makes the mean cosine exp(-length / persistence).
    kicks = rng.standard_normal((steps, len(place), 3)) * np.sqrt(step_um / persistence_um)
    headings = np.empty((len(place), steps, 3))
    for i in range(steps):
        heading = _normed(heading + kicks[i])
        headings[:, i] = heading
    return place[:, None] + step_um * np.cumsum(headings, axis=1), headings


def _fork(rng: np.random.Generator, heading: np.ndarray) -> list[np.ndarray]:
    """Headings [B, 3] of the two daughters, to either side of their mother's."""
    cosine = rng.uniform(*_FORK_COSINE, (len(heading), 1))
    aside = _normed(np.cross(heading, rng.standard_normal(heading.shape)))
    sine = np.sqrt(1 - cosine**2)
    return [cosine * heading + sine * aside, cosine * heading - sine * aside]
