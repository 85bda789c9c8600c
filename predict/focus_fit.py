"""A fit of `luxvox focus-fit`: scores new slices, in micrometres where it was calibrated.

A folder: fit.json (what it is) and ridge.npz (numbers). Nothing in it is run when it is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from ..configs.errors import InputError
from ..configs.explain import one_line
from ..data.focus_labels import distance_of_score
from ..data.focus_tiles import StackFrame, frame_stack
from ..models.whole_folder import restore_folder, written_whole
from .focus_calibration import Calibration, Residuals
from .focus_features import FeatureRecipe, SliceFeatures, StackStandard
from .focus_scores import FocusMicrometres, FocusScores

FORMAT_VERSION = 1
CARD, NUMBERS = "fit.json", "ridge.npz"
_ARRAYS = ("mean", "scale", "weights", "residuals", "residual_stacks")
_PROMISED = 0.9
_CALIBRATED = ("slope", "intercept", "depth_of_field_um", "largest_um")


@dataclass(frozen=True)
class FitFrame:
    """What is the same for all slices of a stack.

    Attributes:
        stack: tiles, level and scale.
        standard: what features are measured against; None unless the recipe says `relative`.
    """

    stack: StackFrame
    standard: StackStandard | None = None


@dataclass(frozen=True)
class FocusFit:
    """A ridge regression on features of slices. D features.

    Attributes:
        mean, scale: [D], of the features that were learnt from.
        weights: [D + 1], of standardised features, the intercept last.
        residuals: of scores, of stacks that were left out.
        sigma: of the scores.
        unit: of sigma: "um", "slices" or "levels".
        lowest: smallest score that was learnt from.
        margin: how far outside 0 to 1 raw scores of left-out stacks went.
        farthest: root mean square of standardised features, the largest of any left-out slice.
        recipe: how slices are described; None where the features came from elsewhere.
        fingerprint: of the weights that describe slices.
        calibrations: by "objective/channel".
        learnt: what is worth knowing: alpha, correlations, stacks.
        where: names the fit in messages.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    residuals: Residuals
    sigma: float
    unit: str
    lowest: float
    margin: float
    farthest: float
    recipe: FeatureRecipe | None = None
    fingerprint: str = ""
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    learnt: Mapping[str, Any] = field(default_factory=dict)
    where: str = "the fit"

    def frame(self, slices: ArrayLike) -> FitFrame:
        """What is the same for all slices of a stack; needed where slices come one by one.

        Args:
            slices: [S, Y, X], the stack, or slices evenly spread over it.

        Raises:
            InputError: the fit cannot describe slices, or there are none.
        """
        images, recipe = np.asarray(slices, np.float32), self._need_recipe()
        frame = frame_stack(images, recipe.rule)
        if not recipe.relative:
            return FitFrame(frame)
        return FitFrame(frame, StackStandard.of(self._describe(images, frame)))

    def score(self, slices: ArrayLike, frame: FitFrame | None = None) -> NDArray[np.float32]:
        """Scores of slices.

        Args:
            slices: [S, Y, X], the file's units.
            frame: of their whole stack; None = the slices are the whole stack.

        Returns:
            [S] float32 from 0 to 1; nan for empty slices.

        Raises:
            InputError: the features came from elsewhere; or the weights that describe slices are
                others than at the time of the fit.
        """
        return self.judge(slices, frame).score.astype(np.float32)

    def judge(self, slices: ArrayLike, frame: FitFrame | None = None) -> FocusScores:
        """As `score`, with intervals and doubts."""
        images = np.asarray(slices, np.float32)
        if images.ndim != 3:
            raise InputError(f"slices of shape {images.shape}, expected (slices, y, x)")
        frame = self.frame(images) if frame is None else frame
        found = self._describe(images, frame.stack)
        return self.judge_features(found if frame.standard is None else frame.standard(found))

    def judge_features(self, features: ArrayLike) -> FocusScores:
        """Scores of described slices [S, D]; rows of nan are empty slices.

        Raises:
            InputError: another number of features than was learnt from.
        """
        given = np.asarray(features, np.float64)
        if given.ndim != 2 or given.shape[1] != len(self.mean):
            raise InputError(
                f"{self.where}: features of shape {given.shape}, expected {len(self.mean)} of "
                "each slice; describe slices as the fit says"
            )
        standard = (given - self.mean) / self.scale
        raw = standard @ self.weights[:-1] + self.weights[-1]
        score = np.clip(raw, 0.0, 1.0)
        radius = self.residuals.radius(_PROMISED)
        return FocusScores(
            score=score,
            raw=raw,
            lo=np.clip(score - radius, 0.0, 1.0),
            hi=np.clip(score + radius, 0.0, 1.0),
            out_of_range=(raw < -self.margin) | (raw > 1 + self.margin),
            unlike=np.sqrt((standard**2).mean(1)) > self.farthest,
        )

    def distances(self, score: ArrayLike) -> NDArray[np.float64]:
        """Distances from focus [S] in `unit`; no farther than was learnt from."""
        found = np.asarray(score, np.float64)
        inside = np.clip(np.nan_to_num(found, nan=1.0), self.lowest, 1.0)
        return np.where(np.isnan(found), np.nan, distance_of_score(inside, self.sigma))

    def micrometres(
        self, score: ArrayLike, objective: str = "", channel: str = ""
    ) -> FocusMicrometres:
        """Distances in um of scores [S], by the calibration of an objective and channel.

        Raises:
            InputError: there is none; the message names those there are.
        """
        name = calibration_name(objective, channel)
        if name not in self.calibrations:
            there = ", ".join(self.calibrations) or "none: it was fitted without um"
            raise InputError(
                f"{self.where}: not calibrated in um for {name} (there is {there}); fit again with "
                "stacks of it that have NA, wavelength, index and spacing"
            )
        calibration = self.calibrations[name]
        distance = self.distances(score)
        found = calibration.micrometres(distance)
        lo, hi = calibration.interval(distance, _PROMISED)
        chance = np.where(np.isnan(found), np.nan, calibration.in_depth_of_field(distance))
        return FocusMicrometres(found, lo, hi, chance, found >= calibration.largest_um)

    @cached_property
    def _features(self) -> SliceFeatures:
        base = Path(self.where) if Path(self.where).is_dir() else None
        features = SliceFeatures(self._need_recipe(), base)
        if features.fingerprint() != self.fingerprint:
            raise InputError(
                f"{self.where}: the weights of {', '.join(features.recipe.parts)} are others "
                "than at the time of the fit; fit again, or give back the old ones"
            )
        return features

    def _describe(self, images: NDArray[np.float32], frame: StackFrame) -> NDArray[np.float64]:
        """[S, D], rows of nan for empty slices."""
        found = self._features.describe_all(images, frame)
        if np.isnan(found).all():  # nobody was there to tell the width
            return np.full((len(found), len(self.mean)), np.nan)
        return found

    def _need_recipe(self) -> FeatureRecipe:
        if self.recipe is None:
            raise InputError(
                f"{self.where}: its features were not made by luxvox focus-features, so no slice "
                "can be described like them; score rows of features instead"
            )
        return self.recipe


