"""The training loop, straight through: batch, masks, terms, step, average, and now and then a
checkpoint.

Nothing here depends on how often a run was stopped: the data order, augmentation, masks, wordings
and dropout of step s are functions of (seed, s).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..data.augment import augment
from ..data.loader import decode
from ..models.losses.contrastive import gather_with_gradient
from .accumulate import cache_contrast
from .caption_book import CaptionBook
from .ema import Ema
from .masking import Masks, draw_masks
from .objectives import Batch, Captions, PretrainModel
from .recipe import PretrainRecipe
from .state import Position
from .stop import StopRequests

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class Learner:
    """What is trained, and what trains it."""

    accelerator: Accelerator
    wrapped: nn.Module  # as DDP or FSDP wrapped it
    model: PretrainModel  # the same, bare
    optimizer: torch.optim.Optimizer
    ema: Ema
    captions: CaptionBook | None  # None where text is not trained


@dataclass(frozen=True)
class StepReport:
    """One optimiser step in numbers."""

    terms: dict[str, float]
    lr: float
    grad_norm: float
    skipped: bool
    distinct_captions: int
    crops: int
    seconds: float
    waited: float  # seconds of them spent waiting for data


def train(
    learner: Learner,
    recipe: PretrainRecipe,
    batches: Iterable[Batch],
    start: Position,
    stops: StopRequests,
    after_step: Callable[[Position, StepReport], None],
) -> Position:
    """Run from `start` to the end of the plan, or until asked to stop.

    Args:
        learner: model, optimiser, average and captions.
        recipe: the plan.
        batches: this rank's batches from step `start.step` on, `accumulate` micro-batches in one.
        start: where the run is.
        stops: what signals asked for; read between steps.
        after_step: called after every step with the new position; saves, evaluates, reports.

    Returns:
        Where the run is now; `step` below the plan's `steps` says that it was stopped.
    """
    position = start
    stream = iter(batches)
    while position.step < recipe.steps and not stops.stop:
        began = time.perf_counter()
        batch = next(stream)
        waited = time.perf_counter() - began
        terms, grad_norm, distinct = _step(learner, recipe, batch, position.step)
        skipped = not math.isfinite(grad_norm)
        seconds = time.perf_counter() - began
        crops = len(batch["index"]) * learner.accelerator.num_processes
        lr = recipe.learning_rate(position.step)
        position = replace(
            position,
            step=position.step + 1,
            skipped_steps=position.skipped_steps + skipped,
            seconds=position.seconds + seconds,
        )
        stops.agree(learner.accelerator.device)
        after_step(
            position, StepReport(terms, lr, grad_norm, skipped, distinct, crops, seconds, waited)
        )
    return position


def _step(
    learner: Learner, recipe: PretrainRecipe, batch: Batch, step: int
) -> tuple[dict[str, float], float, int]:
    """One optimiser step; returns mean terms, gradient norm, and the number of distinct
    captions."""
    accelerator = learner.accelerator
    micro_batches = prepare(batch, recipe, accelerator.device)
    captions = None
    if learner.captions is not None:
        ids = gather_with_gradient(batch["caption_id"].to(accelerator.device))
        captions = learner.captions.draw(ids, recipe.seed, step, accelerator.device)

    for group in learner.optimizer.param_groups:
        group["lr"] = recipe.learning_rate(step)
    learner.wrapped.train()
    learner.optimizer.zero_grad(set_to_none=True)
    with accelerator.autocast():
        collected = _backward(learner, recipe, micro_batches, captions, step)
    # With one bad gradient the whole step is left out, on every rank alike: the norm is global.
    norm = accelerator.clip_grad_norm_(learner.wrapped.parameters(), recipe.optim.clip)
    assert norm is not None  # None only on XLA devices
    grad_norm = float(norm)
    if math.isfinite(grad_norm):
        learner.optimizer.step()
        learner.ema.update(learner.model, step)
    terms = _mean_terms(collected, learner)
    return terms, grad_norm, 0 if captions is None else len(captions.ids)


def _mean_terms(collected: list[dict[str, torch.Tensor]], learner: Learner) -> dict[str, float]:
    """Terms averaged over the micro-batches that have them and over ranks; `loss` is their sum."""
    names = [name for name in collected[-1] if name != "loss"]
    means = torch.stack(
        [torch.stack([part[name] for part in collected if name in part]).mean() for name in names]
    )
    means = learner.accelerator.reduce(means, reduction="mean")
    terms = dict(zip(names, means, strict=True))
    terms["loss"] = learner.model.weighted_sum(terms)
    return {name: float(term) for name, term in terms.items()}


def _backward(
    learner: Learner,
    recipe: PretrainRecipe,
    micro_batches: list[tuple[Batch, Masks]],
    captions: Captions | None,
    step: int,
) -> list[dict[str, torch.Tensor]]:
    """Forward and backward of every micro-batch; gradients are exchanged between ranks once."""
    accelerator = learner.accelerator
    cached = None
    if recipe.accumulate > 1 and captions is not None:
        _seed_dropout(recipe.seed, step, accelerator.process_index)
        cached = cache_contrast(
            learner.wrapped,
            micro_batches,
            captions,
            accelerator.process_index,
            accelerator.num_processes,
        )
    collected = []
    for number, (batch, masks) in enumerate(micro_batches):
        last = number == len(micro_batches) - 1
        _seed_dropout(recipe.seed, step, accelerator.process_index)
        quiet = contextlib.nullcontext() if last else accelerator.no_sync(learner.wrapped)
        with quiet:
            terms = learner.wrapped(
                "learn",
                batch,
                masks,
                captions if cached is None or last else None,
                None if cached is None else cached[number],
            )
            scale = 1 if cached is not None else recipe.accumulate
            accelerator.backward(terms["loss"] / scale)
        collected.append({name: term.detach() for name, term in terms.items()})
    return collected


def prepare(
    batch: Batch, recipe: PretrainRecipe, device: torch.device
) -> list[tuple[Batch, Masks]]:
    """Decode and augment a step's crops on the device, draw masks, and cut into micro-batches."""
    patch = recipe.data.crop.patch
    sides = recipe.data.crop.shape
    batch = augment(decode(batch, device), recipe.data.augment, recipe.seed)
    grid = (sides[0] // patch[0], sides[1] // patch[1], sides[2] // patch[2])
    masks = draw_masks(
        batch["index"].cpu(), batch["extent"].cpu(), grid, patch, recipe.masking, recipe.seed
    ).to(device)
    size = recipe.batch_size
    return [
        ({key: value[at : at + size] for key, value in batch.items()}, masks.rows(at, at + size))
        for at in range(0, len(batch["index"]), size)
    ]


def _seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make drop path a function of the step, so that a resumed run repeats it."""
    torch.manual_seed((seed * 1_000_003 + step) * 1_009 + rank)
