"""Weights of `luxvox focus`: what is behind a path, as the scorer that the loop runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ..configs.errors import InputError
from .focus import Mode, Scorer, ScoreRun, SliceFocus
from .focus_fit import CARD, FitFrame, FocusFit, calibration_name, load_fit
from .focus_stack import FocusStack


def load_scorer(weights: str | None, objective: str = "") -> Scorer | None:
    """Open weights; None, the classical default, where there are none.

    Args:
        weights: a folder of `luxvox focus-fit`.
        objective: name of the lens; micrometres come from its calibration where the fit has one.

    Raises:
        InputError: nothing there, or not of that kind.
    """
    if weights is None:
        return None
    if not (Path(weights) / CARD).is_file():
        raise InputError(
            f"{weights}: no {CARD} there, expected a folder that luxvox focus-fit wrote; leave "
            "--weights out for the classical default"
        )
    return FitScorer(load_fit(weights), objective)


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

    def begin(self, sample: Tensor, stack: FocusStack, stain: str | None, mode: Mode) -> ScoreRun:
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
        frame = self.fit.frame(sample.numpy())
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
