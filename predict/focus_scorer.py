"""Weights of `luxvox focus`: what is behind a path, as the scorer that the loop runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ..configs.errors import InputError
from .focus import Mode, Sample, Scorer, ScoreRun, SliceFocus
from .focus_fit import CARD, FitFrame, FocusFit, calibration_name, load_fit
from .focus_learned import LearnedScorer
from .focus_stack import FocusStack
from .focus_weights import is_learned, load_learned


def load_scorer(
    weights: str | None,
    objective: str = "",
    na: float | None = None,
    wavelength_nm: float | None = None,
    index: float | None = None,
) -> Scorer | None:
    """Open weights; None, the classical default, where there are none.

    Args:
        weights: a folder of `luxvox focus-fit`, a RUN of `luxvox finetune focus`, or the name of
            weights that ship with a focus head.
        objective: name of the lens; micrometres come from its calibration where a fit has one.
        na: of the objective, for a RUN: with the next two and the pixel of the stack, it says
            micrometres.
        wavelength_nm: of the emitted light.
        index: of the medium.

    Raises:
        InputError: nothing there, or not of these kinds; an objective that they do not know.
    """
    if weights is not None and (Path(weights) / CARD).is_file():
        fit = load_fit(weights)
        known = sorted({name.rpartition("/")[0] for name in fit.calibrations} - {""})
        if objective and objective not in known:
            there = ", ".join(known) or "none"
            raise InputError(
                f"--objective {objective}: {weights} is not calibrated for it (there is {there}); "
                "give one of those, or leave it out"
            )
        return FitScorer(fit, objective)
    if objective:
        raise InputError(
            f"--objective {objective}: names a calibration of what luxvox focus-fit wrote; give "
            "that as --weights, or leave --objective out"
        )
    if weights is None:
        return None
    if is_learned(weights):
        wavelength_um = None if wavelength_nm is None else wavelength_nm / 1000
        return LearnedScorer(load_learned(weights), na, wavelength_um, index)
    raise InputError(
        f"{weights}: no {CARD} there and no focus head, expected a folder that luxvox focus-fit "
        "wrote, a RUN of luxvox finetune focus, or luxvox-tiny; leave --weights out for the "
        "classical default"
    )


@dataclass(frozen=True)
class FitScorer:
    """Ridge on features of slices, as a `Scorer`."""

    fit: FocusFit
    objective: str = ""

    @property
    def model_id(self) -> str:
        """The fit's folder."""
        return f"fit:{Path(self.fit.where).name}"

    @property
    def calib_id(self) -> str:
        """The objective whose calibration was asked for, where the fit has any of it."""
        there = any(name.startswith(f"{self.objective}/") for name in self.fit.calibrations)
        return self.objective if there else ""

    def begin(self, sample: Sample, stack: FocusStack, stain: str | None, mode: Mode) -> ScoreRun:
        """See `Scorer.begin`; a fit does not know stains.

        Raises:
            InputError: a volume, by a fit of features relative to the stack of a sweep.
        """
        recipe = self.fit.recipe
        if mode == "volume" and recipe is not None and recipe.relative:
            raise InputError(
                f"{self.fit.where}: fitted with --relative, which compares slices of one sweep, "
                "and this is a volume; fit features without --relative"
            )
        frame = self.fit.frame(sample.slices.numpy())
        in_um = calibration_name(self.objective, stack.channel) in self.fit.calibrations

        def score(slices: Tensor, places: Sequence[int]) -> list[SliceFocus]:
            return self._answers(slices, frame, stack.channel if in_um else None)

        return score

    def _answers(self, slices: Tensor, frame: FitFrame, channel: str | None) -> list[SliceFocus]:
        found = self.fit.judge(slices.numpy(), frame)
        scores, reasons = found.score, found.reasons
        if channel is None:
            return [
                SliceFocus(float(score), lo=float(low), hi=float(high), reason=_trusted(reason))
                for score, low, high, reason in zip(
                    scores, found.lo, found.hi, reasons, strict=True
                )
            ]
        um = self.fit.micrometres(scores, self.objective, channel)
        columns = np.stack([scores, um.defocus_um, um.lo, um.hi, um.p_in_dof], 1).tolist()
        return [
            SliceFocus(
                score, defocus_um=far, lo=low, hi=high, p_in_dof=inside, reason=_trusted(reason)
            )
            for (score, far, low, high, inside), reason in zip(columns, reasons, strict=True)
        ]


def _trusted(reason: str) -> str:
    """Tables know one word for what was never seen in training."""
    return "ood" if reason == "out_of_range" else reason
