"""Numbers of heads: of new specimens, and of those that intervals are made from."""

from __future__ import annotations

import numpy as np
import pytest

from luxvox.finetune.focus.head_examples import make_example
from luxvox.finetune.focus.head_measure import (
    Judged,
    judge_all,
    keep_usual,
    measure,
    measure_left_out,
    residuals_of,
)
from luxvox.finetune.focus.head_recipe import HeadRecipe
from luxvox.finetune.focus.train import head_config
from luxvox.predict.focus_calibration import Residuals
from luxvox.predict.focus_weights import MODES, build_model

from .head_stacks import stack

TRUTH = np.abs(np.arange(9) - 4.0) / 2


def judged(number: int, off: float = 0.5, mode: str = "sweep", strange: float = 0.5) -> Judged:
    """A head that errs by `off` at every slice, and says that it errs by 1."""
    ones = np.ones_like(TRUTH)
    return Judged(f"animal {number}", mode, TRUTH, TRUTH + off, ones, strange * ones)


@pytest.mark.parametrize("right", [True, False])
def test_a_head_that_is_right_and_one_that_is_wrong(right):
    residuals = dict.fromkeys(MODES, Residuals(np.full(20, 1.0), np.arange(20)))
    truth = TRUTH if right else TRUTH.max() - TRUTH
    group = [judged(n, mode=mode)._replace(found=truth) for n in range(3) for mode in MODES]
    found = measure(group, residuals)
    assert found["sweep_srcc"] == pytest.approx(1.0 if right else -1.0)
    assert (found["volume_mae_dof"] < 1e-6) == right
    assert (found["best_slice_error"] < 1e-6) == right
    assert (found["coverage"] == 1) == right
    assert found["strange"] == 0
    assert measure([judged(0, strange=1.1)], residuals)["strange"] == 1


def test_infinite_intervals_cover_nothing_that_is_counted():
    few = residuals_of([judged(number) for number in range(8)])
    assert few["sweep"].radius() == np.inf
    found = measure([judged(20)], few)
    assert "coverage" not in found
    assert "volume_mae_dof" not in found


def test_who_is_left_out_is_judged_by_the_others():
    """Twelve specimens, one of them far off: its own errors would have made room for it."""
    group = [judged(number) for number in range(11)] + [judged(11, off=50.0, strange=9.0)]
    assert measure(group, residuals_of(group))["coverage"] == 1
    found = measure_left_out(group)
    assert found["coverage"] == pytest.approx(11 / 12)
    assert found["strange"] == pytest.approx(1 / 12)
    alike = measure_left_out(group[:11])
    assert (alike["coverage"], alike["strange"]) == (1, 0)


def test_each_specimen_weighs_the_same_and_sweeps_do_not_judge_volumes():
    sweeps = [judged(number) for number in range(12)]
    volumes = [judged(number, off=2.0, mode="volume") for number in range(12)]
    assert measure_left_out([*sweeps, *volumes])["coverage"] == 1
    off = [*sweeps, *volumes[:11], judged(11, off=3.0, mode="volume")]
    assert measure_left_out(off)["coverage"] == pytest.approx(23 / 24)
    # Many stacks of one specimen are no more than one of it.
    long = [*sweeps[:11], *[judged(11, off=3.0)] * 50]
    assert measure_left_out(long)["coverage"] == pytest.approx(11 / 61)


def test_too_few_left_out_promise_nothing():
    found = measure_left_out([judged(number) for number in range(9)])
    assert "coverage" not in found
    assert "strange" not in found
    assert found["sweep_mae_dof"] == pytest.approx(0.5)
    ten = measure_left_out([judged(number) for number in range(10)])
    assert (ten["coverage"], ten["strange"]) == (1, 0)


def test_what_is_usual_is_kept_as_those_left_out_say():
    recipe = HeadRecipe(channels=(4, 8, 16), width=16)
    model = build_model(head_config(recipe, 0, None)).eval()
    model.strange.limit.fill_(1.0)
    examples = [make_example(stack(seed), (), None) for seed in range(4)]
    before = judge_all(model, examples)
    keep_usual(model, before)
    every = np.concatenate([one.strange for one in before])
    assert float(model.strange.limit) == pytest.approx(np.quantile(every, 0.995), rel=1e-4)
    after = np.concatenate([one.strange for one in judge_all(model, examples)])
    assert 0 < (after > 1).sum() <= 2
