"""Slices of stacks, judged one after the other: gate, classical measures, score, best slice.

Two questions that are never mixed. `sweep`: the objective moved over the same content; slices are
ranked and one is the best. `volume`: every slice is other tissue; each is judged by itself, tile by
tile, and a best slice has no meaning. The stack is gone through twice, some slices of it first; no
more than a few slices are held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..configs.errors import InputError
from ..data.sharpness import SUPPORT_PX, tile_sides
from ..data.sharpness_gate import Judged, judge_slices
from ..data.sharpness_survey import Survey, survey_slices
from .focus_peak import Peak, find_peak
from .focus_stack import FocusStack

Mode = Literal["sweep", "volume"]
DEFAULT = "dcts"
TABLED = ("dcts", "tenengrad_filtered", "brenner_filtered", "normvar_filtered")
"""Measured of every slice and written to the table."""
SURVEYED = 33
"""Slices that are looked at beforehand, at most."""
RUN = 4
"""Slices that are read and judged together."""


@dataclass(frozen=True)
class SliceFocus:
    """What a scorer says of one slice; None where it does not know.

    Attributes:
        score: larger = sharper; nan = none.
        level: distance from focus in depths of field. level_probs: of each level.
        defocus_um: distance from focus. lo, hi: around it (around the score where um are unknown).
        p_in_dof: probability to lie in the depth of field.
        tiles: [Ty, Tx] scores of the tiles of the gate.
        reason: "" or why it should not be trusted, such as "ood".
    """

    score: float
    level: float | None = None
    level_probs: tuple[float, ...] | None = None
    defocus_um: float | None = None
    lo: float | None = None
    hi: float | None = None
    p_in_dof: float | None = None
    tiles: NDArray[np.float32] | None = None
    reason: str = ""


ScoreRun = Callable[[Tensor, Sequence[int]], Sequence[SliceFocus]]
"""Slices [S, Y, X] in the file's units, and their places in the stack -> one answer each."""


@dataclass(frozen=True)
class Sample:
    """What is known of a stack before its slices are judged. K slices.

    Attributes:
        slices: [K, Y, X] float32 in the file's units, at most `SURVEYED`, evenly spread over z.
        places: [K] of them in the stack, rising.
        survey: of these slices.
    """

    slices: Tensor
    places: Sequence[int]
    survey: Survey


class Scorer(Protocol):
    """Learned scores in place of the classical default. The gate comes before it in any case."""

    @property
    def model_id(self) -> str:
        """Names it in tables."""
        ...

    @property
    def calib_id(self) -> str:
        """Names its calibration; "" where there is none."""
        ...

    def begin(self, sample: Sample, stack: FocusStack, stain: str | None, mode: Mode) -> ScoreRun:
        """Get ready for a stack.

        Args:
            sample: some slices, and what the survey of them says.
            stack: to know spacing and channel by, and to read neighbours from.
            stain: free text.
            mode: "sweep" or "volume".
        """
        ...


@dataclass(frozen=True)
class FocusResult:
    """A judged stack. S slices, Ty by Tx tiles; everything but pixels.

    Attributes:
        stack: it belongs to.
        mode: that was asked for. stain: free text.
        slices: [S], what the scorer says; the score is nan where `reasons` is not "".
        reasons: [S] "" = valid, else "empty", "saturated", "low_snr", or the scorer's.
        measures: of `TABLED` [S], nan where there is nothing to measure.
        fg_frac, snr, sat_frac: [S].
        tile_scores: [S, Ty, Tx] float32, nan where the tile is not valid.
        tile_reasons: [S][Ty][Tx].
        kept: [Ty, Tx] bool, tiles that slices are judged by.
        peak: of a sweep; None of a volume.
        tilt: best z of each kept tile against its place, slices per tile along (y, x); None where
            fewer than four tiles have a peak.
        model_id, calib_id: of the scorer.
    """

    stack: FocusStack
    mode: Mode
    stain: str | None
    slices: list[SliceFocus]
    reasons: list[str]
    measures: dict[str, NDArray[np.float32]]
    fg_frac: NDArray[np.float32]
    snr: NDArray[np.float32]
    sat_frac: NDArray[np.float32]
    tile_scores: NDArray[np.float32]
    tile_reasons: list[list[list[str]]]
    kept: NDArray[np.bool_]
    peak: Peak | None
    tilt: tuple[float, float] | None
    model_id: str
    calib_id: str = ""
    notes: tuple[str, ...] = ()

    @property
    def scores(self) -> NDArray[np.float64]:
        """[S], nan where not valid."""
        return np.array([found.score for found in self.slices], np.float64)


