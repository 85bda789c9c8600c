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
from ..data.sharpness_survey import Survey, survey_slices
from ..models.focus_config import FocusAnswer, FocusFeatures, FocusInput
from ..models.focus_course import SweepCourse
from ..models.heads.focus import REACH, FocusHead
from .focus import Mode, ScoreRun, SliceFocus
from .focus_measures import MeasureRange, measure_windows, with_places
from .focus_stack import FocusStack
from .focus_tokens import BLOCK, stack_stats
from .focus_weights import LearnedFocus
from .focus_windows import StackScale, cut_windows, window_corners

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

    def begin(self, sample: Tensor, stack: FocusStack, stain: str | None, mode: Mode) -> ScoreRun:
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
        survey = survey_slices(iter(sample), range(len(sample)), stack.largest)
        whole = mend(sample, survey.hot)
        lens = self._lens(stack)
        known = bool(lens.isfinite().all())
        tiles = _chosen(survey, mode)
        corners = window_corners(survey.shape)[tiles[:, 0], tiles[:, 1]]
        stats = None
        if self.learned.encoder is not None:
            stats = stack_stats(cut_windows(whole, corners))
        scale = StackScale.of(whole)
        of_stack = None
        if self.learned.model.config.measures and mode == "sweep":
            # Slice by slice: only their measures are held.
            measures = [measure_windows(scale.apply(cut_windows(s[None], corners))) for s in whole]
            of_stack = MeasureRange.of(torch.cat(measures), sweep=True)
        judge = _Judge(
            self.learned,
            stack,
            survey,
            scale,
            of_stack,
            stats,
            tiles,
            corners,
            lens,
            torch.tensor([number]),
            torch.tensor([mode == "sweep"]),
            full_depth_of_field_um(*lens[0].tolist()) if known else None,
        )
        if mode == "sweep" and self.learned.model.config.course:
            last = len(stack) - 1
            places = np.linspace(0, last, len(sample)).round().astype(int).tolist()
            return replace(judge, course=judge.find_course(sample, places)).score
        return judge.score

    def _lens(self, stack: FocusStack) -> Tensor:
        """[1, 4]; nan unless everything is known."""
        size = stack.voxel_size_um
        given = (self.na, self.wavelength_um, self.index, None if size is None else size[2])
        known = [float("nan") if value is None else value for value in given]
        lens = torch.tensor([known], dtype=torch.float32)
        return lens if lens.isfinite().all() else torch.full_like(lens, float("nan"))


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

    `around` keeps the features of slices near those that were asked for last, `blocks` tokens.
    """

    learned: LearnedFocus
    stack: FocusStack
    survey: Survey
    scale: StackScale
    of_stack: MeasureRange | None  # of heads with measures, in sweeps
    stats: IntensityStats | None
    tiles: Tensor  # [T, 2] places in the map of tiles
    corners: Tensor  # [T, 2] pixels
    lens: Tensor  # [1, 4]
    stain: Tensor  # [1]
    sweep: Tensor  # [1]
    depth_of_field_um: float | None
    course: SweepCourse | None = None
    around: dict[int, FocusFeatures] = field(default_factory=dict)
    blocks: dict[int, Tensor] = field(default_factory=dict)

    @torch.inference_mode()
    def score(self, slices: Tensor, places: Sequence[int]) -> list[SliceFocus]:
        """Answers for slices [S, Y, X] at places that follow each other."""
        first, last = places[0], places[-1]
        mixed = self._mixes
        low = max(0, first - REACH) if mixed else first
        high = min(len(self.stack) - 1, last + REACH) if mixed else last
        self._describe(places, slices)
        missing = [place for place in range(low, high + 1) if place not in self.around]
        if missing:
            self._describe(missing, self.stack.read(missing))
        answer = self._answer(range(low, high + 1), self.sweep)
        for place in [place for place in self.around if place < last - REACH]:
            del self.around[place]
        model = self.learned.model
        if self.course is not None and isinstance(model, FocusHead):
            z = self._z(range(low, high + 1))
            answer = self.course.follow(answer, z, model.values)
        return [self._told(answer, place - low) for place in places]

    @torch.inference_mode()
    def find_course(self, sample: Tensor, places: Sequence[int]) -> SweepCourse | None:
        """The sweep as a whole, from slices [S, Y, X] of it at rising places."""
        model = self.learned.model
        assert isinstance(model, FocusHead)  # a regressor has no course
        self._describe(places, sample)
        alone = self._answer(places, torch.tensor([False]))  # these are no neighbours
        self.around.clear()
        return model.course(alone, self._z(places))

    def _answer(self, places: Sequence[int], sweep: Tensor) -> FocusAnswer:
        """Put slices together whose features are there."""
        row = [self.around[place] for place in places]
        found = FocusFeatures(*(torch.cat(part, 1) for part in zip(*row, strict=True)))
        model = self.learned.model
        if isinstance(model, FocusHead):
            return model.answer(found, self.stain, sweep)
        return model.answer(found)

    def _z(self, places: Sequence[int]) -> Tensor:
        """[S] z indices: slices may be missing."""
        return torch.tensor([self.stack.z_index[place] for place in places], dtype=torch.float32)

    @property
    def _mixes(self) -> bool:
        return self.learned.model.config.mixer and bool(self.sweep[0])

    def _describe(self, places: Sequence[int], slices: Tensor) -> None:
        """Keep the features of slices; one at a time, because tokens belong to their block."""
        for place, plane in zip(places, slices, strict=True):
            if place in self.around:
                continue
            windows = self._windows(plane[None])
            block = place // BLOCK
            tokens = self._tokens(block) if self.learned.encoder is not None else None
            z = torch.tensor([[place - block * BLOCK]])
            tiles, measures = self.scale.apply(windows), None
            if self.learned.model.config.measures:
                measures = with_places(measure_windows(tiles), self.of_stack)[None]
            given = FocusInput(tiles[None], self.lens, self.stain, self.sweep, z, tokens, measures)
            self.around[place] = self.learned.model.features(given)

    def _windows(self, slices: Tensor) -> Tensor:
        """[S, Y, X] -> [S, T, 64, 64] in the file's units."""
        return cut_windows(mend(slices, self.survey.hot), self.corners)

    def _tokens(self, block: int) -> Tensor:
        """[1, T, gz, 8, 8, D] of one block of slices; the block before is kept, no more."""
        encoder = self.learned.encoder
        assert encoder is not None  # asked for by heads with context only
        if block not in self.blocks:
            inside = range(block * BLOCK, min((block + 1) * BLOCK, len(self.stack)))
            # Slice by slice: only their windows are held.
            windows = torch.cat([self._windows(self.stack.read([place])) for place in inside])
            for old in [number for number in self.blocks if number < block - 1]:
                del self.blocks[old]
            self.blocks[block] = encoder.tokens(windows, self.stats)[None]
        return self.blocks[block]

    def _told(self, answer: FocusAnswer, place: int) -> SliceFocus:
        """One slice of an answer."""
        distance = float(answer.expected[0, place])
        spread = float(answer.log_variance[0, place].mul(0.5).exp())
        residuals = self.learned.residuals
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
            reason="empty" if float(answer.empty[0, place]) > _EMPTY else "",
        )

    def _map(self, distances: Tensor) -> NDArray[np.float32]:
        """Scores of tiles [T] in their places: [Ty, Tx], nan where none was judged."""
        scores = np.full(tuple(self.survey.kept.shape), np.nan, np.float32)
        down, across = self.tiles.T.tolist()
        scores[down, across] = focus_score(distances.numpy(), SIGMA)
        return scores
