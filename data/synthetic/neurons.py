"""Neurons: somata with branching dendrites and an axon, also those that reach in from outside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .grid import Grid
from .neurites import AXON, grow, sprout
from .neuron_ranges import NeuronsRanges
from .painter import Drawing, Painter, by_owner
from .randomness import log_uniform, random_turn, uniform, unit


def draw_neurons(grid: Grid, rng: np.random.Generator, ranges: NeuronsRanges) -> Drawing:
    """Draw the neurons of one volume; each is one instance, in pieces where it leaves the volume.

    Args:
        grid: where to draw.
        rng: source of all that is random.
        ranges: what is drawn from.

    Returns:
        Density near or below 1; the centreline is the middle of all processes.
    """
    immuno = rng.random() < ranges.immunolabel
    per_mm3 = log_uniform(rng, ranges.immunolabel_per_mm3 if immuno else ranges.filled_per_mm3)
    soma_um = log_uniform(rng, ranges.soma_um)
    pyramidal_share = uniform(rng, ranges.pyramidal_share)
    upwards = unit(rng.standard_normal(3))
    shorter = 0.5 if immuno else 1.0  # antibodies show the first part of processes only
    reach = shorter * max(ranges.dendrite_length_um[1], ranges.axon_length_um[1])
    somata = _somata(grid, rng, per_mm3, max(reach, shorter * ranges.apical_length_um[1]), ranges)
    count = len(somata)
    radii = soma_um / 2 * np.exp(uniform(rng, ranges.soma_spread) * rng.standard_normal(count))
    pyramidal = rng.random(count) < pyramidal_share
    up = upwards + 0.15 * rng.standard_normal((count, 3))
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    faintness = uniform(rng, ranges.brightness_spread) * np.abs(rng.standard_normal(count))
    brightness = np.exp(-faintness)

    tips = sprout(rng, ranges, somata, radii, pyramidal, up, shorter)
    step_um = 0.5 * min(grid.pitch_um)
    places, widths, owners, kinds = grow(grid, rng, ranges, tips, step_um)
    process_dye = uniform(rng, ranges.weak_processes) if immuno else 1.0
    spiny = not immuno and rng.random() < ranges.spiny
    spines_per_um = uniform(rng, ranges.spines_per_um) if spiny else 0.0
    painter, texture = Painter(grid), grid.empty(1.0)
    centreline = np.zeros(grid.shape, bool)
    hole = (uniform(rng, ranges.nucleus_share), uniform(rng, ranges.nucleus_density))
    for number, mine in enumerate(by_owner(owners, count)):
        bright = float(brightness[number])
        if len(mine):
            _paint_processes(
                painter, places[mine], widths[mine], number + 1, bright * process_dye, step_um
            )
            dendrites = mine[kinds[mine] != AXON]
            spines = dendrites[rng.random(len(dendrites)) < spines_per_um * step_um]
            if len(spines):
                aside = rng.standard_normal((len(spines), 3))
                aside *= ((widths[spines] + 0.7) / np.linalg.norm(aside, axis=1))[:, None]
                volume = bright * rng.uniform(*ranges.spine_um3, len(spines))
                painter.add_dye(places[spines] + aside, volume, number + 1)
        _paint_soma(
            painter,
            texture,
            rng,
            (somata[number], float(radii[number]), up[number] if pyramidal[number] else None),
            number + 1,
            bright,
            hole if immuno else None,
        )
    centreline[grid.voxels_at(places)] = True
    words = neurons_words(per_mm3, soma_um, immuno, pyramidal_share)
    return replace(painter.drawing(texture, **words), centreline=centreline)


def neurons_words(
    per_mm3: float, soma_um: float, immuno: bool, pyramidal_share: float
) -> dict[str, str]:
    """What a caption may say of neurons.

    Args:
        per_mm3: density.
        soma_um: median diameter of the somata.
        immuno: whether somata are strongly and processes weakly stained.
        pyramidal_share: share of pyramidal neurons.
    """
    amounts = ("sparse", "scattered", "many", "crowded")
    sizes = ("small", "medium-sized", "large")
    shapes = ("round", "round and pyramidal", "pyramidal")
    shape = shapes[int(np.searchsorted((0.25, 0.75), pyramidal_share))]
    parts = "stained cytoplasm and faint processes" if immuno else "branching dendrites and axons"
    return {
        "amount": amounts[int(np.searchsorted((200.0, 2000.0, 1e4), per_mm3))],
        "size": sizes[int(np.searchsorted((11.0, 15.0), soma_um))],
        "pattern": f"with {shape} somata, {parts}",
    }


def _somata(
    grid: Grid, rng: np.random.Generator, per_mm3: float, reach_um: float, ranges: NeuronsRanges
) -> np.ndarray:
    """[N, 3] places of somata in the grid and up to `reach_um` around it."""
    inside = rng.uniform(0, 1, (max(ranges.least, rng.poisson(per_mm3 * grid.volume_mm3)), 3))
    wide = grid.size_um + 2 * reach_um
    wanted = rng.poisson(per_mm3 * float(np.prod(wide)) * 1e-9)
    around = rng.uniform(0, 1, (wanted, 3)) * wide - reach_um
    gap = np.linalg.norm(around - np.clip(around, 0, grid.size_um), axis=1)
    return np.concatenate([inside * grid.size_um, around[(gap > 0) & (gap < reach_um)]])


def _paint_processes(
    painter: Painter,
    places: np.ndarray,
    widths: np.ndarray,
    number: int,
    brightness: float,
    step_um: float,
) -> None:
    """Lay thin points down as dye, and paint thick ones as balls."""
    thin = widths < 0.7 * painter.grid.mean_pitch_um
    painter.add_dye(places[thin], brightness * np.pi * widths[thin] ** 2 * step_um, number)
    for place, radius in zip(places[~thin], widths[~thin], strict=True):
        painter.add_ball(place, float(radius), number, brightness)


def _paint_soma(
    painter: Painter,
    texture: np.ndarray,
    rng: np.random.Generator,
    soma: tuple[np.ndarray, float, np.ndarray | None],
    number: int,
    brightness: float,
    hole: tuple[float, float] | None,
) -> None:
    """Paint a soma (place, radius, apical direction or None), with a dark nucleus where wanted."""
    place, radius, up = soma
    grid = painter.grid
    box = grid.box_around(place, 4 * radius)
    if box is None:
        return
    turn = random_turn(rng)
    stretch = np.exp(0.1 * rng.standard_normal(3))
    if up is not None:
        turn = np.linalg.qr(np.column_stack([up, turn[:, 1:]]))[0]
        stretch = stretch * np.array([1.45, 1.0, 1.0])
    half_axes = radius * stretch / np.prod(stretch) ** (1 / 3)
    shift = 0.1 * radius * rng.standard_normal(3)
    painter.add_ellipsoid(place, half_axes, turn, number, brightness)
    if up is not None:
        # The soma runs out into the apical dendrite as a cone.
        for t in np.arange(0.8, 2.4, 0.08):
            painter.add_ball(
                place + t * radius * up, radius * max(0.12, 0.75 - 0.3 * t), number, brightness
            )
    if hole:
        share, left = hole
        z, y, x = (a - c for a, c in zip(grid.axes_um(box), place + shift, strict=True))
        own = (
            (z * c[0] + y * c[1] + x * c[2]) / (share * h)
            for c, h in zip(turn.T, half_axes, strict=True)
        )
        depth = np.sqrt(sum(u * u for u in own))
        within = np.clip(0.5 - (depth - 1) * share * radius / grid.mean_pitch_um, 0, 1)
        texture[box] *= 1 - (1 - left) * within