def calibration_name(objective: str, channel: str) -> str:
    """Name of a calibration; what is not said stays empty."""
    return f"{objective}/{channel}"


def save_fit(folder: str | Path, fit: FocusFit) -> Path:
    """Write a fit; an older one of that name is replaced only by a complete new one.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    arrays = {
        "mean": fit.mean, "scale": fit.scale, "weights": fit.weights,
        "residuals": fit.residuals.values, "residual_stacks": fit.residuals.stacks,
    }  # fmt: skip
    card: dict[str, Any] = {
        "format_version": FORMAT_VERSION, "sigma": fit.sigma, "unit": fit.unit,
        "lowest": fit.lowest, "margin": fit.margin, "farthest": fit.farthest,
        "recipe": None if fit.recipe is None else fit.recipe.model_dump(mode="json"),
        "fingerprint": fit.fingerprint, "calibrations": {}, "learnt": dict(fit.learnt),
    }  # fmt: skip
    for number, (name, found) in enumerate(fit.calibrations.items()):
        card["calibrations"][name] = {key: getattr(found, key) for key in _CALIBRATED}
        arrays[f"um_{number}"] = found.residuals.values
        arrays[f"um_stacks_{number}"] = found.residuals.stacks
    with written_whole(folder) as partial:
        np.savez(partial / NUMBERS, allow_pickle=False, **arrays)
        (partial / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return folder


def load_fit(path: str | Path) -> FocusFit:
    """Read a fit.

    Raises:
        InputError: no such folder, or it is damaged or of a later format. Pickles are not opened.
    """
    folder = Path(path)
    restore_folder(folder)
    for name in (CARD, NUMBERS):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name} there, expected what luxvox focus-fit wrote")
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        version = card["format_version"]
        with np.load(folder / NUMBERS, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if version > FORMAT_VERSION:
            raise InputError(f"{folder}: format {version}, this luxvox reads up to 1; update it")
        mean, scale, weights, values, stacks = (arrays[name] for name in _ARRAYS)
        return FocusFit(
            mean, scale, weights, Residuals(values, stacks),
            *(card[key] for key in ("sigma", "unit", "lowest", "margin", "farthest")),
            recipe=None if card["recipe"] is None else FeatureRecipe(**card["recipe"]),
            fingerprint=card["fingerprint"],
            calibrations={
                name: Calibration(
                    residuals=Residuals(arrays[f"um_{i}"], arrays[f"um_stacks_{i}"]), **found
                )
                for i, (name, found) in enumerate(card["calibrations"].items())
            },
            learnt=card["learnt"],
            where=str(folder),
        )  # fmt: skip
    except InputError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{folder}: damaged ({one_line(error)}); fit again") from error
