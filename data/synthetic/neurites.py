"""Neurites: the processes of neurons, grown all at once, forking and tapering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .grid import Grid
from .neuron_ranges import NeuronsRanges
from .randomness import log_uniform, uniform

# Rall's law: the radius of a dendrite to the power 3/2 is the sum of its daughters' radii to it.
# W. Rall, Exp. Neurol. 1, 491 (1959).
RALL = 1.5
_THINNEST_UM = 0.2  # dendrites end when their radius falls to this
BASAL, APICAL, AXON = 0, 1, 2


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
        (owner, BASAL, ranges.dendrite_radius_um, ranges.dendrite_length_um),
        (np.flatnonzero(pyramidal), APICAL, ranges.apical_radius_um, ranges.apical_length_um),
        (np.arange(count), AXON, ranges.axon_radius_um, ranges.axon_length_um),
    )
    tips = None
    for owners, kind, radius_um, length_um in spans:
        heading = rng.standard_normal((len(owners), 3))
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        if kind == APICAL:
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
    every[APICAL] *= 1.5
    every[AXON] = uniform(rng, ranges.axon_branch_every_um)
    # A worm-like chain turns by 2 s / persistence in mean square over a length s.
    kick = np.sqrt(step_um / persistence)
    found: list[tuple[np.ndarray, ...]] = []
    while len(tips.place):
        outside = np.linalg.norm(tips.place - np.clip(tips.place, 0, grid.size_um), axis=1)
        found.append(
            tuple(v[outside < 5.0] for v in (tips.place, tips.radius, tips.owner, tips.kind))
        )
        thick_enough = (tips.kind == AXON) | (tips.radius > _THINNEST_UM)
        tips = tips.pick((tips.left > outside) & thick_enough)
        count = len(tips.place)
        tips.heading = tips.heading + kick * rng.standard_normal((count, 3))
        tips.heading /= np.linalg.norm(tips.heading, axis=1, keepdims=True)
        tips.place = tips.place + step_um * tips.heading
        tips.left = tips.left - step_um
        tips.grown = tips.grown + step_um
        # Dendrites taper between forks as well, by a third over 100 um; axons keep their width.
        tips.radius = tips.radius * np.where(tips.kind == AXON, 1.0, np.exp(-step_um / 250))
        forks = (rng.random(count) < step_um / every[tips.kind]) & (tips.grown > 8.0)
        if forks.any():
            tips = tips.pick(~forks).join(fork(rng, tips.pick(forks)))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))  # pyright: ignore


def fork(rng: np.random.Generator, tips: Tips) -> Tips:
    """Both daughters [2 N] of every tip [N]: dendrites by Rall's law, axons of the same radius."""
    count = len(tips.place)
    axon, apical = tips.kind == AXON, tips.kind == APICAL
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
    oblique.kind = np.where(apical, BASAL, oblique.kind)
    return daughters[0].join(oblique)
