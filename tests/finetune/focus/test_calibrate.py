"""Intervals by stack, slope and intercept, recalibration that is refused where it does harm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.finetune.focus.calibrate import Measured, fit_calibration, recalibrate
from luxvox.predict.focus_calibration import Calibration, Residuals
from luxvox.predict.focus_fit import FocusFit


def measured(stacks: int, slope=1.157, intercept=0.59, noise=0.1, seed=0, planes=9) -> Measured:
    rng = np.random.default_rng(seed)
    distance = np.tile(np.linspace(0, 8, planes), stacks)
    own = np.repeat(rng.normal(0, noise, stacks), planes)
    true = np.maximum(slope * distance + intercept + own, 0)
    names = tuple(np.repeat([f"s{seed}_{i}" for i in range(stacks)], planes))
    return Measured(distance, true, names, 3.0)


def a_fit(calibrations=None) -> FocusFit:
    one = np.ones(1)
    residuals = Residuals(one, np.zeros(1, np.int64))
    return FocusFit(
        one, one, np.ones(2), residuals, 2.0, "um", 0.04, 0.0, 9.0,
        calibrations=calibrations or {"20x/": fit_calibration(measured(12, 1.0, 0.0))},
    )  # fmt: skip


def specimens(count: int, rng: np.random.Generator) -> Residuals:
    """Stacks with an error of their own, of different lengths and noise."""
    lengths = rng.integers(1, 30, count)
    values = [rng.normal(rng.normal(0, 1.0), rng.uniform(0.1, 0.6), n) for n in lengths]
    return Residuals(np.concatenate(values), np.repeat(np.arange(count), lengths))


def test_intervals_cover_unseen_specimens():
    """1,000 to calibrate, 1,000 unseen: within two binomial standard errors of 90 %."""
    rng = np.random.default_rng(5)
    radius = specimens(1000, rng).radius(0.9)
    unseen = specimens(1000, rng)
    covered = [
        np.mean(np.abs(unseen.values[unseen.stacks == stack]) <= radius) for stack in range(1000)
    ]
    assert np.mean(covered) == pytest.approx(0.9, abs=2 * np.sqrt(0.09 / 1000))


def test_many_slices_of_few_stacks_promise_nothing():
    """Slices of one stack are no independent cases."""
    rng = np.random.default_rng(6)
    few = Residuals(
        rng.normal(size=900), np.repeat(np.arange(8), np.array([800, *[100 // 7] * 6, 16]))
    )
    assert few.radius(0.9) == np.inf
    assert np.isfinite(Residuals(rng.normal(size=90), np.repeat(np.arange(9), 10)).radius(0.9))
    # A long stack weighs no more than a short one.
    even = Residuals(np.array([5.0] * 90 + [1.0] * 9), np.array([0] * 90 + [*range(1, 10)]))
    assert even.radius(0.8) == 1.0
    with pytest.raises(InputError, match="coverage"):
        even.radius(1.5)


def test_slope_and_intercept_are_found():
    found = fit_calibration(measured(10, noise=0.05))
    assert (found.slope, found.intercept) == pytest.approx((1.157, 0.59), abs=0.06)
    assert found.micrometres([4.0]) == pytest.approx([5.22], abs=0.2)
    assert found.micrometres([900.0]) == [found.largest_um]
    lo, hi = found.interval([0.0, 4.0])
    assert (lo >= 0).all()
    assert (hi - lo > 0.05).all()


def test_residuals_are_of_stacks_left_out():
    """One stack is far off; its own fit would hide that, the others' cannot."""
    data = measured(3, noise=0.0)
    true = data.true_um.copy()
    true[:9] += 5
    found = fit_calibration(replace(data, true_um=true))
    assert found.residuals.values[:9].mean() == pytest.approx(5, abs=0.1)


def test_probability_to_lie_in_the_depth_of_field():
    residuals = Residuals(np.array([-0.5, 0.5] * 20), np.arange(40))
    calibration = Calibration(1.0, 0.0, residuals, depth_of_field_um=2.0, largest_um=9.0)
    chance = calibration.in_depth_of_field([0.1, 0.8, 1.4, 3.0])
    assert chance == pytest.approx([40 / 41, 20 / 41, 20 / 41, 0])


@pytest.mark.parametrize("count", [1, 3, 5, 10])
def test_a_new_objective_from_few_stacks(count):
    fit = a_fit()
    done = recalibrate(fit, "10x/", measured(15, slope=2.2, intercept=0.3, seed=1), count)
    assert done.accepted
    assert done.after_um < 0.3 * done.before_um
    assert len(done.stacks) == count
    new = done.fit.calibrations["10x/"]
    assert new.slope == pytest.approx(2.2, abs=0.1)
    assert done.fit.calibrations["20x/"] == fit.calibrations["20x/"]
    assert done.fit.weights is fit.weights


def test_what_makes_it_worse_is_refused():
    """The few stacks are wrong: the others, held out, notice."""
    data = measured(8, slope=1.0, intercept=0.0, noise=0.02)
    true = data.true_um.copy()
    true[: 3 * 9] = 2.5 * true[: 3 * 9] + 4
    fit = a_fit()
    done = recalibrate(fit, "20x/", replace(data, true_um=true), 3)
    assert not done.accepted
    assert done.after_um > done.before_um
    assert done.fit is fit


@pytest.mark.parametrize(("count", "expected"), [(2, "one of"), (5, "none is left to judge")])
def test_mistakes(count, expected):
    with pytest.raises(InputError, match=expected):
        recalibrate(a_fit(), "20x/", measured(5), count)
