"""`luxvox finetune focus`: stacks of known defocus in, a focus head with its intervals out.

RUN holds recipe.yaml, history.jsonl, state/ (to resume), weights/ and metrics.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from ...configs.errors import InputError
from ...configs.load import load_recipe
from ...configs.run_folder import lock_run, write_metrics
from ...data.draws import keyed_rng
from ...models.focus_config import FocusConfig
from ...models.focus_stain import StainRanks
from ...models.heads.focus import FocusHead
from ...models.text import TextTower
from ...predict.focus import Mode
from ...predict.focus_measures import MEASURED
from ...predict.focus_tokens import FrozenEncoder
from ...predict.focus_weights import LearnedFocus, build_model, save_learned
from .head_examples import Example, draw_batch, keep_ranges, known_stains, make_example
from .head_fit import Trained, fit_head
from .head_grounding import TextEncoder, ground_stains
from .head_lists import read_labelled
from .head_measure import judge_all, keep_usual, measure, measure_left_out, residuals_of
from .head_recipe import Family, HeadRecipe
from .head_simulated import image_stack, training_stacks
from .head_specimens import Specimen, draw_specimen, open_specimens
from .head_stack import LabelledStack

SIMULATED = "simulated"
DEFAULT_RECIPE = "focus/stem"
_LEFT_OUT = 0.25  # share of the specimens of a list that intervals are made from


def train_focus_command(
    dataset: str, out: str, recipe: str | None = None, overrides: Sequence[str] = ()
) -> dict[str, float]:
    """Train, and say what came of it.

    Args:
        dataset: a list of labelled stacks, or "simulated".
        out: folder of the run; one that was cut off goes on.
        recipe: path or name; None = the stem alone.
        overrides: `key=value` pairs.

    Raises:
        InputError: anything that the user can mend.
    """
    plan = load_recipe(recipe or DEFAULT_RECIPE, HeadRecipe, list(overrides))
    metrics = train_focus(dataset, out, plan)
    for name, value in metrics.items():
        print(f"{name}: {value:.4g}")
    mode = plan.mode or "sweep"
    print(f"done: luxvox focus STACK --mode {mode} --csv focus.csv --weights {out}")
    return metrics


def train_focus(source: str, out: str | Path, recipe: HeadRecipe) -> dict[str, float]:
    """Train on a list of labelled stacks, or on simulated ones.

    Args:
        source: as `read_labelled` takes it, or "simulated".
        out: folder of the run.
        recipe: see there. Of a list a quarter of its specimens, drawn by the seed, is left out of
            the learning, for intervals and metrics.

    Returns:
        What stands in metrics.json.

    Raises:
        InputError: anything that the user can mend.
    """
    if source == SIMULATED and recipe.mode is not None:
        raise InputError(
            f"mode is {recipe.mode!r}, which is said of the stacks of a list; simulated ones are "
            "sweeps and volumes: leave it out"
        )
    # Before anything is simulated: a mistake in that list should not come to light after it.
    specimens = [] if recipe.real is None else open_specimens(recipe.real, recipe)
    tests = None
    if source == SIMULATED:
        stacks, held, tests = _simulated(recipe)
    else:
        labelled = read_labelled(source, recipe.mode or "sweep")
        stacks, held = _split(labelled, source, recipe.seed)
    if specimens:
        print(f"{recipe.real}: {len(specimens)} real specimens, {recipe.stacks} stacks each")
        stacks = [*stacks, *training_stacks(specimens, recipe)]
    return train_focus_on(stacks, held, out, recipe, tests)


def train_focus_on(
    stacks: Sequence[LabelledStack],
    held: Sequence[LabelledStack],
    out: str | Path,
    recipe: HeadRecipe,
    tests: dict[str, list[LabelledStack]] | None = None,
    tower: TextEncoder | None = None,
) -> dict[str, float]:
    """Train on stacks in memory.

    Args:
        stacks: to learn from.
        held: of other specimens; intervals are made from their errors. metrics.json has each of
            them against the others, as `left_out`.
        out: folder of the run.
        recipe: see there.
        tests: stacks of further specimens by name, for metrics.json.
        tower: of texts; None = the installed one, where stains are wanted.

    Returns:
        What stands in metrics.json.

    Raises:
        InputError: nothing to learn from, a folder that cannot be written or holds another run, an
            encoder or a text tower that is not there.
    """
    _check(stacks, held)
    run = Path(out)
    lock = lock_run(run)
    try:
        encoder = None if recipe.encoder is None else FrozenEncoder(recipe.encoder)
        stains = known_stains(stacks) if recipe.stain else ()
        if recipe.stain and not stains:
            raise InputError("stain=true, and no stack says its stain; fill the column stain")
        ready = partial(make_example, stains=stains, encoder=encoder, measured=recipe.measures)
        examples = [ready(stack) for stack in stacks]
        trained, numbers = _start(examples, stains, encoder, recipe, tower)
        numbers |= fit_head(trained, lambda step: draw_batch(examples, recipe, step), recipe, run)
        model = trained.model
        prototypes = trained.prototypes()
        if isinstance(model, FocusHead) and prototypes is not None and trained.stains is not None:
            model.keep_prototypes(trained.stains, prototypes)
        left = judge_all(model, map(ready, held))
        residuals = residuals_of(left)
        found = {"left_out": measure_left_out(left)}
        if isinstance(model, FocusHead):
            keep_usual(model, left)
        for name, group in (tests or {}).items():
            found[name] = measure(judge_all(model, map(ready, group)), residuals)
        for name, metrics in found.items():
            numbers |= {f"{name}_{key}": value for key, value in metrics.items()}
        groups = list(dict.fromkeys(stack.specimen for stack in stacks))
        learned = LearnedFocus(model, stains, encoder, residuals, str(run))
        save_learned(run / "weights", learned, recipe.model_dump(mode="json"), groups)
        write_metrics(run, numbers)
    finally:
        lock.close()
    return numbers


def head_config(recipe: HeadRecipe, stains: int, token_width: int | None) -> FocusConfig:
    """Dimensions of the head that a recipe asks for."""
    return FocusConfig(
        channels=recipe.channels,
        width=recipe.width,
        measures=MEASURED if recipe.measures else 0,
        course=recipe.course,
        context=token_width,
        film=recipe.film,
        mixer=recipe.mixer,
        stains=stains or None,
        regressor=recipe.regressor,
    )


def _start(
    examples: list[Example],
    stains: tuple[str, ...],
    encoder: FrozenEncoder | None,
    recipe: HeadRecipe,
    tower: TextEncoder | None,
) -> tuple[Trained, dict[str, float]]:
    """A head with random weights; stain grounding is done where it is asked for."""
    width = None if encoder is None else encoder.width
    config = head_config(recipe, len(stains), width)
    torch.manual_seed(recipe.seed)
    model = build_model(config)
    if isinstance(model, FocusHead):
        keep_ranges(model, examples)
    if not stains or not isinstance(model, FocusHead):
        return Trained(model), {}
    texts = TextTower() if tower is None else tower
    grounding, losses = ground_stains(examples, stains, texts, recipe, config.stain_dim)
    with torch.no_grad():
        vectors = grounding()
    ranks = StainRanks(config.stain_dim, config.levels)
    with torch.no_grad():
        model.keep_prototypes(vectors, ranks(vectors))
    return Trained(model, ranks, vectors), {
        "grounding_loss_first": losses[0],
        "grounding_loss": losses[-1],
    }


def _simulated(
    recipe: HeadRecipe,
) -> tuple[list[LabelledStack], list[LabelledStack], dict[str, list[LabelledStack]]]:
    """Stacks to learn from, for intervals, and for tests: of different specimens."""
    print(f"simulating {recipe.specimens} specimens, {recipe.stacks} stacks each", flush=True)
    stacks = training_stacks(
        [draw_specimen(recipe, recipe.seed, number) for number in range(recipe.specimens)], recipe
    )
    held: list[LabelledStack] = []
    for number in range(recipe.specimens, recipe.specimens + recipe.calibration):
        family = recipe.families[number % len(recipe.families)]
        held += _both_modes(draw_specimen(recipe, recipe.seed, number), recipe, family, number)
    tests: dict[str, list[LabelledStack]] = {"seen": [], "held_out": []}
    first = recipe.specimens + recipe.calibration
    for number in range(first, first + recipe.tests):
        specimen = draw_specimen(recipe, recipe.seed, number)
        tests["seen"] += _both_modes(specimen, recipe, recipe.families[0], number)
        tests["held_out"] += _both_modes(specimen, recipe, recipe.held_out_psf, number)
    return stacks, held, tests


def _both_modes(
    specimen: Specimen, recipe: HeadRecipe, family: Family, number: int
) -> list[LabelledStack]:
    modes: tuple[Mode, Mode] = ("sweep", "volume")
    return [image_stack(specimen, recipe, family, mode, recipe.seed, number) for mode in modes]


def _split(
    stacks: list[LabelledStack], source: str, seed: int
) -> tuple[list[LabelledStack], list[LabelledStack]]:
    """Whole specimens are left out."""
    names = sorted({stack.specimen for stack in stacks})
    if len(names) < 2:
        raise InputError(
            f"{source}: stacks of {len(names)} specimen, expected two or more, of which some are "
            "left out for intervals; add one, or fill the column group"
        )
    order = keyed_rng("focus left out", seed, 0).permutation(len(names))
    left = {names[i] for i in order[: max(1, round(_LEFT_OUT * len(names)))]}
    return (
        [stack for stack in stacks if stack.specimen not in left],
        [stack for stack in stacks if stack.specimen in left],
    )


def _check(stacks: Sequence[LabelledStack], held: Sequence[LabelledStack]) -> None:
    for name, group in (("to learn from", stacks), ("left out", held)):
        if not any(stack.slice_dof.isfinite().any() for stack in group):
            raise InputError(f"no slice of known defocus in the stacks {name}; give some more")
    both = {stack.specimen for stack in stacks} & {stack.specimen for stack in held}
    if both:
        raise InputError(
            f"specimen {min(both)!r} is learnt from and left out, too; its errors would be too "
            "small; split by specimen"
        )
