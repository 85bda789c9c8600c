"""Microglia: small somata, thin branching processes, every cell in a territory of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .glial_processes import directions, grow_processes, middle_of, paint_processes
from .grid import Grid
from .painter import Drawing, Painter, by_owner
from .randomness import Range, Ranges, apart, log_uniform, random_turn, uniform

_EVENNESS = 0.7  # least distance of two somata, in mean distances; 0.9 is the most that fits
_HILLOCK_UM = 2.0  # over which a process narrows where it leaves the soma
_LOOSE = 0.15  # how far a cell's activation strays from that of its volume


class MicrogliaRanges(Ranges):
    """Ranges of microglia, in micrometres."""

    per_mm3: Range = (1.0e3, 1.2e4)
    """Cells per mm3 (our judgement: some 6.5e3 in mouse cortex, fewer where a reporter marks only
    some)."""
    soma_um: Range = (5.0, 10.0)
    """Mean width of a soma, um (our judgement)."""
    elongation: Range = (1.0, 2.2)
    """Length of a soma over its width (our judgement)."""
    territory_um: Range = (40.0, 60.0)
    """Width of a cell's territory, um (our judgement)."""
    primaries: Range = (3.0, 7.0)
    """Processes that leave the soma of a resting cell (our judgement)."""
    forks: Range = (2.0, 4.0)
    """How many times such a process divides (our judgement)."""
    process_um: Range = (0.3, 0.8)
    """Radius of a resting cell's processes at the tips and at most at the soma, um
    (our judgement)."""
    persistence_um: Range = (12.0, 40.0)
    """Over which a process forgets its direction, um (our judgement)."""
    activation: Range = (0.0, 0.8)
    """0 ramified, 1 amoeboid: fewer, shorter, thicker processes and a larger soma
    (our judgement)."""
    process_staining: Range = (0.08, 0.9)
    """Dye in processes over that in somata: many reporters show mainly somata
    (our judgement)."""
    brightness: Range = (0.35, 1.0)
    """Dye concentration of a cell's soma (our judgement)."""


@dataclass(frozen=True)
class MicrogliaPlan:
    """What is drawn once for all cells of a volume; units as in `MicrogliaRanges`."""

    per_mm3: float
    soma_um: float
    territory_um: float
    activation: float
    process_staining: float
    persistence_um: float


def microglia_words(plan: MicrogliaPlan) -> dict[str, str]:
    """What a caption may say of cells of such a plan."""
    amount = "sparse" if plan.per_mm3 < 2.5e3 else "scattered" if plan.per_mm3 < 6e3 else "dense"
    size = "small" if plan.soma_um * (1 + 0.5 * plan.activation) < 8 else "large"
    if plan.activation > 0.75:
        pattern = "with rounded bodies and hardly any processes"
    elif plan.process_staining < 0.2:
        pattern = "seen mainly as somata"
    elif plan.activation > 0.4:
        pattern = "with short thick processes"
    else:
        pattern = "with thin branching processes"
    return {"amount": amount, "size": size, "pattern": pattern}


