"""Astrocytes: stars of GFAP-positive processes, in the dim sponge of their finest branches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .glial_processes import directions, grow_processes, middle_of, paint_processes
from .grid import Grid
from .painter import Drawing, Painter, by_owner
from .randomness import (
    Range,
    Ranges,
    apart,
    log_uniform,
    random_turn,
    smooth_noise,
    uniform,
)

_SPONGE_UM = 1.5  # width of the gaps between the finest branches
_GAP_UM = 12.0  # least distance of two somata: they do not overlap


class AstrocytesRanges(Ranges):
    """Ranges of astrocytes, in micrometres."""

    per_mm3: Range = (5.0e3, 2.0e4)
    """Cells per mm3 (our judgement)."""
    soma_um: Range = (6.0, 11.0)
    """Mean width of a soma, um (our judgement)."""
    territory_um: Range = (40.0, 60.0)
    """Width of a cell's territory, um; territories hardly overlap (Bushong et al., J. Neurosci.
    22, 183, 2002)."""
    primaries: Range = (5.0, 10.0)
    """Main processes of a cell (our judgement)."""
    forks: Range = (0.0, 3.0)
    """How many times a main process divides (our judgement)."""
    process_um: Range = (0.35, 1.5)
    """Radius of processes at the tips and at most at the soma, um (our judgement)."""
    persistence_um: Range = (20.0, 80.0)
    """Over which a process forgets its direction, um (our judgement)."""
    alignment: Range = (0.0, 0.7)
    """How much the processes of all cells follow one direction: 0 not at all
    (our judgement)."""
    soma_staining: Range = (0.05, 0.6)
    """Dye in somata over that in processes: GFAP is a filament and leaves much of the soma empty
    (our judgement)."""
    sponge: Range = (0.0, 0.04)
    """Dye in the territory between processes over that in processes (our judgement)."""
    layering: Range = (0.0, 0.9)
    """Contrast of the layers of cells: 0 even, 1 none at all between layers (our judgement)."""
    layer_um: Range = (80.0, 400.0)
    """Distance of two layers, um (our judgement)."""
    brightness: Range = (0.5, 1.0)
    """Dye concentration of a cell's processes (our judgement)."""


@dataclass(frozen=True)
class AstrocytesPlan:
    """What is drawn once for all cells of a volume; units as in `AstrocytesRanges`."""

    per_mm3: float
    soma_um: float
    territory_um: float
    persistence_um: float
    alignment: float
    soma_staining: float
    sponge: float
    layering: float
    layer_um: float


def astrocytes_words(plan: AstrocytesPlan) -> dict[str, str]:
    """What a caption may say of cells of such a plan."""
    amount = "scattered" if plan.per_mm3 < 8e3 else "many" if plan.per_mm3 < 1.3e4 else "dense"
    if plan.alignment > 0.4:
        pattern = "with processes that follow one direction"
    elif plan.sponge > 0.02:
        pattern = "with bushy territories"
    else:
        pattern = "with star-shaped processes"
    return {"amount": amount, "size": "small" if plan.soma_um < 9 else "large", "pattern": pattern}


