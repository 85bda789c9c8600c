"""How good a head is on stacks that it has not seen: order, best slice, distance, intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.focus_labels import focus_score
from ...models.focus_config import FocusAnswer
from ...models.focus_strange import usual_limit
from ...models.heads.focus import FocusHead
from ...models.metrics.ranking import ranking_metrics
from ...predict.focus import Mode
from ...predict.focus_calibration import Residuals
from ...predict.focus_peak import find_peak
from ...predict.focus_weights import MODES, FocusModel
from .head_examples import Example

Numbers = NDArray[np.float64]
_PROMISED = 0.9
_FEWEST_OTHERS = 9  # specimens, from which on an interval of that is finite


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


class Judged(NamedTuple):
    """What a head says of a stack, and what is true. Z slices, distances in depths of field.

    Attributes:
        specimen: of the stack.
        mode: what moved.
        truth: [Z], nan = not known.
        found: [Z].
        spread: [Z], standard deviation that the head says its error has.
        strange: [Z], see `FocusAnswer`.
    """

    specimen: str
    mode: Mode
    truth: Numbers
    found: Numbers
    spread: Numbers
    strange: Numbers

    @property
    def known(self) -> NDArray[np.bool_]:
        """[Z], slices of known distance."""
        return np.isfinite(self.truth)


def judge_all(model: FocusModel, examples: Iterable[Example]) -> list[Judged]:
    """All slices of stacks, each stack looked at once."""
    judged = []
    for example in examples:
        answer = judge(model, example)
        spread = answer.log_variance[0].mul(0.5).exp()
        numbers = (example.slice_truth, answer.expected[0], spread, answer.strange[0])
        truth, found, spread, strange = (part.double().numpy() for part in numbers)
        judged.append(Judged(example.specimen, example.mode, truth, found, spread, strange))
    return judged


def residuals_of(judged: Sequence[Judged]) -> dict[Mode, Residuals]:
    """(true - found) / (standard deviation it says) of slices of known distance.

    Returns:
        Of sweeps and of volumes, by specimen; empty where no stack is of that mode.
    """
    names = list(dict.fromkeys(one.specimen for one in judged))
    return {mode: _residuals([one for one in judged if one.mode == mode], names) for mode in MODES}


def _residuals(judged: Sequence[Judged], names: Sequence[str]) -> Residuals:
    values, numbers = [np.empty(0)], [np.empty(0, np.int64)]
    for one in judged:
        values.append(((one.truth - one.found) / one.spread)[one.known])
        numbers.append(np.full(int(one.known.sum()), names.index(one.specimen)))
    return Residuals(np.concatenate(values), np.concatenate(numbers))


def keep_usual(model: FocusHead, judged: Sequence[Judged]) -> None:
    """Let slices of specimens that were left out say how strange is too strange."""
    model.strange.allow(torch.from_numpy(_strange(judged)))


def measure(judged: Sequence[Judged], residuals: Mapping[Mode, Residuals]) -> dict[str, float]:
    """Numbers by name, of stacks that had no part in the head, its intervals and its limits.

    Args:
        judged: by the head as it is used.
        residuals: that its intervals are made from.

    Returns:
        `sweep_srcc` mean over sweeps, `best_slice_error` median and `best_slice_error_p95` in
        slices, over sweeps that hold their focus inside, `best_slice_missing` share of these
        without a best slice; `sweep_mae_dof`, `volume_mae_dof`; `coverage` of the 90 % intervals
        that are finite; `strange` share of slices that would be called ood. What no stack says
        anything of is left out.
    """
    radii = {mode: residuals[mode].radius(_PROMISED) for mode in MODES}
    return _numbers(judged, [(radii[one.mode], 1.0) for one in judged])


def measure_left_out(judged: Sequence[Judged]) -> dict[str, float]:
    """The same of the very specimens that intervals and limits are made from.

    Each is held against what the others alone would have led to. `coverage` and `strange` are left
    out where fewer than nine others are there: of so few, intervals of 90 % are infinite.

    Args:
        judged: by a head that has not kept a limit of what is strange yet.
    """
    limits: dict[str, dict[Mode, tuple[float, float]]] = {}
    for name in dict.fromkeys(one.specimen for one in judged):
        others = [one for one in judged if one.specimen != name]
        enough = len({one.specimen for one in others}) >= _FEWEST_OTHERS
        usual = float(usual_limit(torch.from_numpy(_strange(others)))) if enough else np.nan
        residuals = residuals_of(others)
        limits[name] = {mode: (residuals[mode].radius(_PROMISED), usual) for mode in MODES}
    return _numbers(judged, [limits[one.specimen][one.mode] for one in judged])


def _strange(judged: Sequence[Judged]) -> Numbers:
    return np.concatenate([one.strange for one in judged])


def _numbers(judged: Sequence[Judged], limits: Sequence[tuple[float, float]]) -> dict[str, float]:
    """See `measure`; the limits of each stack are a radius of intervals, and what is strange."""
    srcc, best, errors, covered, strange = [], [], {mode: [] for mode in MODES}, [], []
    for one, (radius, usual) in zip(judged, limits, strict=True):
        known = one.known
        if not known.any():
            continue
        error = np.abs(one.found - one.truth)[known]
        errors[one.mode].append(error.mean())
        if np.isfinite(radius):
            covered.append((error <= radius * one.spread[known]).mean())
        if np.isfinite(usual):
            strange.append((one.strange > usual).mean())
        if one.mode == "sweep" and known.sum() > 2:
            srcc.append(ranking_metrics(one.found[known], one.truth[known])["srcc"])
            best.append(_best_slice_error(one.found, one.truth))
    misses = np.array([error for error in best if error is not None])
    there = misses[np.isfinite(misses)]
    found = {
        "sweep_srcc": _mean(srcc),
        "best_slice_error": float(np.median(there)) if there.size else np.nan,
        "best_slice_error_p95": float(np.quantile(there, 0.95)) if there.size else np.nan,
        "best_slice_missing": float(np.isinf(misses).mean()) if misses.size else np.nan,
        "sweep_mae_dof": _mean(errors["sweep"]),
        "volume_mae_dof": _mean(errors["volume"]),
        "coverage": _mean(covered),
        "strange": _mean(strange),
    }
    return {name: value for name, value in found.items() if not np.isnan(value)}


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
