"""The courses of axons: smooth random walks with branches, alone or together in a bundle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from .grid import Grid
from .randomness import Range, Ranges, log_uniform, uniform, unit


class AxonKind(Ranges):
    """What axons of one kind look like."""

    share: float
    """How often the kind is drawn, against the other kinds."""
    length_m_per_mm3: Range
    """Length of all fibres, m per mm3; our judgement."""
    radius_um: Range
    """um, median of a volume; our judgement."""
    persistence_um: Range
    """um, over which a fibre forgets its direction; our judgement."""
    branch_every_um: float = 0.0
    """um of fibre for one branch; 0 for none; our judgement."""
    branch_um: Range = (30.0, 150.0)
    """um, length of a branch; our judgement."""
    divergence: Range = (1.0, 1.0)
    """Spread of directions, rad, about the common one; 1 and above for all directions."""
    bundle_um: Range = (0.0, 0.0)
    """um, standard deviation of a bundle's cross-section; 0 where fibres fill the volume."""


@dataclass(frozen=True)
class Fibre:
    """A piece of axon without branches.

    Attributes:
        points_um: [N, 3], its middle (z, y, x), `step_um` apart.
        axon: number of the axon that it belongs to, from 1.
    """

    points_um: np.ndarray
    axon: int


def step_of(grid: Grid) -> float:
    """Distance in um of the points along a fibre."""
    return 0.5 * min(grid.pitch_um)


def grow_axons(
    grid: Grid, rng: np.random.Generator, kind: AxonKind, length_m_per_mm3: float
) -> list[Fibre]:
    """Axons with their branches, cut where they leave the grid; their length is the wanted one."""
    step = step_of(grid)
    missing = max(int(length_m_per_mm3 * 1e6 * grid.volume_mm3 / step), 8)
    persistence = log_uniform(rng, kind.persistence_um)
    divergence = uniform(rng, kind.divergence)
    # A bundle wider than the grid would mostly run beside it.
    bundle = min(uniform(rng, kind.bundle_um), 0.4 * float(grid.size_um.min()))
    course, through = unit(rng.standard_normal(3)), rng.uniform(0.2, 0.8, 3) * grid.size_um
    fibres: list[Fibre] = []
    axon = 0
    while missing > 0:
        # As many at once as are probably needed; each runs once through the grid or so.
        count = int(np.clip(missing * step / grid.size_um.mean(), 1, 300)) + 1
        starts, headings = rng.uniform(0, 1, (count, 3)) * grid.size_um, _directions(rng, count)
        pull = 0.0
        if divergence < 1:
            headings = _directions(rng, count) * divergence + course
            # Directions stay spread by `divergence` where pull and kicks are in balance.
            pull = min(step / (2 * persistence * divergence**2), 0.5)
            if bundle > 0:
                starts = through + bundle * rng.standard_normal((count, 3))
        most = int(1.5 * np.linalg.norm(grid.size_um) / step)
        ahead = walk(rng, starts, headings, step, most, persistence, pull)
        behind = walk(rng, starts, -headings, step, most, persistence, pull)
        for forth, back in zip(ahead, behind, strict=True):
            pieces = [np.concatenate([_inside(grid, back)[:0:-1], _inside(grid, forth)])]
            pieces += _branches(grid, rng, kind, pieces[0], step, persistence)
            axon += 1
            for piece in pieces:
                if missing > 0 and len(piece) > 1:
                    fibres.append(Fibre(piece[:missing], axon))
                    missing -= len(piece)
    return fibres


def walk(
    rng: np.random.Generator,
    starts_um: np.ndarray,
    headings: np.ndarray,
    step_um: float,
    count: int,
    persistence_um: float,
    pull: float = 0.0,
) -> np.ndarray:
    """Worm-like chains, all at once.

    Args:
        rng: source of all that is random.
        starts_um: [N, 3].
        headings: [N, 3], first directions, of any length.
        step_um: distance of points.
        count: how many steps.
        persistence_um: over which the direction forgets itself.
        pull: share by which a step turns back to the first direction's mean.

    Returns:
        [N, count + 1, 3], the starts first.
    """
    kicks = rng.standard_normal((count, len(starts_um), 3))
    # Kicks that remember a twentieth of the persistence make the path bend instead of tremble; the
    # factor keeps the turn over long distances as it is for independent kicks.
    memory = np.exp(-step_um / (0.05 * persistence_um))
    kicks = np.asarray(lfilter([1 - memory], [1, -memory], kicks, axis=0))
    kicks *= (step_um / persistence_um) ** 0.5
    direction = headings / np.linalg.norm(headings, axis=1, keepdims=True)
    course = direction.mean(axis=0)
    course = course / max(float(np.linalg.norm(course)), 1e-9)
    directions = np.empty_like(kicks)
    for i, kick in enumerate(kicks):
        direction = direction + kick + pull * (course - direction)
        direction /= np.sqrt((direction * direction).sum(axis=1, keepdims=True))
        directions[i] = direction
    path = np.concatenate([np.zeros((1, *starts_um.shape)), np.cumsum(directions, axis=0)])
    return (starts_um + step_um * path).transpose(1, 0, 2)


def _directions(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.standard_normal((count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _inside(grid: Grid, path: np.ndarray) -> np.ndarray:
    """The beginning of a path, up to where it leaves the grid."""
    outside = ((path < 0) | (path >= grid.size_um)).any(axis=1)
    return path[: int(np.argmax(outside))] if outside.any() else path


def _branches(
    grid: Grid,
    rng: np.random.Generator,
    kind: AxonKind,
    path: np.ndarray,
    step: float,
    persistence: float,
) -> list[np.ndarray]:
    """Branches that leave a fibre at about a right angle or less."""
    if not kind.branch_every_um or len(path) < 3:
        return []
    count = int(rng.poisson(len(path) * step / kind.branch_every_um))
    if not count:
        return []
    at = rng.integers(1, len(path) - 1, count)
    along = (path[at + 1] - path[at - 1]) / (2 * step)
    longest = int(kind.branch_um[1] / step)
    grown = walk(rng, path[at], along + _directions(rng, count), step, longest, persistence)
    steps = (rng.uniform(*kind.branch_um, count) / step).astype(int)
    return [_inside(grid, branch[:n]) for branch, n in zip(grown, steps, strict=True)]
