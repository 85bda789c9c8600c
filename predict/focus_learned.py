"""The learned focus head as a scorer of `luxvox focus`: levels, micrometres, how sure.

Slices are read as the loop asks for them; features of a few neighbours, and the tokens of at most
two blocks of 64 slices, are all that is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.focus_labels import SIGMA, focus_score, full_depth_of_field_um
from ..data.normalize import IntensityStats
from ..data.sharpness_hot import mend
from ..data.sharpness_survey import Survey
from ..models.focus_config import FocusAnswer, FocusFeatures, FocusInput
from ..models.focus_course import SweepCourse
from ..models.heads.focus import REACH, FocusHead
from .focus import Mode, Sample, ScoreRun, SliceFocus
from .focus_measures import MeasureRange, measure_windows, with_places
from .focus_stack import FocusStack
from .focus_tokens import BLOCK, stack_stats
from .focus_weights import LearnedFocus
from .focus_windows import StackScale, cut_windows, undrifted, window_corners

MOST_TILES = 24
"""Of a slice of a sweep, those with most foreground; of a volume all tiles are judged."""
_PROMISED = 0.9
_IN_DOF = 0.5  # depths of field on either side
_EMPTY = 0.5


@dataclass(frozen=True)
class LearnedScorer:
    """A head, and what is known of the lens; the pixel comes from the stack.

    Attributes:
        learned: see `focus_weights.load_learned`.
        na: of the objective.
        wavelength_um: of the emitted light.
        index: of the medium.
    """

    learned: LearnedFocus
    na: float | None = None
    wavelength_um: float | None = None
    index: float | None = None

    @property
    def model_id(self) -> str:
        """The folder of the weights."""
        return f"head:{Path(self.learned.where).name}"

    @property
    def calib_id(self) -> str:
        """Micrometres come from the lens, not from a calibration."""
        return ""

    def begin(self, sample: Sample, stack: FocusStack, stain: str | None, mode: Mode) -> ScoreRun:
        """See `Scorer.begin`; says so on standard error where a stain is not known.

        Raises:
            InputError: slices too small, or a lens that does not exist.
        """
        number = self.learned.stain_number(stain)
        if stain is not None and number == 0 and self.learned.stains:
            print(
                f"warning: stain {stain!r} is not among those that {self.learned.where} knows "
                f"({', '.join(self.learned.stains)}); it is judged as unknown",
                file=sys.stderr,
            )
        survey, z = sample.survey, _z(stack, sample.places)
        lens = self._lens(stack)
        known = bool(lens.isfinite().all())
        tiles = _chosen(survey, mode)
        corners = window_corners(survey.shape)[tiles[:, 0], tiles[:, 1]]
        whole = _steady(sample.slices, z, stack, survey)
        encoder = self.learned.encoder
        judge = _Judge(
            self.learned,
            stack,
            survey,
            StackScale.of(whole),
            None if encoder is None else stack_stats(cut_windows(whole, corners)),
            tiles,
            corners,
            lens,
            torch.tensor([number]),
            mode,
            full_depth_of_field_um(*lens[0].tolist()) if known else None,
        )
        # One slice shows no sweep; of `--watch` it is the first image, and the stack is another.
        if mode == "volume" or len(sample.places) == 1:
            return judge.score
        return judge.survey_sweep(whole, sample.places).score

    def _lens(self, stack: FocusStack) -> Tensor:
        """[1, 4]; nan unless everything is known."""
        size = stack.voxel_size_um
        given = (self.na, self.wavelength_um, self.index, None if size is None else size[2])
        known = [float("nan") if value is None else value for value in given]
        lens = torch.tensor([known], dtype=torch.float32)
        return lens if lens.isfinite().all() else torch.full_like(lens, float("nan"))


def _z(stack: FocusStack, places: Sequence[int]) -> Tensor:
    """[S] z indices: slices may be missing."""
    return torch.tensor([stack.z_index[place] for place in places], dtype=torch.float32)


def _steady(slices: Tensor, z: Tensor, stack: FocusStack, survey: Survey) -> Tensor:
    """[S, Y, X] without hot pixels and bleaching, in the units of the first slice."""
    return undrifted(mend(slices, survey.hot), z, survey, stack.z_index[0])


def _chosen(survey: Survey, mode: Mode) -> Tensor:
    """[T, 2] places (ty, tx) of the tiles that are judged, the same for all slices."""
    places = survey.kept.nonzero()
    if mode == "volume" or len(places) <= MOST_TILES:
        return places
    fullest = survey.foreground[places[:, 0], places[:, 1]].argsort(descending=True, stable=True)
    return places[fullest[:MOST_TILES].sort().values]


@dataclass(frozen=True)
class _Judge:
    """A head at work on one stack.

    `around` keeps the features of slices near those that were asked for last, `blocks` tokens;
    `surveyed` keeps those of slices of a sweep that it is known by, until the end.
    """

    learned: LearnedFocus
    stack: FocusStack
    survey: Survey
    scale: StackScale
    stats: IntensityStats | None
    tiles: Tensor  # [T, 2] places in the map of tiles
    corners: Tensor  # [T, 2] pixels
    lens: Tensor  # [1, 4]
    stain: Tensor  # [1]
    mode: Mode
    depth_of_field_um: float | None
    of_stack: MeasureRange | None = None  # of heads with measures, in sweeps
    course: SweepCourse | None = None
    surveyed: dict[int, FocusFeatures] = field(default_factory=dict)
    around: dict[int, FocusFeatures] = field(default_factory=dict)
    blocks: dict[int, Tensor] = field(default_factory=dict)

    @torch.inference_mode()
    def score(self, slices: Tensor, places: Sequence[int]) -> list[SliceFocus]:
        """Answers for slices [S, Y, X] at places that follow each other."""
        first, last = places[0], places[-1]
        low = max(0, first - REACH) if self._mixes else first
        high = min(len(self.stack) - 1, last + REACH) if self._mixes else last
        self._describe(places, slices)
        needed = range(low, high + 1)
        missing = [place for place in needed if self._features(place) is None]
        if missing:
            self._describe(missing, self.stack.read(missing))
        answer = self._answer(needed, self._sweep)
        for place in [place for place in self.around if place < last - REACH]:
            del self.around[place]
        model = self.learned.model
        if self.course is not None and isinstance(model, FocusHead):
            answer = self.course.follow(answer, _z(self.stack, needed), model.values)
        return [self._told(answer, place - low) for place in places]

    @torch.inference_mode()
    def survey_sweep(self, slices: Tensor, places: Sequence[int]) -> _Judge:
        """The same, knowing the sweep as a whole as far as the head asks for it.

        Args:
            slices: [K, Y, X] of the sample, steady.
            places: [K] of them.
        """
        model, ready = self.learned.model, self
        # Slice by slice: only windows and measures are held.
        windows = [cut_windows(plane[None], self.corners) for plane in slices]
        measures: Sequence[Tensor | None] = [None] * len(windows)
        if model.config.measures:
            measured = [measure_windows(self.scale.apply(window)) for window in windows]
            of_stack = MeasureRange.of(torch.cat(measured), sweep=True)
            measures, ready = measured, replace(self, of_stack=of_stack)
        if not isinstance(model, FocusHead) or not model.config.course:
            return ready
        for place, window, found in zip(places, windows, measures, strict=True):
            ready.surveyed[place] = ready._seen(place, window, found)
        alone = ready._answer(places, torch.tensor([False]))  # these are no neighbours
        return replace(ready, course=model.course(alone, _z(self.stack, places)))

    def _features(self, place: int) -> FocusFeatures | None:
        """Of a slice, if it was described before."""
        return self.surveyed.get(place, self.around.get(place))

    def _answer(self, places: Sequence[int], sweep: Tensor) -> FocusAnswer:
        """Put slices together whose features are there."""
        row = [found for place in places if (found := self._features(place)) is not None]
        found = FocusFeatures(*(torch.cat(part, 1) for part in zip(*row, strict=True)))
        model = self.learned.model
        if isinstance(model, FocusHead):
            return model.answer(found, self.stain, sweep)
        return model.answer(found)

    @property
    def _mixes(self) -> bool:
        return self.learned.model.config.mixer and self.mode == "sweep"

    @property
    def _sweep(self) -> Tensor:
        """[1] bool."""
        return torch.tensor([self.mode == "sweep"])

    def _describe(self, places: Sequence[int], slices: Tensor) -> None:
        """Keep the features of slices, one at a time."""
        for place, plane in zip(places, slices, strict=True):
            if self._features(place) is None:
                self.around[place] = self._seen(place, self._windows([place], plane[None]), None)

    def _seen(self, place: int, windows: Tensor, measured: Tensor | None) -> FocusFeatures:
        """Features of one slice.

        Args:
            place: of the slice; tokens belong to its block.
            windows: [1, T, 64, 64].
            measured: [1, T, M] of these windows, where that is known.
        """
        block = place // BLOCK
        tokens = self._tokens(block) if self.learned.encoder is not None else None
        z = torch.tensor([[place - block * BLOCK]])
        tiles, measures = self.scale.apply(windows), None
        if self.learned.model.config.measures:
            measured = measure_windows(tiles) if measured is None else measured
            measures = with_places(measured, self.of_stack)[None]
        given = FocusInput(tiles[None], self.lens, self.stain, self._sweep, z, tokens, measures)
        return self.learned.model.features(given)

    def _windows(self, places: Sequence[int], slices: Tensor) -> Tensor:
        """[S, Y, X] at these places -> [S, T, 64, 64] in the units of the first slice."""
        steady = _steady(slices, _z(self.stack, places), self.stack, self.survey)
        return cut_windows(steady, self.corners)

    def _tokens(self, block: int) -> Tensor:
        """[1, T, gz, 8, 8, D] of one block of slices; the block before is kept, no more."""
        encoder = self.learned.encoder
        assert encoder is not None  # asked for by heads with context only
        if block not in self.blocks:
            inside = range(block * BLOCK, min((block + 1) * BLOCK, len(self.stack)))
            # Slice by slice: only their windows are held.
            windows = torch.cat([self._windows([at], self.stack.read([at])) for at in inside])
            for old in [number for number in self.blocks if number < block - 1]:
                del self.blocks[old]
            self.blocks[block] = encoder.tokens(windows, self.stats)[None]
        return self.blocks[block]

    def _told(self, answer: FocusAnswer, place: int) -> SliceFocus:
        """One slice of an answer."""
        distance = float(answer.expected[0, place])
        spread = float(answer.log_variance[0, place].mul(0.5).exp())
        residuals = self.learned.residuals[self.mode]
        radius = residuals.radius(_PROMISED) * spread
        near, far = max(distance - radius, 0.0), distance + radius
        unit = self.depth_of_field_um
        if unit is None:
            low, high = (float(focus_score(end, SIGMA)) for end in (far, near))
        else:
            low, high = near * unit, far * unit
        inside = residuals.chance_below([0.0], (_IN_DOF - distance) / spread)
        probabilities = None
        if answer.logits is not None:
            probabilities = tuple(answer.logits[0, place].softmax(-1).tolist())
        return SliceFocus(
            score=float(focus_score(distance, SIGMA)),
            level=distance,
            level_probs=probabilities,
            defocus_um=None if unit is None else distance * unit,
            lo=low,
            hi=high,
            p_in_dof=float(inside[0]),
            tiles=self._map(answer.tiles[0, place]),
            reason=_doubt(float(answer.empty[0, place]), float(answer.strange[0, place])),
        )

    def _map(self, distances: Tensor) -> NDArray[np.float32]:
        """Scores of tiles [T] in their places: [Ty, Tx], nan where none was judged."""
        scores = np.full(tuple(self.survey.kept.shape), np.nan, np.float32)
        down, across = self.tiles.T.tolist()
        scores[down, across] = focus_score(distances.numpy(), SIGMA)
        return scores


def _doubt(empty: float, strange: float) -> str:
    """Why a slice has no score; "" = it has one."""
    if strange > 1:  # then "empty" is not to be believed either
        return "ood"
    return "empty" if empty > _EMPTY else ""
