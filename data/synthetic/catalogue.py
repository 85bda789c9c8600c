"""The structures that can be simulated: how each is drawn, named and stained."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from ...configs.errors import InputError
from ..ranges import Range, Ranges
from .astrocytes import AstrocytesRanges, draw_astrocytes
from .axons import AxonsRanges, draw_axons
from .grid import Grid
from .microglia import MicrogliaRanges, draw_microglia
from .neuron_ranges import NeuronsRanges
from .neurons import draw_neurons
from .neuropil import NeuropilRanges, draw_neuropil
from .nuclei import NucleiRanges, draw_nuclei
from .painter import Drawing
from .plaques import PlaquesRanges, draw_plaques
from .vessels import VesselsRanges, draw_vessels


class StructureRanges(Ranges):
    """Ranges of every structure, by its name."""

    nuclei: NucleiRanges = Field(default_factory=NucleiRanges)
    vessels: VesselsRanges = Field(default_factory=VesselsRanges)
    axons: AxonsRanges = Field(default_factory=AxonsRanges)
    neurons: NeuronsRanges = Field(default_factory=NeuronsRanges)
    microglia: MicrogliaRanges = Field(default_factory=MicrogliaRanges)
    astrocytes: AstrocytesRanges = Field(default_factory=AstrocytesRanges)
    plaques: PlaquesRanges = Field(default_factory=PlaquesRanges)
    neuropil: NeuropilRanges = Field(default_factory=NeuropilRanges)


@dataclass(frozen=True)
class Structure:
    """One entry of the catalogue.

    Attributes:
        name: in recipes and of its labels.
        title: in captions and in the `structure` column.
        draw: (grid, rng, its ranges) -> Drawing.
        stains: what may colour it, and nothing else of the catalogue.
        faint: voxels with less than this share of the structure's usual density (its 90th
            percentile) are not labelled: nobody can see a process that holds next to no dye.
        brightness: density is multiplied by a number from this range. Thin fibres are labelled
            more strongly than wide structures in practice, or nobody would image them: a fibre of a
            tenth of a voxel fills 1 % of it.
    """

    name: str
    title: str
    draw: Callable[[Grid, np.random.Generator, Ranges], Drawing]
    stains: tuple[str, ...]
    brightness: Range
    faint: float


def _entry(
    name: str,
    title: str,
    draw: Callable,
    stains: Sequence[str],
    brightness: Range = (0.6, 1.2),
    faint: float = 0.0,
) -> tuple[str, Structure]:
    return name, Structure(name, title, draw, tuple(stains), brightness, faint)


CATALOGUE: dict[str, Structure] = dict(
    [
        _entry(
            "nuclei",
            "nuclei",
            draw_nuclei,
            ("nuclear stain", "DAPI stain", "SYTO 24 stain", "propidium iodide stain"),
        ),
        _entry(
            "vessels",
            "blood vessels",
            draw_vessels,
            ("vessel stain", "lectin stain", "CD31 label"),
        ),
        _entry(
            "axons",
            "axons",
            draw_axons,
            ("axon label", "tdTomato expression", "dopamine beta-hydroxylase (DBH) label"),
            (4.0, 14.0),
            faint=0.05,
        ),
        _entry(
            "neurons",
            "neurons",
            draw_neurons,
            ("GFP expression", "YFP expression", "tyrosine hydroxylase (TH) label"),
            (0.8, 3.0),
            faint=0.1,
        ),
        _entry(
            "microglia",
            "microglia",
            draw_microglia,
            ("microglia reporter", "Iba1 label"),
            (0.8, 2.5),
            faint=0.1,
        ),
        _entry(
            "astrocytes",
            "astrocytes",
            draw_astrocytes,
            ("GFAP label", "astrocyte label"),
            (0.8, 3.0),
        ),
        _entry(
            "plaques",
            "amyloid plaques",
            draw_plaques,
            ("amyloid beta label", "Congo red stain", "plaque stain"),
        ),
        _entry("neuropil", "neuropil", draw_neuropil, ("neuropil stain", "synapse label")),
    ]
)


_SAID = {
    "nuclei": ("nucle",),
    "vessels": ("vessel", "vascula"),
    "axons": ("axon",),
    "neurons": ("neuron", "cell bod"),
    "microglia": ("microglia",),
    "astrocytes": ("astrocyt", "gfap"),
    "plaques": ("plaque", "amyloid"),
    "neuropil": ("neuropil",),
}


def says(text: str | None, name: str) -> bool:
    """Whether words of a list, such as its `structure`, speak of a structure of the catalogue."""
    return any(word in (text or "").lower() for word in _SAID[name])


def choose(names: Sequence[str]) -> tuple[Structure, ...]:
    """Entries by name, in the order given.

    Raises:
        InputError: a name is unknown (the nearest one is named), stands twice, or none is given.
    """
    if not names:
        raise InputError(f"structures: none given; choose from {', '.join(CATALOGUE)}")
    for name in names:
        if name not in CATALOGUE:
            near = difflib.get_close_matches(name, CATALOGUE, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(CATALOGUE)}"
            raise InputError(f"structures: unknown {name!r}; {hint}")
    if len(set(names)) < len(names):
        raise InputError(f"structures: one stands twice in {', '.join(names)}")
    return tuple(CATALOGUE[name] for name in names)