def draw_microglia(grid: Grid, rng: np.random.Generator, ranges: MicrogliaRanges) -> Drawing:
    """Draw evenly spaced microglia; one number a cell, its processes included.

    Args:
        grid: where to draw.
        rng: source of all that is random.
        ranges: what is drawn from.

    Returns:
        density, instances and centreline of the processes, [Z, Y, X] each.
    """
    plan = MicrogliaPlan(
        log_uniform(rng, ranges.per_mm3),
        uniform(rng, ranges.soma_um),
        uniform(rng, ranges.territory_um),
        uniform(rng, ranges.activation),
        log_uniform(rng, ranges.process_staining),
        log_uniform(rng, ranges.persistence_um),
    )
    somata = _places(grid, rng, plan)
    count = len(somata)
    activation = np.clip(plan.activation + rng.uniform(-_LOOSE, _LOOSE, count), 0, 1)
    bodies = 0.5 * plan.soma_um * rng.uniform(0.85, 1.15, count) * (1 + 0.5 * activation)
    brightness = rng.uniform(*ranges.brightness, count)
    painter = Painter(grid)
    turns = [random_turn(rng) for _ in range(count)]
    halves = np.stack([_half_axes(rng, radius, ranges.elongation) for radius in bodies] or [[]])
    wanted = rng.uniform(ranges.primaries[0] - 0.5, ranges.primaries[1] + 0.5, count)
    # An amoeboid cell keeps one stump in three or none.
    stems = np.rint(wanted * (1 - 0.85 * activation)).astype(int)
    owners = np.repeat(np.arange(count), stems)
    aims = directions(rng, len(owners))
    surface = _surface_radius(aims, owners, turns, halves)
    starts = somata[owners] + 0.9 * surface[:, None] * aims
    act = activation[owners]
    reach = 0.5 * plan.territory_um * rng.uniform(0.8, 1.3, len(owners)) * (1 - 0.75 * act)
    forks = np.rint(rng.uniform(*ranges.forks, len(owners)) * (1 - 0.9 * act)).astype(int)
    grown = grow_processes(
        rng,
        starts,
        aims,
        np.maximum(reach, 1.0),
        forks,
        owners,
        somata if count else np.zeros((1, 3)),
        plan.persistence_um,
        0.5 * min(grid.pitch_um),
    )
    tip, most = ranges.process_um
    stem_radius = rng.uniform(0.5 * (tip + most), most, len(owners)) * (1 + act)
    radii = stem_radius[grown.root] + (tip - stem_radius[grown.root]) * grown.path
    for i, own in enumerate(by_owner(owners[grown.root], count)):
        painter.add_ellipsoid(somata[i], halves[i], turns[i], i + 1, brightness[i])
        _lobes(painter, rng, somata[i], turns[i] * halves[i], i + 1, brightness[i])
        for k in np.flatnonzero(owners == i):
            _hillock(painter, starts[k], aims[k], bodies[i], stem_radius[k], i + 1, brightness[i])
        dye = float(brightness[i] * plan.process_staining)
        paint_processes(painter, grown.points_um[own], radii[own], grown.step_um, i + 1, dye)
    middle = middle_of(grid, grown.points_um)
    return replace(painter.drawing(), centreline=middle, words=microglia_words(plan))


def _places(grid: Grid, rng: np.random.Generator, plan: MicrogliaPlan) -> np.ndarray:
    """[M, 3] somata, also beyond the sides, from where processes reach in."""
    margin = 0.5 * plan.territory_um
    size = grid.size_um + 2 * margin
    count = int(rng.poisson(plan.per_mm3 * float(np.prod(size)) * 1e-9))
    gap = min(_EVENNESS * (1e9 / plan.per_mm3) ** (1 / 3), plan.territory_um)
    centres, _ = apart(rng, count, size, np.full(count, 0.5 * gap), closeness=1.0)
    return centres - margin


def _half_axes(rng: np.random.Generator, radius_um: float, elongation: Range) -> np.ndarray:
    """[3], of an ellipsoid as large as the ball of this radius; the last axis is the long one."""
    stretch = np.array([rng.uniform(0.8, 1.0), 1.0, uniform(rng, elongation)])
    return radius_um * stretch / np.prod(stretch) ** (1 / 3)


def _surface_radius(
    aims: np.ndarray, owners: np.ndarray, turns: list[np.ndarray], halves: np.ndarray
) -> np.ndarray:
    """[P], from the middle of an ellipsoid to its surface along each aim [P, 3]."""
    if not len(owners):
        return np.empty(0)
    own = np.einsum("pi,pij->pj", aims, np.stack(turns)[owners])
    return 1 / np.linalg.norm(own / halves[owners], axis=1)


def _lobes(
    painter: Painter,
    rng: np.random.Generator,
    centre_um: np.ndarray,
    axes_um: np.ndarray,
    number: int,
    brightness: float,
) -> None:
    """Swell an ellipsoid at random places; the columns of `axes_um` [3, 3] are its half axes."""
    least = float(np.linalg.norm(axes_um, axis=0).min())
    for aim in directions(rng, int(rng.integers(1, 4))):
        radius = uniform(rng, (0.4, 0.7)) * least
        painter.add_ball(centre_um + 0.75 * axes_um @ aim, radius, number, brightness)


def _hillock(
    painter: Painter,
    start_um: np.ndarray,
    aim: np.ndarray,
    body_um: float,
    stem_um: float,
    number: int,
    brightness: float,
) -> None:
    """Draw out the soma where a process leaves it: this makes its outline irregular."""
    for along in (0.0, 1.0, 2.0):
        widest = max(0.5 * body_um, stem_um)
        radius = stem_um + (widest - stem_um) * float(np.exp(-along / _HILLOCK_UM))
        painter.add_ball(start_um + (along - 0.5 * widest) * aim, radius, number, brightness)
