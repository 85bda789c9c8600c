"""The loop that trains a focus head: a fixed number of steps, resumed where it was cut off.

A batch depends on (seed, step) only, so a resumed run ends with the weights of an uninterrupted
one. State is kept as safetensors; nothing in it is run when it is opened.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...configs.errors import InputError
from ...configs.run_folder import write_recipe
from ...models.focus_stain import StainRanks
from ...models.heads.focus import FocusHead
from ...models.losses.focus import focus_losses, weighted
from ...models.whole_folder import restore_folder, written_whole
from ...predict.focus_weights import FocusModel
from ..loop import rate_at
from .head_examples import HeadBatch
from .head_recipe import HeadRecipe, first_change

STATE, HISTORY = "state", "history.jsonl"
_TENSORS, _CARD = "state.safetensors", "state.json"
_WARM_UP, _WEIGHT_DECAY, _CLIP = 0.05, 1e-3, 1.0
_SAY_EVERY_S = 10.0
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Trained:
    """What learns together.

    Attributes:
        model: the head, or a regressor.
        ranks: of a stain-aware head.
        stains: [S + 1, D] of the grounding, for `ranks`.
    """

    model: FocusModel
    ranks: StainRanks | None = None
    stains: Tensor | None = None

    @property
    def modules(self) -> nn.ModuleList:
        """Both, for parameters and state."""
        return nn.ModuleList([self.model, *([] if self.ranks is None else [self.ranks])])

    def prototypes(self) -> Tensor | None:
        """[S + 1, K, D]; None without stains."""
        if self.ranks is None or self.stains is None:
            return None
        return self.ranks(self.stains)


def fit_head(
    trained: Trained, draw: Callable[[int], HeadBatch], recipe: HeadRecipe, run: Path
) -> dict[str, float]:
    """Train in place; RUN/recipe.yaml, and every `save_every` steps the state in RUN/state.

    Args:
        trained: what learns.
        draw: batch of a step.
        recipe: steps, rate, losses.
        run: folder of the run.

    Returns:
        Loss terms, mean over the last tenth of the steps that were done now; empty if none was.

    Raises:
        InputError: RUN holds the state of another recipe, or a damaged one.
    """
    parameters = list(trained.modules.parameters())
    optimizer = torch.optim.AdamW(parameters, recipe.lr, weight_decay=_WEIGHT_DECAY)
    first = _resume(run, trained, optimizer, recipe)
    write_recipe(run, recipe)  # not before: a RUN of another recipe keeps its own
    terms: list[Mapping[str, float]] = []
    trained.modules.train()
    began = said = time.monotonic()
    with _history(run, first).open("a", encoding="utf-8") as history:
        for step in range(first, recipe.steps):
            rate = recipe.lr * rate_at((step + 0.5) / recipe.steps, _WARM_UP)
            for group in optimizer.param_groups:
                group["lr"] = rate
            numbers = _step(trained, draw(step), recipe, optimizer)
            terms = [*terms, numbers][-max(1, recipe.steps // 10) :]
            history.write(json.dumps({"step": step + 1, "lr": rate, **numbers}) + "\n")
            if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps:
                history.flush()
                _save(run, trained, optimizer, recipe, step + 1)
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                shown = "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())
                pace = (said - began) / (step + 1 - first)
                left = pace * (recipe.steps - step - 1)
                print(f"step {step + 1}/{recipe.steps}  {shown}  {left:.0f} s left", flush=True)
    trained.modules.eval()
    return {name: sum(t[name] for t in terms) / len(terms) for name in (terms[0] if terms else {})}


def _step(
    trained: Trained, batch: HeadBatch, recipe: HeadRecipe, optimizer: torch.optim.Optimizer
) -> dict[str, float]:
    """One step: loss terms by name."""
    model, given = trained.model, batch.given
    found = model.features(given)
    values = None
    if isinstance(model, FocusHead):
        values = model.values
        answer = model.answer(found, given.stain, given.sweep, trained.prototypes())
    else:
        answer = model.answer(found)
    losses = focus_losses(answer, found.gate, batch.truth, batch.slice_truth, batch.cells, values)
    loss = weighted(losses, recipe.losses)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(trained.modules.parameters(), _CLIP)
    optimizer.step()
    return {"loss": float(loss.detach()), **{k: float(v.detach()) for k, v in losses.items()}}


def _history(run: Path, first: int) -> Path:
    """RUN/history.jsonl, cut back to the steps that count."""
    path = run / HISTORY
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    path.write_text("".join(line + "\n" for line in lines[:first]), encoding="utf-8")
    return path


def _save(
    run: Path, trained: Trained, optimizer: torch.optim.Optimizer, recipe: HeadRecipe, step: int
) -> None:
    from safetensors.torch import save_file

    tensors = {f"weights.{k}": v.clone() for k, v in trained.modules.state_dict().items()}
    for number, parameter in enumerate(trained.modules.parameters()):
        moments = optimizer.state.get(parameter, {})
        tensors |= {f"{name}.{number}": moments[name].clone() for name in moments}
    with written_whole(run / STATE) as partial:
        save_file(tensors, partial / _TENSORS)
        card = {"step": step, "recipe": recipe.model_dump(mode="json")}
        (partial / _CARD).write_text(json.dumps(card) + "\n", encoding="utf-8")


def _resume(
    run: Path, trained: Trained, optimizer: torch.optim.Optimizer, recipe: HeadRecipe
) -> int:
    """Fill weights and optimizer from RUN/state; the step to go on at, 0 without a state."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = run / STATE
    restore_folder(folder)
    if not folder.is_dir():
        return 0
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        tensors = load_file(folder / _TENSORS)
        step, told = int(card["step"]), card["recipe"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: damaged ({error}); delete it to start anew") from error
    changed = first_change(told, recipe)
    if changed is not None:
        raise InputError(
            f"{run}: holds a run of another recipe ({changed}); give another --out, or delete it"
        )
    own = {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}
    try:
        trained.modules.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(
            f"{folder}: does not fit the head ({str(error).splitlines()[0]}); the data changed; "
            "give another --out"
        ) from error
    for number, parameter in enumerate(trained.modules.parameters()):
        there = {name: tensors[f"{name}.{number}"] for name in _MOMENTS
                 if f"{name}.{number}" in tensors}  # fmt: skip
        if there:
            optimizer.state[parameter] = there
    return step
