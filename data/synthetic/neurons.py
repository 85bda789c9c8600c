"""Neurons: somata with branching dendrites and an axon, also those that reach in from outside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .grid import Grid
from .painter import Drawing, Painter
from .randomness import Range, Ranges, log_uniform, random_turn, uniform, unit

# Rall's law: the radius of a dendrite to the power 3/2 is the sum of its daughters' radii to it.
# W. Rall, Exp. Neurol. 1, 491 (1959).
RALL = 1.5
_THINNEST_UM = 0.2  # dendrites end when their radius falls to this
_BASAL, _APICAL, _AXON = 0, 1, 2


class NeuronsRanges(Ranges):
    """Ranges of a volume with stained neurons."""

    immunolabel: float = 0.4
    """Share of volumes where somata are strongly stained and processes weakly, with dark nuclei,
    as with antibodies to tyrosine hydroxylase; the others are filled neurons, as with GFP."""
    filled_per_mm3: Range = (30.0, 3000.0)
    """Filled neurons per mm3 (sparse labelling by virus or genes); our judgement."""
    immunolabel_per_mm3: Range = (1e3, 1.5e4)
    """Immunolabelled neurons per mm3; our judgement."""
    least: int = 1
    """Fewest neurons whose soma lies in the volume, where neurons are what is stained."""
    soma_um: Range = (8.0, 20.0)
    """Median diameter of the somata of a volume, um; our judgement."""
    soma_spread: Range = (0.05, 0.2)
    """Standard deviation of the logarithm of the soma's diameter; our judgement."""
    pyramidal_share: Range = (0.0, 1.0)
    """Share of pyramidal neurons: elongated soma, apical dendrite; our judgement."""
    dendrites: Range = (4.0, 8.0)
    """Dendrites of a neuron, the apical one not counted; our judgement."""
    dendrite_radius_um: Range = (0.5, 1.2)
    """Radius of dendrites where they leave the soma, um; our judgement."""
    apical_radius_um: Range = (1.0, 2.2)
    """Radius of apical dendrites where they leave the soma, um; our judgement."""
    dendrite_length_um: Range = (60.0, 200.0)
    """Length of dendrites from soma to tip, um; our judgement."""
    apical_length_um: Range = (150.0, 450.0)
    """Length of apical dendrites from soma to tip, um; our judgement."""
    branch_every_um: Range = (25.0, 70.0)
    """Mean length between forks of dendrites, um; our judgement."""
    persistence_um: Range = (40.0, 250.0)
    """Length over which processes forget their direction, um; our judgement."""
    axon_radius_um: Range = (0.15, 0.5)
    """Radius of axons, um; our judgement."""
    axon_length_um: Range = (200.0, 600.0)
    """Length of the axon that is drawn, um: real ones go on for millimetres; our judgement."""
    axon_branch_every_um: Range = (100.0, 400.0)
    """Mean length between branches of axons, um; our judgement."""
    spiny: float = 0.5
    """Share of volumes whose dendrites carry spines."""
    spines_per_um: Range = (0.3, 1.5)
    """Spines along dendrites; our judgement."""
    spine_um3: Range = (0.02, 0.3)
    """Volume of a spine, um3, within those of Harris and Stevens, J. Neurosci. 9, 2982 (1989)."""
    weak_processes: Range = (0.05, 0.5)
    """Dye in the processes of immunolabelled neurons over that in their somata; our judgement."""
    nucleus_share: Range = (0.55, 0.78)
    """Diameter of an immunolabelled soma's dark nucleus over its own; our judgement."""
    nucleus_density: Range = (0.03, 0.4)
    """Dye in that nucleus over that around it; our judgement."""
    brightness_spread: Range = (0.1, 0.6)
    """Standard deviation of the logarithm of brightness between neurons; our judgement."""


@dataclass
class Tips:
    """Growing ends of N processes.

    Attributes:
        place: [N, 3] um.
        heading: [N, 3] unit vectors.
        radius: [N] um.
        left: [N] um still to grow.
        owner: [N] number of the neuron.
        kind: [N], 0 basal dendrite, 1 apical dendrite, 2 axon.
        grown: [N] um from the soma.
    """

    place: np.ndarray
    heading: np.ndarray
    radius: np.ndarray
    left: np.ndarray
    owner: np.ndarray
    kind: np.ndarray
    grown: np.ndarray

    def pick(self, which: np.ndarray) -> Tips:
        """Those at an index or where a mask is true."""
        return Tips(*(value[which] for value in vars(self).values()))

    def join(self, other: Tips) -> Tips:
        """These and others."""
        return Tips(
            *(
                np.concatenate(both)
                for both in zip(vars(self).values(), vars(other).values(), strict=True)
            )
        )


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
    order = np.argsort(owners, kind="stable")
    cuts = np.searchsorted(owners[order], np.arange(count + 1))
    hole = (uniform(rng, ranges.nucleus_share), uniform(rng, ranges.nucleus_density))
    for number in range(count):
        mine = order[cuts[number] : cuts[number + 1]]
        bright = float(brightness[number])
        if len(mine):
            _paint_processes(
                painter, places[mine], widths[mine], number + 1, bright * process_dye, step_um
            )
            dendrites = mine[kinds[mine] != _AXON]
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
    index = np.floor(places / np.asarray(grid.pitch_um)).astype(int)
    inside = ((index >= 0) & (index < grid.shape)).all(axis=1)
    centreline[tuple(index[inside].T)] = True
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