@dataclass(frozen=True)
class JudgedRun:
    """A few judged slices: what is kept of them when the next are read. See `FocusResult`.

    `numbers` are foreground, signal to noise and saturation, [3, S].
    """

    slices: list[SliceFocus]
    reasons: list[str]
    measures: dict[str, NDArray[np.float32]]
    numbers: NDArray[np.float32]
    tile_scores: NDArray[np.float32]
    tile_reasons: list[list[list[str]]]


class Known(Protocol):
    """Runs of slices that were judged before, and where new ones are kept."""

    def get(self, first: int) -> JudgedRun | None:
        """The run whose first slice has that place; None where it is still to be judged."""
        ...

    def put(self, first: int, run: JudgedRun) -> None:
        """Keep one."""
        ...


def score_stack(
    stack: FocusStack,
    mode: Mode,
    stain: str | None = None,
    scorer: Scorer | None = None,
    support_px: float = SUPPORT_PX,
    progress: Callable[[int, int], None] | None = None,
    known: Known | None = None,
) -> FocusResult:
    """Judge every slice of a stack.

    Args:
        stack: see `open_stacks`.
        mode: what moved, the objective ("sweep") or the sample ("volume").
        stain: free text, handed to the scorer and to the table.
        scorer: None = the DCT entropy behind the gate.
        support_px: size of the PSF in pixels, see `support_of`.
        progress: told (slices done, slices in all).
        known: what need not be judged again, and where what is judged is kept; None = nothing.

    Raises:
        InputError: the file is damaged, or slices are too small.
    """
    try:
        tile_sides(stack.shape)
    except InputError as error:
        raise InputError(f"{stack.image_paths[0]}: {error}") from None
    spread = np.linspace(0, len(stack) - 1, min(SURVEYED, len(stack)))
    places = np.unique(spread.round()).astype(int).tolist()
    at = torch.tensor(stack.z_index, dtype=torch.float32)
    survey = survey_slices(
        (stack.read([place])[0] for place in places),
        at[places].tolist(),
        stack.largest,
        drifts=mode == "sweep",
    )
    answer = None
    if scorer is not None:
        sample = Sample(stack.read(places), places, survey)
        answer = scorer.begin(sample, stack, stain, mode)
    judged: list[JudgedRun] = []
    for first in range(0, len(stack), RUN):
        run = range(first, min(first + RUN, len(stack)))
        found = None if known is None else known.get(first)
        if found is None:
            pixels = stack.read(run)
            gated = judge_slices(pixels, at[first : run.stop], survey, TABLED, support_px)
            found = _run(gated, None if answer is None else answer(pixels, run))
            if known is not None:
                known.put(first, found)
        judged.append(found)
        if progress is not None:
            progress(run.stop, len(stack))
    return _together(stack, mode, stain, scorer, survey, judged)


def support_of(na: float | None, wavelength_nm: float | None, pixel_um: float | None) -> float:
    """Size of the PSF in pixels for the DCT measure: lambda / (2 NA), and never below 3 pixels."""
    if na is None or wavelength_nm is None or pixel_um is None:
        return SUPPORT_PX
    return max(SUPPORT_PX, wavelength_nm / 1000 / (2 * na) / pixel_um)


def score_image(
    image: ArrayLike, survey: Survey | None = None, support_px: float = SUPPORT_PX
) -> SliceFocus:
    """Score one image, in a control loop: nothing is read or written.

    Args:
        image: [Y, X] counts.
        survey: of `survey_image` of an earlier one of the same scene; scores of one loop are only
            comparable under the same survey. None = of this image.
        support_px: see `support_of`.

    Returns:
        The score, nan where `reason` is not "".

    Raises:
        InputError: no 2D image, too small, or of another size than that of the survey.
    """
    pixels = _image(image)
    survey = survey_image(image) if survey is None else survey
    if tuple(pixels.shape) != survey.shape:
        raise InputError(
            f"image of {tuple(pixels.shape)} pixels, the survey is of {survey.shape}; "
            "make a new survey when the camera's region changes"
        )
    found = judge_slices(pixels[None], torch.zeros(1), survey, (DEFAULT,), support_px)
    reason = found.reasons[0]
    score = float(found.over_tiles(found.measures[DEFAULT])[0]) if not reason else float("nan")
    return SliceFocus(score, tiles=found.measures[DEFAULT][0].numpy(), reason=reason)