def draw_astrocytes(grid: Grid, rng: np.random.Generator, ranges: AstrocytesRanges) -> Drawing:
    """Draw astrocytes; one number a cell with its processes, the sponge around is not labelled.

    Args:
        grid: where to draw.
        rng: source of all that is random.
        ranges: what is drawn from.

    Returns:
        density, instances and centreline of the processes, [Z, Y, X] each.
    """
    plan = AstrocytesPlan(
        log_uniform(rng, ranges.per_mm3),
        uniform(rng, ranges.soma_um),
        uniform(rng, ranges.territory_um),
        log_uniform(rng, ranges.persistence_um),
        uniform(rng, ranges.alignment),
        log_uniform(rng, ranges.soma_staining),
        uniform(rng, ranges.sponge),
        uniform(rng, ranges.layering),
        log_uniform(rng, ranges.layer_um),
    )
    somata = _places(grid, rng, plan)
    count = len(somata)
    bodies = 0.5 * plan.soma_um * rng.uniform(0.85, 1.15, count)
    brightness = rng.uniform(*ranges.brightness, count)
    stems = np.rint(rng.uniform(*ranges.primaries, count)).astype(int)
    owners = np.repeat(np.arange(count), stems)
    aims = _aims(rng, len(owners), plan.alignment)
    reach = 0.5 * plan.territory_um * rng.uniform(0.7, 1.4, len(owners))
    grown = grow_processes(
        rng,
        somata[owners] + 0.7 * bodies[owners, None] * aims,
        aims,
        reach,
        np.rint(rng.uniform(*ranges.forks, len(owners))).astype(int),
        owners,
        somata if count else np.zeros((1, 3)),
        plan.persistence_um,
        0.5 * min(grid.pitch_um),
    )
    tip, most = ranges.process_um
    stem_radius = rng.uniform(0.5 * (tip + most), most, len(owners))
    # GFAP bundles keep their width for long and end soon.
    radii = stem_radius[grown.root] + (tip - stem_radius[grown.root]) * grown.path**2
    painter = Painter(grid)
    for i, own in enumerate(by_owner(owners[grown.root], count)):
        half_axes = bodies[i] * rng.uniform(0.8, 1.2, 3)
        dye = float(brightness[i])
        painter.add_ellipsoid(
            somata[i], half_axes, random_turn(rng), i + 1, dye * plan.soma_staining
        )
        paint_processes(painter, grown.points_um[own], radii[own], grown.step_um, i + 1, dye)
    drawing = painter.drawing()
    if plan.sponge > 0:
        sponge = _sponge(grid, rng, somata, 0.5 * plan.territory_um, plan.sponge * brightness)
        drawing = replace(drawing, density=np.maximum(drawing.density, sponge))
    middle = middle_of(grid, grown.points_um)
    return replace(drawing, centreline=middle, words=astrocytes_words(plan))


def _places(grid: Grid, rng: np.random.Generator, plan: AstrocytesPlan) -> np.ndarray:
    """[M, 3] somata in soft layers, also beyond the sides, from where processes reach in."""
    margin = 0.5 * plan.territory_um
    size = grid.size_um + 2 * margin
    # Layers are what is left of an even, denser population.
    densest = plan.per_mm3 * (1 + plan.layering)
    count = int(rng.poisson(densest * float(np.prod(size)) * 1e-9))
    centres, _ = apart(rng, count, size, np.full(count, 0.5 * _GAP_UM), closeness=1.0)
    across, phase = directions(rng, 1)[0], rng.uniform(0, 2 * np.pi)
    wave = np.cos(2 * np.pi * centres @ across / plan.layer_um + phase)
    share = (1 + plan.layering * wave) / (1 + plan.layering)
    return centres[rng.uniform(0, 1, len(centres)) < share] - margin


def _aims(rng: np.random.Generator, count: int, alignment: float) -> np.ndarray:
    """[count, 3] of length 1, drawn towards either end of one common direction."""
    common = directions(rng, 1)[0]
    aims = directions(rng, count)
    aims += alignment * 2.5 * np.sign(aims @ common)[:, None] * common
    return aims / np.linalg.norm(aims, axis=1, keepdims=True)


def _sponge(
    grid: Grid,
    rng: np.random.Generator,
    somata_um: np.ndarray,
    radius_um: float,
    dye: np.ndarray,
) -> np.ndarray:
    """[Z, Y, X], clouds of the finest branches: round, fading outwards, full of gaps."""
    cloud = grid.empty()
    for centre, amount in zip(somata_um, dye, strict=True):
        box = grid.box_around(centre, radius_um)
        if box is None:
            continue
        z, y, x = (
            (a - np.float32(c)) / np.float32(radius_um)
            for a, c in zip(grid.axes_um(box), centre, strict=True)
        )
        fading = np.float32(amount) * np.clip(1 - (z * z + y * y + x * x), 0, 1)
        np.maximum(cloud[box], fading, out=cloud[box])
    return cloud * np.clip(1 + 0.6 * smooth_noise(grid, _SPONGE_UM, rng), 0, None)
