"""One pretraining run from recipe to report: build, resume, train, evaluate, write."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ..configs.run_folder import write_recipe
from ..data.loader import make_loader
from .build import build_learner, make_accelerator
from .claim import claim_run
from .corpus import open_corpus
from .loop import train
from .outcome import architecture_of
from .recipe import PretrainRecipe
from .recorder import Recorder
from .state import Position, find_latest, read_state, restore_state
from .step_line import StepLine


def pretrain(recipe: PretrainRecipe, resume: bool = False) -> dict[str, float | int]:
    """Run a recipe to its end, or until asked to stop.

    Args:
        recipe: the whole plan; its `out` folder receives recipe.yaml, history.jsonl, checkpoints/,
            metrics.json, weights/ and report.html.
        resume: go on from the newest checkpoint; without one the run starts afresh.

    Returns:
        What stands in metrics.json.

    Raises:
        InputError: data, captions, output folder or checkpoint are not as needed.
    """
    run = Path(recipe.out)
    accelerator = make_accelerator(recipe)
    main = accelerator.is_main_process
    lock = claim_run(run, resume) if main else None
    accelerator.wait_for_everyone()
    latest = find_latest(run / "checkpoints", recipe.steps) if resume else None
    corpus = open_corpus(recipe, shown=main)
    learner = build_learner(recipe, corpus, accelerator)
    architecture = architecture_of(recipe, learner.model)
    position = Position(0, recipe.steps, recipe.decay_start)
    if latest is not None:
        state, reached = read_state(latest, architecture)
        restore_state(learner.model, learner.optimizer, learner.ema, state)
        position = replace(reached, steps=recipe.steps, decay_start=recipe.decay_start)
        if main:
            print(f"going on from step {position.step} ({latest})")
    if main:
        write_recipe(run, recipe)
        (run / "skipped.json").write_text(json.dumps(corpus.skipped, indent=1), encoding="utf-8")
    accelerator.init_trackers("luxvox")

    recorder = Recorder(recipe, run, learner, corpus, architecture, position)
    batches = make_loader(
        corpus.train,
        seed=recipe.seed,
        batch_size=recipe.batch_size * recipe.accumulate,
        start_step=position.step,
        num_steps=recipe.steps - position.step,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        workers=recipe.data.workers,
    )
    with (
        batches,
        recorder.stops.listening() as stops,
        StepLine(position.step, recipe.steps, main) as recorder.line,
    ):
        reached = train(learner, recipe, batches, position, stops, recorder.after_step)
    metrics = recorder.finish(reached)
    accelerator.end_training()
    if lock is not None:
        lock.close()
    return metrics
