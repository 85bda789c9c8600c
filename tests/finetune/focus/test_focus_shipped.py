"""The head that ships: found by name, and it knows what is sharp."""

from __future__ import annotations

import numpy as np

from luxvox.finetune.focus.benchmark.plan import SimulatedCases
from luxvox.finetune.focus.benchmark.simulated import judged_cases
from luxvox.models.metrics.ranking import ranking_metrics
from luxvox.predict.focus import score_stack
from luxvox.predict.focus_scorer import load_scorer


def test_the_shipped_head_orders_a_simulated_sweep():
    recipe = SimulatedCases(specimens=2, training=3, slices=11, photons=(1000.0,), seed=5)
    case = next(judged_cases(recipe, "sweep, held out PSF, 1000 photons"))
    units = case.units
    scorer = load_scorer(
        "luxvox-tiny", na=units.na, wavelength_nm=units.wavelength_nm, index=units.refractive_index
    )
    assert scorer is not None
    assert scorer.model_id == "head:luxvox-tiny"
    found = score_stack(case.stack, "sweep", case.stain, scorer)
    valid = np.isfinite(found.scores)
    assert valid.sum() > 8
    assert ranking_metrics(found.scores[valid], -case.truth[valid])["srcc"] > 0.95
    assert abs(found.peak.best_z - case.best_z) < 1
    assert all(slice_.defocus_um is not None for slice_ in found.slices if not slice_.reason)
