"""The training loop: a fixed budget of steps, or of minutes, and the mean of the later weights.

No validation labels are needed: nothing is chosen on the way. The rate falls to zero with the
budget, and what is kept is the mean over its last half.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..models.adapt import TrainedGroup
from ..predict.image import autocast
from .recipe import FinetuneRecipe, Plan
from .sub_crops import Batch

if TYPE_CHECKING:
    from accelerate import Accelerator

_SAY_EVERY_S = 10.0

Told = Callable[[int, int], None]
"""Told (steps done, steps at most); what it raises ends the run."""


@dataclass
class Outcome:
    """What a run of the loop came to.

    Attributes:
        steps: done.
        skipped: of them, left out because a gradient was not finite.
        seconds: of the wall clock.
        terms: of the loss, mean over the last tenth of the steps.
    """

    steps: int
    skipped: int
    seconds: float
    terms: dict[str, float] = field(default_factory=dict)


def make_optimizer(
    groups: Iterable[TrainedGroup], plan: Plan, new_head: bool, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW with a rate for each group; norms, biases and single tokens go without decay.

    Args:
        groups: of `models.adapt`.
        plan: rates.
        new_head: whether the head starts from random numbers.
        weight_decay: of matrices.
    """
    settings: list[dict[str, Any]] = []
    for group in groups:
        rate = plan.encoder_lr if group.encoder else plan.lr
        if group.name == "head.distance" or (group.name == "head" and new_head):
            rate = plan.new_head_lr
        for matrices in (True, False):
            chosen = [p for p in group.parameters if (p.ndim >= 2) is matrices]
            if chosen:
                settings.append(
                    {
                        "params": chosen,
                        "full_lr": rate * group.factor,
                        "lr": rate * group.factor,
                        "weight_decay": weight_decay if matrices else 0.0,
                    }
                )
    return torch.optim.AdamW(settings)


def rate_at(progress: float, warmup: float) -> float:
    """Factor of the rates: a straight rise over `warmup`, then a cosine to 0; progress 0 to 1."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))


def train(
    task: nn.Module,
    groups: list[TrainedGroup],
    draw: Callable[[int], Batch],
    recipe: FinetuneRecipe,
    plan: Plan,
    accelerator: Accelerator,
    new_head: bool = False,
    told: Told = lambda step, steps: None,
) -> Outcome:
    """Train in place until the budget is used up.

    Args:
        task: batch -> terms with `loss`; has `features` and `model`.
        groups: what learns, at which rate.
        draw: batch of a step, on the CPU; the same whenever it is asked for.
        recipe: budget, clip, average.
        plan: its choices.
        accelerator: device, precision, ranks.
        new_head: see `make_optimizer`.
        told: of every step.
    """
    optimizer = make_optimizer(groups, plan, new_head, recipe.weight_decay)
    wrapped, optimizer = accelerator.prepare(task, optimizer)
    trained = [parameter for group in groups for parameter in group.parameters]
    mean = _Mean(trained)
    features = _Features(task, recipe) if plan.how == "head" else None
    began = said = time.monotonic()
    step = skipped = 0
    late: list[dict[str, Tensor]] = []
    history: IO[str] | None = None
    if accelerator.is_main_process:
        history = (Path(recipe.out) / "history.jsonl").open("w", encoding="utf-8")
    wrapped.train()
    while (progress := _progress(step, plan, recipe.minutes, began, accelerator)) < 1:
        # Half a step ahead: the first step is not lost to a rate of 0.
        factor = rate_at(progress + 0.5 / plan.steps, recipe.warmup)
        for settings in optimizer.param_groups:
            settings["lr"] = settings["full_lr"] * factor
        optimizer.zero_grad(set_to_none=True)
        if features is None:
            inputs = (draw(step).to(accelerator.device),)
        else:
            inputs = features.of(step, draw, accelerator)
        with autocast(accelerator.device, recipe.precision):
            terms = wrapped(*inputs)
        accelerator.backward(terms["loss"])
        norm = accelerator.clip_grad_norm_(trained, recipe.clip)
        if norm is not None and bool(torch.isfinite(torch.as_tensor(norm))):
            optimizer.step()
        else:
            skipped += 1
        step += 1
        told(step, plan.steps)
        late = [*late, {name: term.detach() for name, term in terms.items()}]
        late = late[-max(1, step // 10) :]
        if recipe.average and progress >= 0.5:
            mean.add(trained)
        if history is not None:
            numbers = {name: float(term.detach()) for name, term in terms.items()}
            history.write(json.dumps({"step": step, "lr": plan.lr * factor, **numbers}) + "\n")
            accelerator.log(numbers, step=step)
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                print(_line(step, plan.steps, progress, said - began, numbers), flush=True)
    if history is not None:
        history.close()
    mean.put(trained)
    task.eval()
    terms = {name: float(torch.stack([t[name] for t in late]).mean()) for name in late[0]}
    return Outcome(step, skipped, time.monotonic() - began, terms)


def _progress(
    step: int, plan: Plan, minutes: float | None, began: float, accelerator: Accelerator
) -> float:
    """Share of the budget that is used up, the same on every rank."""
    progress = step / plan.steps
    if minutes is None:
        return progress
    if step == 0:
        return 0.0
    spent = (time.monotonic() - began) / (60 * minutes)
    if accelerator.num_processes > 1:
        told = torch.tensor(spent, dtype=torch.float64, device=accelerator.device)
        spent = float(accelerator.reduce(told, reduction="mean"))  # pyright: ignore
    return max(progress, spent)


def _line(step: int, steps: int, progress: float, seconds: float, terms: dict[str, float]) -> str:
    left = seconds * (1 - progress) / max(progress, 1e-6)
    shown = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
    return f"step {step}/{steps}  {shown}  {seconds / step:.2f} s/step  {left:.0f} s left"


class _Mean:
    """The mean of parameters over the steps that were added."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.total = [torch.zeros_like(parameter) for parameter in parameters]
        self.count = 0

    @torch.no_grad()
    def add(self, parameters: list[nn.Parameter]) -> None:
        self.count += 1
        for mean, parameter in zip(self.total, parameters, strict=True):
            mean.lerp_(parameter.detach(), 1 / self.count)

    @torch.no_grad()
    def put(self, parameters: list[nn.Parameter]) -> None:
        if self.count:
            for mean, parameter in zip(self.total, parameters, strict=True):
                parameter.copy_(mean)


class _Features:
    """Batches with what a frozen model makes of them, computed once and gone through again."""

    def __init__(self, task: nn.Module, recipe: FinetuneRecipe) -> None:
        self.task, self.recipe = task, recipe
        self.kept: dict[int, tuple[Batch, Any]] = {}

    def of(
        self, step: int, draw: Callable[[int], Batch], accelerator: Accelerator
    ) -> tuple[Batch, Any]:
        place = step % self.recipe.cached_batches
        if place not in self.kept:
            batch = draw(place).to(accelerator.device)
            with torch.no_grad(), autocast(accelerator.device, self.recipe.precision):
                self.kept[place] = (batch, self.task.features(batch))  # pyright: ignore
        return self.kept[place]
