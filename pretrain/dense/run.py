"""One run of stage B from recipe to weights: build, resume, train, evaluate, write."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...configs.errors import InputError
from ...configs.run_folder import write_metrics, write_recipe
from ...data.synthetic.stock import SceneStock
from ...models.alignment import ALIGNMENT
from ...models.checkpoint import load_strict, load_weights
from ...models.sizes import SIZES, DecoderConfig, EncoderConfig
from ...models.text import TextTower
from ...models.text_vectors import NAMES_TENSOR
from ..claim import claim_run
from ..ema import Ema
from ..history import History
from ..optimizer import make_optimizer
from ..state import (
    Position,
    find_latest,
    folder_name,
    gather_state,
    prune,
    read_state,
    restore_state,
    write_checkpoint,
)
from ..step_line import StepLine
from ..stop import StopRequests
from .evaluate import on_real, on_simulated
from .objective import DensePretrainModel, dense_config
from .outcome import init_folder, seen_groups, write_dense_weights
from .real import open_real
from .recipe import DenseRecipe
from .step import draw_step
from .targets import structure_words

if TYPE_CHECKING:
    from accelerate import Accelerator

_SHOWN = ("segment", "restore", "masked")


def pretrain_dense(recipe: DenseRecipe, resume: bool = False) -> dict[str, Any]:
    """Run a recipe of stage B.

    Args:
        recipe: the whole plan; `out` receives recipe.yaml, history.jsonl, checkpoints/,
            metrics.json and weights/.
        resume: go on from the newest checkpoint; without one the run starts afresh.

    Returns:
        What stands in metrics.json; on other ranks than the first without what was evaluated.

    Raises:
        InputError: weights to start from, output folder or checkpoint are not as needed.
    """
    from accelerate import Accelerator

    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    accelerator = Accelerator(mixed_precision=recipe.precision, cpu=recipe.device == "cpu")
    run, main = Path(recipe.out), accelerator.is_main_process
    lock = claim_run(run, resume) if main else None
    if main:
        write_recipe(run, recipe)
    accelerator.wait_for_everyone()
    tower = TextTower(recipe.text_folder)
    words = structure_words(tower).to(accelerator.device)
    groups = seen_groups(recipe)
    model, architecture = build_dense(recipe, tower.width)
    # Convolutions in this order of axes are up to twice as fast, on CPUs as on GPUs.
    model = model.to(memory_format=torch.channels_last_3d)
    optimizer = make_optimizer(model, recipe.optim)
    model, optimizer = accelerator.prepare(model, optimizer)
    bare = accelerator.unwrap_model(model)
    ema = Ema(bare, recipe.optim.ema)
    position = Position(0, recipe.steps, recipe.optim.decay_start(recipe.steps))
    latest = find_latest(run / "checkpoints", recipe.steps) if resume else None
    if latest is not None:
        state, reached = read_state(latest, architecture)
        restore_state(bare, optimizer, ema, state)
        position = replace(reached, steps=recipe.steps, decay_start=position.decay_start)
        print(f"going on from step {position.step} ({latest})")
    start = position.step

    def save(now: Position) -> None:
        state = gather_state(bare, optimizer, ema)
        if main:
            write_checkpoint(run / "checkpoints" / folder_name(now.step), state, now, architecture)
            prune(run / "checkpoints", recipe.checkpoint.keep)

    with StopRequests(recipe.checkpoint.every_minutes).listening() as stops:
        position, rate = _train(
            recipe, accelerator, model, optimizer, ema, words, position, stops, save, run
        )
    save(position)
    metrics: dict[str, Any] = {
        "steps": position.step,
        "resumed_from_step": start,
        "num_processes": accelerator.num_processes,
        "crops_per_second": rate,
        "seconds": position.seconds,
    }
    if not main:
        return metrics  # the first process alone judges and writes
    with ema.swapped(bare):
        bare.eval()
        metrics |= on_simulated(bare.dense, recipe, words, accelerator.device)
        if recipe.evaluate.real:
            rows = on_real(bare.dense, recipe.evaluate.real, tower, recipe.stock.crop)
            (run / "real.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
            for name in sorted({str(row["structure"]) for row in rows.values()}):
                values = [float(row["dice"]) for row in rows.values() if row["structure"] == name]
                metrics[f"val/real_dice_{name.replace(' ', '_')}"] = sum(values) / len(values)
        write_dense_weights(run, recipe, bare, architecture, groups, metrics)
    write_metrics(run, metrics)
    if lock is not None:
        lock.close()
    return metrics


def build_dense(recipe: DenseRecipe, text_dim: int) -> tuple[DensePretrainModel, dict[str, Any]]:
    """The model, started from stage A where the recipe says so, and its architecture.

    Raises:
        InputError: `init` holds no weights of a ViT that this luxvox can build.
    """
    tensors: dict[str, torch.Tensor] = {}
    encoder, decoder = SIZES[recipe.encoder], recipe.decoder
    if recipe.init is not None:
        folder = init_folder(recipe.init)
        tensors, config = load_weights(folder)
        # What aligned them with sentences belongs to the encoder as it was.
        tensors = {n: t for n, t in tensors.items() if not n.startswith((ALIGNMENT, NAMES_TENSOR))}
        parts = config["architecture"]
        if parts["encoder_name"] != "vit":
            raise InputError(
                f"{folder}: weights of {parts['encoder_name']!r}, expected a ViT; the dense model "
                "reads tokens, so give a run with encoder.name=vit"
            )
        encoder = EncoderConfig(**parts["encoder"])
        decoder = DecoderConfig(**parts["decoder"])
    dense = dense_config(encoder, text_dim, recipe.backbone)
    model = DensePretrainModel(encoder, dense, decoder, recipe.objective)
    if any(name.startswith("dense.") for name in tensors):
        load_strict(model, tensors, str(recipe.init))
    elif tensors:
        for prefix, module in (("encoder.", model.dense.encoder), ("decoder.", model.decoder)):
            own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            load_strict(module, own, f"{recipe.init}: {prefix}")
    return model, {
        "encoder_name": "vit",
        "encoder": encoder.model_dump(mode="json"),
        "dense": dense.model_dump(mode="json"),
        "decoder": decoder.model_dump(mode="json"),
    }


def _train(
    recipe: DenseRecipe,
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
    words: torch.Tensor,
    position: Position,
    stops: StopRequests,
    save: Any,
    run: Path,
) -> tuple[Position, float]:
    """The loop: everything of step s is a function of (seed, s), so a resumed run repeats it."""
    bare = accelerator.unwrap_model(model)
    rank, world = accelerator.process_index, accelerator.num_processes
    patch = bare.dense.encoder.config.patch
    began, first = time.monotonic(), position.step
    main = accelerator.is_main_process
    history = History(run / "history.jsonl", position.step) if main else None
    stock = SceneStock(recipe.stock, recipe.seed, str(accelerator.device), recipe.workers)
    real = open_real(recipe.real, recipe.stock.crop) if recipe.real is not None else None
    with stock, StepLine(position.step, recipe.steps, main) as line:
        while position.step < recipe.steps and not stops.stop:
            step, started = position.step, time.monotonic()
            inputs = draw_step(recipe, stock, real, words, patch, step, rank, world)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate(step)
            model.train()
            optimizer.zero_grad(set_to_none=True)
            with accelerator.autocast():
                terms = model(*inputs)
            accelerator.backward(terms["loss"])
            norm = accelerator.clip_grad_norm_(model.parameters(), recipe.optim.clip)
            assert norm is not None
            finite = math.isfinite(float(norm))
            if finite:
                optimizer.step()
                ema.update(bare, step)
            position = replace(
                position,
                step=step + 1,
                skipped_steps=position.skipped_steps + (not finite),
                seconds=position.seconds + time.monotonic() - started,
            )
            numbers = {name: float(term.detach()) for name, term in terms.items()}
            if history is not None:
                history.append({"step": step + 1, **numbers})
            shown = "  ".join(f"{n} {numbers[n]:.3f}" for n in _SHOWN if n in numbers)
            line.update(step + 1, shown)
            stops.agree(accelerator.device)
            every = recipe.checkpoint.every_steps
            due = bool(every) and position.step % every == 0
            # A longer plan goes on from where the rate began to fall.
            if stops.save or due or position.step == position.decay_start:
                save(position)
                stops.saved()
    done = (position.step - first) * recipe.batch_size * world
    return position, done / max(time.monotonic() - began, 1e-9)
