"""Classical measures behind the gate (B1), and ranks that several of them agree on (B2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import rankdata

from ....data.sharpness_gate import judge_slices
from ....data.sharpness_survey import survey_slices
from ....predict.focus import RUN, SURVEYED, TABLED, support_of
from .case import Answer, Case, Numbers


def measured(case: Case, name: str) -> Answer:
    """One measure of `data.sharpness.MEASURES`, as `luxvox focus` takes it."""
    return Answer(gated(case, (name,))[0])


def ensemble(case: Case) -> Answer:
    """Mean rank of the four measures that every table of `luxvox focus` holds."""
    found = gated(case, TABLED)
    known = np.isfinite(found).all(0)
    scores = np.full(found.shape[1], np.nan)
    if known.any():
        scores[known] = np.mean([rankdata(row) for row in found[:, known]], 0)
    return Answer(scores)


def gated(case: Case, names: Sequence[str]) -> Numbers:
    """[N, S] of N measures, nan where the gate lets a slice not pass."""
    stack, last = case.stack, len(case.stack)
    places = np.unique(np.linspace(0, last - 1, min(SURVEYED, last)).round()).astype(int).tolist()
    at = torch.tensor(stack.z_index, dtype=torch.float32)
    survey = survey_slices(
        (stack.read([place])[0] for place in places),
        at[places].tolist(),
        stack.largest,
        drifts=case.mode == "sweep",
    )
    wavelength, size = case.units.wavelength_nm, case.units.voxel_size_um
    support = support_of(case.units.na, wavelength, None if size is None else size[2])
    found = np.full((len(names), last), np.nan)
    for first in range(0, last, RUN):
        run = range(first, min(first + RUN, last))
        judged = judge_slices(stack.read(run), at[first : run.stop], survey, tuple(names), support)
        valid = np.array([not reason for reason in judged.reasons])
        for row, name in zip(found, names, strict=True):
            values = judged.over_tiles(judged.measures[name]).numpy()
            row[first : run.stop] = np.where(valid, values, np.nan)
    return found
