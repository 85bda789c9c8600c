"""Which structure each sample is asked for, and what the right answer is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...data.draws import keyed_rng
from ...data.synthetic.catalogue import CATALOGUE
from ...data.synthetic.stock import STRUCTURES, SimulatedBatch
from ...models.text import TextTower
from .annotate import annotate
from .recipe import DenseObjectiveRecipe

UNNAMED = -1

# Users name things in their own words: a head that knew one sentence would be lost with another.
_NAMES = {
    "nuclei": ("cell nuclei", "nucleus", "stained nuclei", "c-Fos positive nuclei", "DAPI"),
    "vessels": ("vessels", "vasculature", "blood vessel", "capillaries and vessels"),
    "axons": ("axon", "nerve fibres", "axonal projections", "labelled axons"),
    "neurons": ("neuron", "neuronal cell bodies and dendrites", "labelled neurons", "nerve cells"),
    "microglia": ("microglial cells", "microglia somata", "Iba1 positive microglia"),
    "astrocytes": ("astrocyte", "GFAP positive astrocytes", "astroglia"),
    "plaques": ("plaques", "amyloid plaque", "amyloid beta deposits", "amyloid"),
    "neuropil": ("synaptic neuropil", "neuropil staining", "brain tissue"),
}
_WORDINGS = 6
_THIN = {
    STRUCTURES.index(name) for name in ("vessels", "axons", "neurons", "microglia", "astrocytes")
}


class Asked(NamedTuple):
    """What a batch is asked for. B samples.

    structure: [B] int64, number of the structure that is named; -1 = none.
    labels: [B, Z, Y, X] uint8, 1 where it is.
    centreline: [B, Z, Y, X] uint8, 1 on its middle.
    tube: [B] bool, whether the structure has a middle at all.
    wording: [B] int64, which of its names is used.
    """

    structure: Tensor
    labels: Tensor
    centreline: Tensor
    tube: Tensor
    wording: Tensor


def ask(batch: SimulatedBatch, recipe: DenseObjectiveRecipe, seed: int, step: int) -> Asked:
    """Choose a structure for every sample: one that glows, or none is named, or one not there.

    A structure that is there but not stained is never asked for: whether a dark vessel counts as
    one is a matter of taste.
    """
    rng = keyed_rng("asked", seed, step)
    named, meant = [], []
    present = [int(bits) for bits in _bits_present(batch.labels)]
    for main, stained, there in zip(
        batch.main.tolist(), batch.stained.tolist(), present, strict=True
    ):
        glowing = [bit for bit in range(len(STRUCTURES)) if stained >> bit & 1]
        missing = [bit for bit in range(len(STRUCTURES)) if not (there | stained) >> bit & 1]
        chance = rng.random()
        if chance < recipe.unnamed:
            named.append(UNNAMED)
            meant.append(main)
        elif chance < recipe.unnamed + recipe.absent and missing:
            named.append(int(rng.choice(missing)))
            meant.append(named[-1])
        else:
            named.append(int(rng.choice(glowing)))
            meant.append(named[-1])
    device = batch.labels.device
    bit = torch.tensor(meant, device=device)[:, None, None, None]
    centreline = ((batch.centreline >> bit) & 1).to(torch.uint8)
    z, y, x = batch.voxel_size_um[0].tolist()
    labels = annotate(
        ((batch.labels >> bit) & 1).to(torch.uint8),
        batch.clean,
        batch.image,
        (z, y, x),
        recipe.dim_left_out,
        [recipe.thin_as_seen if m in _THIN else recipe.as_seen for m in meant],
        [m in _THIN for m in meant],
        rng,
    )
    return Asked(
        structure=torch.tensor(named, device=device),
        labels=labels,
        centreline=centreline,
        tube=(centreline > 0).flatten(1).any(1),
        wording=torch.from_numpy(rng.integers(_WORDINGS, size=len(named))).to(device),
    )


def structure_names(name: str) -> tuple[str, ...]:
    """What a structure of the catalogue is called, its title first."""
    return (CATALOGUE[name].title, *_NAMES[name])


def structure_words(tower: TextTower) -> Tensor:
    """[S, V, T] unit vectors of the names of each structure, the title first."""
    rows = []
    for name in STRUCTURES:
        names = structure_names(name)
        rows.append(tower.encode([names[k % len(names)] for k in range(_WORDINGS)]))
    return torch.stack(rows)


def condition_of(structure: Tensor, words: Tensor, wording: Tensor | None = None) -> Tensor:
    """Vectors of what is asked for: [B], and [S, V, T] of the names -> [B, T]; 0 = unnamed.

    Args:
        structure: [B] int64; -1 = none.
        words: see `structure_words`.
        wording: [B] int64, which name; None takes the title.
    """
    chosen = torch.zeros_like(structure) if wording is None else wording
    said = words[structure.clamp(min=0), chosen]
    return torch.where((structure >= 0)[:, None], said, torch.zeros_like(said))


def optics_targets(batch: SimulatedBatch) -> Tensor:
    """[B, 4]: log NA, log photons, log sheet waist, distance from focus in depths of field.

    Shifted and scaled to about unit variance over the default ranges.
    """
    optics = batch.optics
    depth_of_field = optics.index * optics.wavelength_um / optics.na.square()
    values = torch.stack(
        [
            (optics.na.log() + 1.3) / 0.45,
            (optics.photons.log() - 6.4) / 1.3,
            (optics.sheet_waist_um.log() - 1.4) / 0.4,
            (optics.defocus_um.abs() / depth_of_field).clamp(max=5) - 0.5,
        ],
        dim=1,
    )
    return values


def _bits_present(labels: Tensor) -> np.ndarray:
    """[B], bits of the structures that have a voxel in each sample."""
    present = [
        ((labels >> bit) & 1).flatten(1).any(1).long() << bit for bit in range(len(STRUCTURES))
    ]
    return torch.stack(present).sum(0).cpu().numpy()