def sprout(
    rng: np.random.Generator,
    ranges: NeuronsRanges,
    somata: np.ndarray,
    radii: np.ndarray,
    pyramidal: np.ndarray,
    up: np.ndarray,
    shorter: float,
) -> Tips:
    """The first ends of all processes, on the surfaces of their somata.

    Args:
        rng: source of all that is random.
        ranges: what is drawn from.
        somata: [N, 3] um.
        radii: [N] of somata, um.
        pyramidal: [N] whether a neuron has an apical dendrite.
        up: [N, 3] unit vectors along which it goes.
        shorter: factor on lengths.
    """
    count = len(somata)
    low, high = ranges.dendrites
    owner = np.repeat(np.arange(count), rng.integers(round(low), round(high) + 1, count))
    spans = (
        (owner, _BASAL, ranges.dendrite_radius_um, ranges.dendrite_length_um),
        (np.flatnonzero(pyramidal), _APICAL, ranges.apical_radius_um, ranges.apical_length_um),
        (np.arange(count), _AXON, ranges.axon_radius_um, ranges.axon_length_um),
    )
    tips = None
    for owners, kind, radius_um, length_um in spans:
        heading = rng.standard_normal((len(owners), 3))
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        if kind == _APICAL:
            heading = up[owners]
        else:
            # Basal dendrites and axons of pyramidal neurons leave away from the apical one.
            along = (heading * up[owners]).sum(axis=1)
            wrong = pyramidal[owners] & (along > 0.3)
            heading = np.where(wrong[:, None], -heading, heading)
        new = Tips(
            # Processes start below the surface, which hides the seam.
            place=somata[owners] + 0.6 * radii[owners, None] * heading,
            heading=heading,
            radius=rng.uniform(*radius_um, len(owners)),
            left=shorter * rng.uniform(*length_um, len(owners)),
            owner=owners,
            kind=np.full(len(owners), kind),
            grown=np.zeros(len(owners)),
        )
        tips = new if tips is None else tips.join(new)
    assert tips is not None
    return tips


def grow(
    grid: Grid, rng: np.random.Generator, ranges: NeuronsRanges, tips: Tips, step_um: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Grow all processes at once to their ends.

    Args:
        grid: processes that can no longer reach it are dropped.
        rng: source of all that is random.
        ranges: what is drawn from.
        tips: the first ends.
        step_um: distance between points.

    Returns:
        Of all points in or next to the grid: places [M, 3] um, radii [M] um, neurons [M] and
        kinds [M].
    """
    persistence = log_uniform(rng, ranges.persistence_um)
    every = np.array([uniform(rng, ranges.branch_every_um)] * 2 + [0.0])
    every[_APICAL] *= 1.5
    every[_AXON] = uniform(rng, ranges.axon_branch_every_um)
    # A worm-like chain turns by 2 s / persistence in mean square over a length s.
    kick = np.sqrt(step_um / persistence)
    found: list[tuple[np.ndarray, ...]] = []
    while len(tips.place):
        outside = np.linalg.norm(tips.place - np.clip(tips.place, 0, grid.size_um), axis=1)
        found.append(
            tuple(v[outside < 5.0] for v in (tips.place, tips.radius, tips.owner, tips.kind))
        )
        thick_enough = (tips.kind == _AXON) | (tips.radius > _THINNEST_UM)
        tips = tips.pick((tips.left > outside) & thick_enough)
        count = len(tips.place)
        tips.heading = tips.heading + kick * rng.standard_normal((count, 3))
        tips.heading /= np.linalg.norm(tips.heading, axis=1, keepdims=True)
        tips.place = tips.place + step_um * tips.heading
        tips.left = tips.left - step_um
        tips.grown = tips.grown + step_um
        # Dendrites taper between forks as well, by a third over 100 um; axons keep their width.
        tips.radius = tips.radius * np.where(tips.kind == _AXON, 1.0, np.exp(-step_um / 250))
        forks = (rng.random(count) < step_um / every[tips.kind]) & (tips.grown > 8.0)
        if forks.any():
            tips = tips.pick(~forks).join(fork(rng, tips.pick(forks)))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))  # pyright: ignore


def fork(rng: np.random.Generator, tips: Tips) -> Tips:
    """Both daughters [2 N] of every tip [N]: dendrites by Rall's law, axons of the same radius."""
    count = len(tips.place)
    axon, apical = tips.kind == _AXON, tips.kind == _APICAL
    # Apical trunks give off thin oblique branches; others part into more equal ones.
    share = np.where(apical, rng.uniform(0.7, 0.9, count), rng.uniform(0.35, 0.65, count))
    aside = np.cross(tips.heading, rng.standard_normal((count, 3)))
    aside /= np.linalg.norm(aside, axis=1, keepdims=True) + 1e-9
    daughters = []
    for part, side in ((share, 1.0), (1 - share, -1.0)):
        one = tips.pick(np.arange(count))
        one.radius = np.where(axon, tips.radius, tips.radius * part ** (1 / RALL))
        # The thinner daughter turns away more; axons send their branches off at wide angles.
        tilt = np.where(axon, 0.1 if side > 0 else 1.2, 1.4 * (1 - part))
        one.heading = tips.heading + side * tilt[:, None] * aside
        one.heading /= np.linalg.norm(one.heading, axis=1, keepdims=True)
        daughters.append(one)
    oblique = daughters[1]
    oblique.left = oblique.left * np.where(apical, 0.4, rng.uniform(0.5, 1.0, count))
    oblique.kind = np.where(apical, _BASAL, oblique.kind)
    return daughters[0].join(oblique)


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
