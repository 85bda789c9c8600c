"""What one step of stage B learns from: a pure function of recipe, seed and step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...data.crops import Source
from ...data.draws import keyed_rng
from ...data.synthetic.stock import SceneStock, SimulatedBatch
from ..masking import Masks, draw_masks
from .real import RealBatch, real_batch
from .recipe import DenseRecipe
from .targets import Asked, ask, condition_of


class StepInputs(NamedTuple):
    """What `DensePretrainModel` takes, in its order; B samples, on one device.

    batch: simulated crops, or real ones degraded again.
    asked: what is asked of each; None for real crops.
    condition: [B, T], which structure is named; None for real crops.
    known: [B] bool, whether the voxel size is told.
    masks: of the rehearsal.
    """

    batch: SimulatedBatch | RealBatch
    asked: Asked | None
    condition: Tensor | None
    known: Tensor
    masks: Masks


def draw_step(
    recipe: DenseRecipe,
    stock: SceneStock,
    real: Source | None,
    words: Tensor,
    patch: tuple[int, int, int],
    step: int,
    rank: int = 0,
    world: int = 1,
) -> StepInputs:
    """The inputs of a step on one rank.

    Args:
        recipe: of the run.
        stock: scenes; its device is that of the inputs.
        real: real volumes, of which every `real_every`-th batch is; None = none.
        words: [S, V, T], the vectors that name the structures, on the device.
        patch: voxels of one token along (z, y, x).
        step: of the optimiser, from 0.
        rank: of this process.
        world: number of processes.
    """
    size, seed, device = recipe.batch_size, recipe.seed, stock.device
    turn = step * world + rank
    asked = condition = None
    if real is not None and step % recipe.real_every == recipe.real_every - 1:
        batch = real_batch(real, recipe.stock.scene.optics, turn, size, seed, device)
        known = batch.known
    else:
        batch = stock.batch(turn, size)
        asked = ask(batch, recipe.objective, seed, turn)
        condition = condition_of(asked.structure, words, asked.wording)
        known = _told(turn, recipe).to(device)
    z, y, x = (side // edge for side, edge in zip(recipe.stock.crop, patch, strict=True))
    index = turn * size + torch.arange(size)
    extent = torch.tensor(recipe.stock.crop).expand(size, 3)
    masks = draw_masks(index, extent, (z, y, x), patch, recipe.masking, seed).to(device)
    return StepInputs(batch, asked, condition, known, masks)


def _told(turn: int, recipe: DenseRecipe) -> Tensor:
    """[B] bool, which samples are told their voxel size."""
    chance = keyed_rng("told", recipe.seed, turn).random(recipe.batch_size)
    return torch.from_numpy(chance >= recipe.objective.hide_spacing)
