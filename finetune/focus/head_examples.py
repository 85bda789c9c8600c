"""Stacks as the head sees them, and batches cut from them: pure functions of seed and step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.draws import keyed_rng
from ...data.sharpness import MEASURES
from ...data.sharpness_hot import mend
from ...data.sharpness_survey import survey_slices
from ...data.stains import parse_stain
from ...models.focus_bank import blur_px
from ...models.focus_config import CELL, FocusInput
from ...models.heads.focus import FocusHead
from ...predict.focus import Mode
from ...predict.focus_measures import MeasureRange, measure_windows, with_places
from ...predict.focus_tokens import FrozenEncoder, stack_stats
from ...predict.focus_windows import StackScale, cut_windows, undrifted, window_corners
from .head_recipe import HeadRecipe
from .head_stack import LabelledStack

_MOST_TILES = 16  # of a large labelled stack, spread evenly over it
_LEAST_SPREADS = 5.0  # above the background, of cells that count as foreground in real stacks


@dataclass(frozen=True)
class Example:
    """A stack, ready. Z slices, T tiles.

    Attributes:
        tiles: [Z, T, 64, 64], see `FocusInput`.
        lens: [4], nan = not known.
        stain: its number, 0 = not known.
        sweep: whether slices show the same content.
        truth: [Z, T] distances in depths of field, nan = not known.
        cells: [Z, T, 8, 8] foreground, nan = not known.
        tokens: [T, gz, 8, 8, D]; None without encoder.
        specimen: of the stack.
        measures: [Z, T, M], see `predict.focus_measures`; None where the head does not want them.
    """

    tiles: Tensor
    lens: Tensor
    stain: int
    sweep: bool
    truth: Tensor
    cells: Tensor
    tokens: Tensor | None
    specimen: str
    measures: Tensor | None = None

    def whole(self) -> FocusInput:
        """The stack as a batch of one."""
        return FocusInput(
            self.tiles[None],
            self.lens[None],
            torch.tensor([self.stain]),
            torch.tensor([self.sweep]),
            torch.arange(len(self.tiles))[None],
            None if self.tokens is None else self.tokens[None],
            None if self.measures is None else self.measures[None],
        )

    @property
    def mode(self) -> Mode:
        """What moved."""
        return "sweep" if self.sweep else "volume"

    @property
    def slice_truth(self) -> Tensor:
        """[Z], mean over tiles; nan where none is known."""
        return torch.nanmean(self.truth, 1)


@dataclass(frozen=True)
class HeadBatch:
    """Examples cut to one size. B stacks, Z slices, T tiles.

    Attributes:
        given: what the head sees.
        truth: [B, Z, T].
        slice_truth: [B, Z].
        cells: [B, Z, T, 8, 8].
    """

    given: FocusInput
    truth: Tensor
    slice_truth: Tensor
    cells: Tensor


def known_stains(stacks: Sequence[LabelledStack]) -> tuple[str, ...]:
    """Stains of stacks, one spelling of each, in order of their normal form."""
    spellings: dict[str, str] = {}
    for stack in stacks:
        if stack.stain is not None:
            spellings.setdefault(parse_stain(stack.stain).key, stack.stain)
    return tuple(spellings[key] for key in sorted(spellings))


def make_example(
    stack: LabelledStack,
    stains: Sequence[str],
    encoder: FrozenEncoder | None,
    measured: bool = False,
) -> Example:
    """Scale, cut and, where there is an encoder, encode a stack; measure it where that is wanted.

    Raises:
        InputError: slices too small.
    """
    sweep = stack.mode == "sweep"
    z = torch.arange(len(stack.images), dtype=torch.float32)
    survey = survey_slices(iter(stack.images), z.tolist(), drifts=sweep)
    images = undrifted(mend(stack.images, survey.hot), z, survey, 0.0)
    corners = window_corners(survey.shape).flatten(0, 1)
    count = min(len(corners), _MOST_TILES)
    chosen = torch.linspace(0, len(corners) - 1, count).round().long()
    windows = cut_windows(images, corners[chosen])
    if stack.foreground is None:
        limit = survey.background + _LEAST_SPREADS * survey.block_noise
        cells = _bright_cells(windows, limit)
    else:
        cells = stack.foreground.flatten(1, 2)[:, chosen]
    keys = [parse_stain(stain).key for stain in stains]
    key = None if stack.stain is None else parse_stain(stack.stain).key
    lens = stack.lens
    tokens = None if encoder is None else encoder.tokens(windows, stack_stats(windows))
    tiles = StackScale.of(images).apply(windows)
    measures = None
    if measured:
        measures = measure_windows(tiles)
        measures = with_places(measures, MeasureRange.of(measures, sweep))
    return Example(
        tiles=tiles,
        lens=torch.full((4,), torch.nan)
        if lens is None
        else torch.tensor([lens.na, lens.wavelength_um, lens.index, lens.pixel_um]),
        stain=keys.index(key) + 1 if key in keys else 0,
        sweep=sweep,
        truth=stack.defocus_dof.flatten(1)[:, chosen],
        cells=cells,
        tokens=tokens,
        specimen=stack.specimen,
        measures=measures,
    )


@torch.no_grad()
def keep_ranges(model: FocusHead, examples: Sequence[Example]) -> None:
    """Tell a head what is usual: features of the bank, with the lens told and without it.

    And, where it asks for them, the range of the measures, and how often levels are met.
    """
    bank, unknown = model.stem.bank, torch.full((1, 4), torch.nan)
    rows = [
        bank(example.tiles.flatten(0, 1)[None], blur_px(lens))[0].mean((-2, -1))
        for example in examples
        for lens in (example.lens[None], unknown)
    ]
    model.strange.learn(torch.cat(rows))
    measures = [
        example.measures.flatten(0, 1) for example in examples if example.measures is not None
    ]
    if model.config.measures:
        model.keep_measures(torch.cat(measures))
    if model.config.course:
        model.keep_prior(torch.cat([example.slice_truth for example in examples]))


def draw_batch(examples: Sequence[Example], recipe: HeadRecipe, step: int) -> HeadBatch:
    """Neighbouring slices and some tiles of random stacks, mirrored, turned, some reversed.

    Stacks with fewer slices than `recipe.window` make the whole batch as short as they are.

    Args:
        examples: to draw from.
        recipe: batch, window, tiles, how often stain and lens are not told, seed.
        step: from 0.
    """
    rng = keyed_rng("focus head", recipe.seed, step)
    count = recipe.batch
    chosen = [examples[i] for i in rng.choice(len(examples), count, replace=len(examples) < count)]
    depth = min(recipe.window, *(len(example.tiles) for example in chosen))
    parts = [_cut(example, depth, recipe, rng) for example in chosen]
    tiles, lens, stain, sweep, z, truth, cells = (
        torch.stack(part) for part in zip(*(part[:7] for part in parts), strict=True)
    )
    tokens, measures = ([part[place] for part in parts] for place in (7, 8))
    measured = torch.stack(measures) if measures[0].numel() else None
    given = FocusInput(tiles, lens, stain, sweep, z, _same_depth(tokens), measured)
    return HeadBatch(given, truth, torch.nanmean(truth, 2), cells)


def _cut(
    example: Example, depth: int, recipe: HeadRecipe, rng: np.random.Generator
) -> tuple[Tensor, ...]:
    """What a batch takes of one example, in the order of `draw_batch`; tokens, measures last."""
    first = int(rng.integers(len(example.tiles) - depth + 1))
    z = torch.arange(first, first + depth)
    z = z.flip(0) if rng.random() < 0.5 else z
    there = example.tiles.shape[1]
    taken = torch.from_numpy(rng.choice(there, recipe.tiles, replace=there < recipe.tiles))
    flips = [axis for axis in (-2, -1) if rng.random() < 0.5]
    turned = rng.random() < 0.5

    def moved(maps: Tensor) -> Tensor:
        maps = maps.flip(flips) if flips else maps
        return maps.transpose(-2, -1) if turned else maps

    alone = not example.sweep or rng.random() < recipe.alone
    told_lens = rng.random() >= recipe.unknown_lens
    told_stain = rng.random() >= recipe.unknown_stain
    tokens = torch.zeros(0)
    if example.tokens is not None:
        tokens = moved(example.tokens[taken].movedim(-1, 2)).movedim(2, -1)
    return (
        moved(example.tiles[z][:, taken]),
        example.lens if told_lens else torch.full((4,), torch.nan),
        torch.tensor(example.stain if told_stain else 0),
        torch.tensor(not alone),
        z,
        example.truth[z][:, taken],
        moved(example.cells[z][:, taken]),
        tokens,
        torch.zeros(0)
        if example.measures is None
        else _measures(example.measures[z], alone)[:, taken],
    )


def _measures(measures: Tensor, alone: bool) -> Tensor:
    """[Z, T, 2 M + 1] as they are, or without their places in the stack."""
    return with_places(measures[..., : len(MEASURES)], None) if alone else measures


def _same_depth(tokens: list[Tensor]) -> Tensor | None:
    """Tokens of stacks of several depths in one tensor: the last token is repeated."""
    if not tokens[0].numel():
        return None
    most = max(part.shape[1] for part in tokens)
    return torch.stack(
        [
            torch.cat([part, part[:, -1:].expand(-1, most - part.shape[1], -1, -1, -1)], 1)
            for part in tokens
        ]
    )


def _bright_cells(windows: Tensor, limit: float) -> Tensor:
    """[Z, T, 8, 8]: cells whose mean over z is above the limit, the same for all z."""
    cells = F.avg_pool2d(windows, CELL).mean(0)  # [T, 8, 8]
    return (cells > limit).float().expand(len(windows), -1, -1, -1)
