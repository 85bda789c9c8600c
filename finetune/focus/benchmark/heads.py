"""Learned heads (B4, B5, ours): a RUN that is given, or one that is trained for the comparison."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ....configs.errors import InputError
from ....configs.load import load_recipe, read_yaml
from ....predict.focus import Scorer, SliceFocus, score_stack
from ....predict.focus_scorer import load_scorer
from ..head_recipe import HeadRecipe, first_change
from ..train import train_focus
from .case import Answer, Case, Numbers
from .plan import HEADS, FocusPlan

Say = Callable[[str], None]


def head_run(plan: FocusPlan, name: str) -> Path:
    """The RUN of a head of `HEADS`: the one that is given, or where `train_heads` puts it."""
    return Path(plan.heads[name]) if name in plan.heads else Path(plan.out) / "heads" / name


def train_heads(plan: FocusPlan, say: Say, overwrite: bool) -> None:
    """Train the heads of a plan that have no RUN, on simulated specimens; what is done stays.

    Args:
        plan: of the comparison.
        say: told before a head is trained.
        overwrite: train anew where another recipe was trained before.

    Raises:
        InputError: such a RUN stands there and may not be replaced; or as `train_focus`.
    """
    for name in plan.chosen():
        if name not in HEADS or name in plan.heads:
            continue
        recipe, changes = HEADS[name]
        own = [f"{key}={value}" for key, value in (plan.train or {}).items()]
        chosen = load_recipe(recipe, HeadRecipe, [*changes, *own])
        run = head_run(plan, name)
        change = _change(run, chosen)
        if change is not None:
            if not overwrite:
                raise InputError(
                    f"{run}: holds a head of another recipe ({change}); add --overwrite, or give "
                    "another --out"
                )
            shutil.rmtree(run)
        if not (run / "metrics.json").is_file():
            say(f"{name}: trained on simulated specimens with {' '.join(own)}: {run}")
            train_focus("simulated", run, chosen)


def _change(run: Path, recipe: HeadRecipe) -> str | None:
    """How the recipe of a RUN differs; None where it does not, or nothing was trained yet."""
    kept = run / "recipe.yaml"
    return first_change(read_yaml(kept), recipe) if kept.is_file() else None


def scored(case: Case, run: Path) -> Answer:
    """A head on a case, exactly as `luxvox focus --weights RUN` runs it.

    Raises:
        InputError: the RUN is no head, or cannot judge this mode.
    """
    units = case.units
    scorer = load_scorer(
        str(run),
        na=units.na,
        wavelength_nm=units.wavelength_nm,
        index=units.refractive_index,
    )
    return _answer(case, scorer)


def _answer(case: Case, scorer: Scorer | None) -> Answer:
    slices = score_stack(case.stack, case.mode, case.stain, scorer).slices
    scores, far_um = _column(slices, "score"), _column(slices, "defocus_um")
    if case.unit != "DOF" or case.um is None or not np.isfinite(far_um).any():
        return Answer(scores)
    low, high = (_column(slices, name) / case.um for name in ("lo", "hi"))
    return Answer(scores, far_um / case.um, low, high)


def _column(slices: list[SliceFocus], name: str) -> Numbers:
    values = [getattr(found, name) for found in slices]
    return np.array([np.nan if value is None else value for value in values], np.float64)
