"""Conformal intervals on specimens that were imaged; benchmarks/focus_coverage.py does 1,000."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from luxvox.finetune.focus.benchmark.coverage import measure_coverage
from luxvox.finetune.focus.benchmark.plan import SimulatedCases
from luxvox.finetune.focus.benchmark.simulated import training_cases


def cases(count: int):
    return training_cases(SimulatedCases(side=64, slices=5, training=count), "sweep")


@pytest.mark.slow
def test_unseen_specimens_are_covered():
    found = measure_coverage(cases(260), 60, 100)
    assert found.specimens > 80
    assert found.covered == pytest.approx(0.9, abs=found.error)
    assert 0.1 < found.radius < 2


def test_intervals_are_of_the_calibration_specimens():
    """Where the unseen specimens lie elsewhere, coverage is lost: nothing here is a constant."""
    given = list(cases(28))
    plain = measure_coverage(given, 6, 14)
    moved = [
        replace(case, truth=case.truth + 5.0) if number >= 20 else case
        for number, case in enumerate(given)
    ]
    assert plain.covered > 0.6
    assert measure_coverage(moved, 6, 14).covered < 0.1
    assert np.isfinite(plain.radius)
    with pytest.raises(ValueError, match="no specimen is left"):
        measure_coverage(given[:20], 6, 14)
