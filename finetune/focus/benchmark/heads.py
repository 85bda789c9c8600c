"""Learned heads (B4, B5, ours): a RUN that is given, or one that is trained for the comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ....configs.load import load_recipe
from ....predict.focus import Scorer, SliceFocus, score_stack
from ....predict.focus_scorer import load_scorer
from ..head_recipe import HeadRecipe
from ..train import train_focus
from .case import Answer, Case, Numbers
from .plan import HEADS, FocusPlan

Say = Callable[[str], None]


def head_run(plan: FocusPlan, name: str, say: Say) -> Path:
    """The RUN of a head; trained on simulated specimens where none is given, if not done before.

    Args:
        plan: of the comparison.
        name: of `HEADS`.
        say: told before it is trained.

    Raises:
        InputError: as `train_focus`.
    """
    if name in plan.heads:
        return Path(plan.heads[name])
    run = Path(plan.out) / "heads" / name
    if (run / "metrics.json").is_file():
        return run
    recipe, changes = HEADS[name]
    own = [f"{key}={value}" for key, value in (plan.train or {}).items()]
    say(f"{name}: trained on simulated specimens with {' '.join(own)}: {run}")
    chosen = load_recipe(recipe, HeadRecipe, [*changes, *own])
    train_focus("simulated", run, chosen)
    return run


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