def survey_image(image: ArrayLike) -> Survey:
    """What stays the same in a control loop (level, tiles, hot pixels), from one image [Y, X].

    Raises:
        InputError: no 2D image, or too small.
    """
    numbers = np.asarray(image)
    largest = float(np.iinfo(numbers.dtype).max) if numbers.dtype.kind in "ui" else None
    return survey_slices([_image(image)], [0.0], largest)


def _image(image: ArrayLike) -> Tensor:
    pixels = np.array(image, dtype=np.float32)
    if pixels.ndim != 2:
        raise InputError(f"an image of {pixels.ndim} axes, expected (y, x); choose a channel")
    return torch.from_numpy(pixels)


def _run(found: Judged, answers: Sequence[SliceFocus] | None) -> JudgedRun:
    own = found.over_tiles(found.measures[DEFAULT]).tolist()
    slices, reasons = [], []
    for place, reason in enumerate(found.reasons):
        answer = SliceFocus(own[place]) if answers is None else answers[place]
        reason = reason or answer.reason or ("" if np.isfinite(answer.score) else "empty")
        slices.append(SliceFocus(float("nan"), reason=reason) if reason else answer)
        reasons.append(reason)
    tiles = found.measures[DEFAULT].numpy().copy()
    for place, answer in enumerate(answers or ()):
        if answer.tiles is not None:
            tiles[place] = answer.tiles
    tiles[np.array(found.tile_reasons) != ""] = np.nan
    seen = np.array([reason != "empty" for reason in found.reasons])
    return JudgedRun(
        slices=slices,
        reasons=reasons,
        measures={
            name: np.where(seen, found.over_tiles(values).numpy(), np.nan).astype(np.float32)
            for name, values in found.measures.items()
        },
        numbers=np.stack(
            [found.over_tiles(v).numpy() for v in (found.fg_frac, found.snr, found.sat_frac)]
        ),
        tile_scores=tiles,
        tile_reasons=found.tile_reasons,
    )


def _together(
    stack: FocusStack,
    mode: Mode,
    stain: str | None,
    scorer: Scorer | None,
    survey: Survey,
    runs: Sequence[JudgedRun],
) -> FocusResult:
    slices = [found for run in runs for found in run.slices]
    tiles = np.concatenate([run.tile_scores for run in runs])
    numbers = np.concatenate([run.numbers for run in runs], 1)
    kept = survey.kept.numpy()
    sweep = mode == "sweep"
    peak = find_peak(stack.z_index, [found.score for found in slices]) if sweep else None
    notes = stack.notes
    if peak is not None and peak.reason == "one_slice":
        notes += ("one slice is no sweep: it has a score, but no best slice",)
    return FocusResult(
        stack=stack,
        mode=mode,
        stain=stain,
        slices=slices,
        reasons=[reason for run in runs for reason in run.reasons],
        measures={name: np.concatenate([run.measures[name] for run in runs]) for name in TABLED},
        fg_frac=numbers[0],
        snr=numbers[1],
        sat_frac=numbers[2],
        tile_scores=tiles,
        tile_reasons=[plane for run in runs for plane in run.tile_reasons],
        kept=kept,
        peak=peak,
        tilt=_tilt(stack.z_index, tiles, kept) if sweep else None,
        model_id=DEFAULT if scorer is None else scorer.model_id,
        calib_id="" if scorer is None else scorer.calib_id,
        notes=notes,
    )


def _tilt(
    z: Sequence[int], tiles: NDArray[np.float32], kept: NDArray[np.bool_]
) -> tuple[float, float] | None:
    """Slices that focus moves by per tile along (y, x): a plane through the best of tiles."""
    rows = []
    for y, x in np.argwhere(kept):
        found = find_peak(z, tiles[:, y, x])
        if found.best_z is not None and not found.boundary:
            rows.append((1.0, y, x, found.best_z))
    if len(rows) < 4:
        return None
    table = np.array(rows, np.float64)
    plane, _, rank, _ = np.linalg.lstsq(table[:, :3], table[:, 3], rcond=None)
    return (float(plane[1]), float(plane[2])) if rank == 3 else None
