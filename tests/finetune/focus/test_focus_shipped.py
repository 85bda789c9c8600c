"""The head that ships: found by name, and it knows what is sharp."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from luxvox.finetune.focus.benchmark.plan import SimulatedCases
from luxvox.finetune.focus.benchmark.simulated import judged_cases
from luxvox.models.metrics.ranking import ranking_metrics
from luxvox.predict.focus import score_stack
from luxvox.predict.focus_scorer import load_scorer
from luxvox.predict.focus_stack import FocusStack, open_stacks


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


def stack_of(planes: np.ndarray) -> FocusStack:
    return FocusStack(
        image_paths=("a",) * len(planes), stack_id="a", channel="", t=0,
        z_index=tuple(range(len(planes))), voxel_size_um=None, shape=planes.shape[1:],
        largest=None, notes=(), load=lambda place: planes[place],
    )  # fmt: skip


RNG = np.random.default_rng(0)
PLACE = np.indices((256, 256))
NEVER_SEEN = {
    "checkerboard": 1000.0 * ((PLACE // 3).sum(0) % 2) * (PLACE[0] < 100)
    + RNG.normal(100, 5, (256, 256)),
    "texture of smooth noise": 3000 * gaussian_filter(RNG.normal(1, 1, (256, 256)), 2),
    "stripes": 300 * np.sin(PLACE[1] / 3) + RNG.normal(500, 10, (256, 256)),
}


@pytest.mark.parametrize("name", NEVER_SEEN)
def test_what_is_no_micrograph_has_no_score(name):
    """By the head's doubt, not by the gate, which lets all of them pass."""
    planes = np.stack([NEVER_SEEN[name]] * 2).astype(np.float32)
    found = score_stack(stack_of(planes), "volume", scorer=load_scorer("luxvox-tiny"))
    assert found.reasons == ["ood"] * 2
    assert score_stack(stack_of(planes), "volume").reasons == ["", ""]
    assert np.isnan(found.scores).all()


def test_simulated_stacks_of_any_psf_are_not_called_strange():
    recipe = SimulatedCases(specimens=6, training=3, slices=7, photons=(200.0,), seed=6)
    scorer, reasons = load_scorer("luxvox-tiny"), []
    for psf in ("seen", "held out"):
        for case in judged_cases(recipe, f"volume, {psf} PSF"):
            reasons += score_stack(case.stack, "volume", scorer=scorer).reasons
    assert len(reasons) >= 80
    assert reasons.count("ood") <= 0.03 * len(reasons)
    assert reasons.count("") > 0.8 * len(reasons)


def test_the_shipped_head_on_a_real_sweep(shared_data):
    """As `tests/predict/test_focus.py` asks of the DCT measure."""
    path = shared_data / "focus/dfnn_mitochondria/stack_order32-65.tif"
    array = open_stacks(path)[0].read(range(34)).numpy()
    fading = np.linspace(1, 0.4, 34)[:, None, None]
    scorer = load_scorer("luxvox-tiny")
    whole = {
        32: array,
        132: array[:21],
        144: array[12:],
        232: array * fading,
        332: array * fading[::-1],
        432: (array - 95) * fading + 95,
    }
    for first, changed in whole.items():
        peak = score_stack(stack_of(np.ascontiguousarray(changed)), "sweep", scorer=scorer).peak
        assert peak is not None
        assert peak.best_z is not None
        assert 49 <= first % 100 + peak.best_z <= 52
