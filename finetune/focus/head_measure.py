"""How good a head is on stacks that it has not seen: order, best slice, distance, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ...data.focus_labels import focus_score
from ...models.focus_config import FocusAnswer
from ...models.heads.focus import FocusHead
from ...models.metrics.ranking import ranking_metrics
from ...predict.focus import Mode
from ...predict.focus_calibration import Residuals
from ...predict.focus_peak import find_peak
from ...predict.focus_weights import MODES, FocusModel
from .head_examples import Example

_PROMISED = 0.9


@torch.inference_mode()
def judge(model: FocusModel, example: Example) -> FocusAnswer:
    """All slices of a stack, by all of its tiles."""
    given = example.whole()
    found = model.features(given)
    if not isinstance(model, FocusHead):
        return model.answer(found)
    answer = model.answer(found, given.stain, given.sweep)
    if not example.sweep:
        return answer
    z = torch.arange(len(example.tiles)).float()
    alone = model.answer(found, given.stain, torch.tensor([False]))  # as in use: not mixed
    course = model.course(alone, z)
    return answer if course is None else course.follow(answer, z, model.values)


def residuals_of(model: FocusModel, examples: Sequence[Example]) -> dict[Mode, Residuals]:
    """(true - found) / (standard deviation it says) of slices of known distance.

    Returns:
        Of sweeps and of volumes, by specimen; empty where no example is of that mode.
    """
    names = list(dict.fromkeys(example.specimen for example in examples))
    return {
        mode: _residuals(model, [one for one in examples if one.mode == mode], names)
        for mode in MODES
    }


def _residuals(model: FocusModel, examples: Sequence[Example], names: Sequence[str]) -> Residuals:
    values, numbers = [np.empty(0)], [np.empty(0, np.int64)]
    for example in examples:
        answer = judge(model, example)
        truth = example.slice_truth
        known = truth.isfinite()
        error = (truth - answer.expected[0]) / answer.log_variance[0].mul(0.5).exp()
        values.append(error[known].double().numpy())
        numbers.append(np.full(int(known.sum()), names.index(example.specimen)))
    return Residuals(np.concatenate(values), np.concatenate(numbers))


@torch.inference_mode()
def keep_usual(model: FocusHead, examples: Sequence[Example]) -> None:
    """Let slices of specimens that were left out say how strange is too strange."""
    found = [model.features(example.whole()).strange[0].mean(-1) for example in examples]
    model.strange.allow(torch.cat(found))


def measure(
    model: FocusModel, residuals: Mapping[Mode, Residuals], examples: Sequence[Example]
) -> dict[str, float]:
    """Numbers by name; nan where no stack says anything.

    Returns:
        `sweep_srcc` mean over sweeps, `best_slice_error` median and `best_slice_error_p95` in
        slices, over sweeps that hold their focus inside, `best_slice_missing` share of these
        without a best slice; `sweep_mae_dof`, `volume_mae_dof`; `coverage` of the 90 % intervals;
        `strange` share of slices that would be called ood.
    """
    srcc, best, errors, covered, strange = [], [], {True: [], False: []}, [], []
    for example in examples:
        truth = example.slice_truth.double().numpy()
        known = np.isfinite(truth)
        if not known.any():
            continue
        answer = judge(model, example)
        found = answer.expected[0].double().numpy()
        spread = answer.log_variance[0].mul(0.5).exp().double().numpy()
        error = np.abs(found - truth)[known]
        strange.append(float((answer.strange[0] > 1).float().mean()))
        errors[example.sweep].append(error.mean())
        covered.append((error <= residuals[example.mode].radius(_PROMISED) * spread[known]).mean())
        if example.sweep and known.sum() > 2:
            srcc.append(ranking_metrics(found[known], truth[known])["srcc"])
            best.append(_best_slice_error(found, truth))
    misses = np.array([error for error in best if error is not None])
    there = misses[np.isfinite(misses)]
    return {
        "sweep_srcc": _mean(srcc),
        "best_slice_error": float(np.median(there)) if there.size else float("nan"),
        "best_slice_error_p95": float(np.quantile(there, 0.95)) if there.size else float("nan"),
        "best_slice_missing": float(np.isinf(misses).mean()) if misses.size else float("nan"),
        "sweep_mae_dof": _mean(errors[True]),
        "volume_mae_dof": _mean(errors[False]),
        "coverage": _mean(covered),
        "strange": _mean(strange),
    }


def _best_slice_error(found: np.ndarray, truth: np.ndarray) -> float | None:
    """In slices; infinity without a best slice, None where focus lies at an end or outside."""
    z = range(len(truth))
    wanted = find_peak(z, focus_score(truth))
    if wanted.best_z is None or wanted.boundary:
        return None
    peak = find_peak(z, focus_score(found))
    return float("inf") if peak.best_z is None else abs(peak.best_z - wanted.best_z)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
