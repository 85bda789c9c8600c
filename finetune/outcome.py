"""What a run leaves behind beside its curve: the numbers of metrics.json, weights/, support.npz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.row import Row
from ..predict.task_weights import TaskWeights, save_task
from .examples import Example
from .loop import Outcome
from .recipe import FinetuneRecipe, Plan
from .start import Start
from .support import fit_of, write_support

if TYPE_CHECKING:
    from accelerate import Accelerator


def learning_metrics(
    recipe: FinetuneRecipe,
    rows: Sequence[Row],
    start: Start,
    plan: Plan,
    outcome: Outcome,
    share: float,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """How the run went, as metrics.json says it: flat keys.

    Args:
        recipe: of the run.
        rows: learnt from.
        start: which weights it began with.
        plan: what was chosen.
        outcome: of the loop.
        share: of the parameters that learnt, 0 to 1.
        accelerator: says how many processes took part.
    """
    crops = outcome.steps * recipe.batch_size * accelerator.num_processes
    return {
        "task": recipe.task,
        "support": [row.id for row in rows],
        "support_groups": sorted({row.group for row in rows}),
        "begins": start.begins,
        "weights": start.where,
        "adapt": plan.how,
        "blend": plan.blend,
        "trained_share": share,
        "steps": outcome.steps,
        "skipped_steps": outcome.skipped,
        "seconds": outcome.seconds,
        "crops_per_second": crops / outcome.seconds if outcome.seconds else 0.0,
        "resumed_from_step": 0,
        "num_processes": accelerator.num_processes,
        **{
            f"train/{'loss' if name == 'loss' else f'{name}_loss'}": v
            for name, v in outcome.terms.items()
        },
    }


def write_outcome(
    recipe: FinetuneRecipe, rows: Sequence[Row], weights: TaskWeights, examples: Sequence[Example]
) -> dict[str, Any]:
    """Calibrate, write weights/ and support.npz.

    Args:
        recipe: of the run; its `out` is written to.
        rows: learnt from.
        weights: the fine-tuned model and its task.
        examples: what stands for the rows.

    Returns:
        What that adds to the metrics: `support/...`, and the threshold of a segmentation.

    Raises:
        InputError: the folder cannot be written.
    """
    run = Path(recipe.out)
    fit = fit_of(weights, examples, recipe.calibrate)
    task = fit.weights.task
    lines = "\n".join(f"| {name} | {value:.3f} |" for name, value in sorted(fit.metrics.items()))
    card = f"""# {task.task.capitalize()} weights fine-tuned with luxvox

Learnt from {len(rows)} rows of `{recipe.data}`{f", {task.structure}" if task.structure else ""}.
Run them with `luxvox predict`. What stands below is the fit to the rows learnt from; it says
nothing about other volumes: measure those with `luxvox evaluate`. Not for diagnosis.

| measured | value |
|---|---|
{lines}
"""
    config = {
        "recipe": recipe.model_dump(mode="json"),
        "data": {"source": recipe.data, "support": [row.id for row in rows]},
        "stains": sorted({row.stain for row in rows if row.stain}),
    }
    write_support(run, fit)
    save_task(run / "weights", weights.model, task, config, card, weights.condition)
    chosen = {"threshold": task.threshold} if task.task == "segment" else {}
    return {**fit.metrics, **chosen}
