"""Methods by name: what learns learns here, and what comes back judges one case."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ....data.sharpness import MEASURES
from ....models.catalog import find_folder
from ....models.checkpoint import fingerprint
from .case import Answer, Case
from .classical import ensemble, measured
from .controls import intensity, learn_places, middle
from .heads import head_run, scored
from .plan import ENSEMBLE, HEADS, FocusPlan
from .ridged import learn_ridge

Judge = Callable[[Case], Answer]

_FIXED: dict[str, Judge] = {
    "middle": middle,
    "intensity": intensity,
    ENSEMBLE: ensemble,
    **{name: partial(measured, name=name) for name in MEASURES},
}


def learns_here(method: str) -> bool:
    """Whether a method learns from the cases of the comparison; heads bring what they know."""
    return method not in _FIXED and method not in HEADS


def learn(plan: FocusPlan, method: str, training: Callable[[], Iterable[Case]]) -> Judge:
    """A method, ready to judge.

    Args:
        plan: of the comparison; `train_heads` has seen to its heads.
        method: of `plan.METHODS`.
        training: cases of other specimens than those that are judged; asked for if it learns.

    Raises:
        InputError: too few specimens, or weights that are not there.
    """
    if method in _FIXED:
        return _FIXED[method]
    if method == "z_index":
        return learn_places(training())
    if method in HEADS:
        return partial(scored, run=head_run(plan, method))
    return learn_ridge(_part(plan, method), training())


def settings_of(plan: FocusPlan, method: str) -> dict[str, Any]:
    """What of the plan the numbers of a method depend on; folders may move.

    Raises:
        InputError: weights are not there.
    """
    if method in HEADS:
        return {"weights": fingerprint(find_folder(head_run(plan, method)))}
    if method == "ridge_encoder":
        return {"weights": fingerprint(find_folder(plan.encoder))}
    if method == "ridge_quality":
        return {"weights": fingerprint(find_folder(str(plan.quality)))}
    return {}


def _part(plan: FocusPlan, method: str) -> str:
    """The part of `FeatureRecipe` that a ridge looks at."""
    if method == "ridge_encoder":
        return f"encoder:{plan.encoder}"
    return f"quality:{plan.quality}" if method == "ridge_quality" else "classical"
