"""The methods: each learns from a trial's support, and then answers for one example at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...configs.errors import InputError
from ...configs.load import load_recipe
from ...models.catalog import SHIPPED, find_folder
from ...models.checkpoint import groups_of, read_config
from ...models.sizes import SIZES
from ...predict.image import classify_image, predict_image
from ...predict.task_weights import TaskWeights, load_task
from ...predict.volume import found_labels
from ..confidence import expected_dice
from ..examples import Example, Task
from ..override_words import as_meant
from ..recipe import FinetuneRecipe
from ..run import finetune
from ..start import DEFAULT_WEIGHTS
from .lists import BenchmarkList
from .plan import SCRATCH, BenchmarkPlan, Cell
from .scoring import Answer
from .trials import Trial

Method = Callable[[Example], Answer]

CLASSICAL = (
    "identity", "top_hat", "forest", "wiener", "richardson_lucy", "texture",
)  # fmt: skip
"""They have no recipe."""


def weights_of(plan: BenchmarkPlan, method: str) -> str | None:
    """Name of the weights that a method starts from; None of those that start from nothing.

    Raises:
        InputError: they were not given.
    """
    if method in CLASSICAL or method in SCRATCH:
        return None
    if method == "stage_a":
        return plan.weights_a
    if method == "unet_stage_b":
        return plan.weights_unet
    if plan.weights is None and DEFAULT_WEIGHTS not in SHIPPED:
        raise InputError(
            f"method {method!r} needs pretrained weights, and {DEFAULT_WEIGHTS} does not ship yet; "
            "give --weights RUN, or --methods without it"
        )
    return plan.weights or DEFAULT_WEIGHTS


def recipe_of(plan: BenchmarkPlan, cell: Cell, structure: str | None, run: Path) -> FinetuneRecipe:
    """The recipe of a trained cell: that of all methods, but for where it starts.

    Args:
        plan: of the benchmark.
        cell: says method and seed.
        structure: which the list's rows all name; the recipe's own word wins.
        run: folder for it.

    Raises:
        InputError: an override is wrong.
    """
    task = cell.task
    words = ["minutes=null", "tracker=none", *as_meant(plan.overrides)]
    weights = weights_of(plan, cell.method) or "none"
    named = {"task": task, "data": cell.dataset, "out": str(run), "weights": weights}
    # Values are YAML: a list may be called 2024, and a folder hold a quote.
    words += [f"{key}={json.dumps(value)}" for key, value in named.items()]
    words += [f"seed={cell.seed}", "shots=null"]
    if cell.method in SCRATCH:
        # What spares pretraining would only handicap a net that has none.
        words += ["adapt=auto", f"backbone={SCRATCH[cell.method]}", *_size(plan)]
    if cell.method in plan.rates:
        words.append(f"scratch_lr={plan.rates[cell.method]}")
    if task == "classify":
        words.append(f"classify.method={cell.method}")
    recipe = load_recipe(plan.recipe or f"finetune/{task}.yaml", FinetuneRecipe, words)
    if recipe.labels != "binary":
        raise InputError(
            "labels=classes: the benchmark compares binary segmentations; leave it out"
        )
    if recipe.structure is None and structure is not None:
        recipe = recipe.model_copy(update={"structure": structure})
    return recipe


def learn(plan: BenchmarkPlan, cell: Cell, trial: Trial, given: BenchmarkList, run: Path) -> Method:
    """Let the cell's method learn from the support of a trial.

    Args:
        plan: of the benchmark.
        cell: says which method and seed.
        trial: the draw.
        given: the list.
        run: folder for a trained net; what an earlier attempt left there is removed.

    Returns:
        What answers for one example, without looking at its truth.

    Raises:
        InputError: weights that do not fit, or a package is missing.
    """
    if cell.method in CLASSICAL:
        return _classical(cell, trial)
    recipe = recipe_of(plan, cell, structure_of(given), run)
    device = "cuda" if recipe.device == "auto" and torch.cuda.is_available() else "cpu"
    if cell.method == "untouched":
        named = None if recipe.structure in (None, "none") else recipe.structure
        assert recipe.weights is not None
        task: Task = cell.task
        weights = load_task(recipe.weights, task, named if task == "segment" else None, device)
        return _answers(weights)
    shutil.rmtree(run, ignore_errors=True)
    finetune(recipe, trial.rows, trial.support)
    return _answers(load_task(run, device=device))


def structure_of(given: BenchmarkList) -> str | None:
    """What the rows of a list name, where they all name the same."""
    names = {row.structure for row in given.rows}
    return names.pop() if len(names) == 1 and given.task == "segment" else None


def groups_behind(weights: str) -> list[str] | None:
    """Groups that weights have seen in pretraining; None where they do not say."""
    return groups_of(read_config(find_folder(weights)))


def _size(plan: BenchmarkPlan) -> list[str]:
    """The size of the pretrained encoder, so that scratch is the same net."""
    if plan.weights is None or any(word.startswith("encoder=") for word in plan.overrides):
        return []
    config = read_config(find_folder(plan.weights)).get("architecture", {}).get("encoder", {})
    for name, size in SIZES.items():
        if all(config.get(key) == getattr(size, key) for key in ("width", "depth", "heads")):
            return [f"encoder={name}"]
    return []


def _answers(weights: TaskWeights) -> Method:
    task = weights.task.task

    def answer(example: Example) -> Answer:
        if task == "classify":
            found = classify_image(weights, example.image, example.voxel_size_um)
            return Answer(class_name=weights.task.classes[int(found.argmax())])
        told = weights.asked(example.structure)
        found = predict_image(told, example.image, example.voxel_size_um)
        if task == "restore":
            return Answer(found[0])
        return Answer(found_labels(weights, found), extra=_confidence(weights, found))

    return answer


def _confidence(weights: TaskWeights, found: NDArray[np.float32]) -> dict[str, float]:
    """How sure a binary segmentation is of itself."""
    return {"expected_dice": expected_dice(found[0], weights.task.threshold)}


def _classical(cell: Cell, trial: Trial) -> Method:
    """Today's tools; their packages are loaded only where they are asked for."""
    support = trial.support
    if cell.method == "identity":
        return lambda example: Answer(example.image)
    if cell.method == "top_hat":
        from ..baselines.top_hat import fit_top_hat

        top_hat = fit_top_hat(support)
        return lambda example: Answer(top_hat(example))
    if cell.method == "forest":
        from ..baselines.pixel_forest import fit_pixel_forest

        forest = fit_pixel_forest(support, cell.seed)
        return lambda example: Answer(forest(example))
    if cell.method == "texture":
        from ..baselines.texture import fit_texture

        texture = fit_texture(support, cell.seed)
        return lambda example: Answer(class_name=texture(example))
    from ..baselines.deconvolution import fit_deconvolution

    assert cell.method in ("wiener", "richardson_lucy")
    restored = fit_deconvolution(support, cell.method)  # pyright: ignore[reportArgumentType]
    return lambda example: Answer(restored(example))
