"""Where a stack is looked at: one foreground mask, one set of tiles, one scale for all its slices.

Chosen once from all slices together. Tiles drawn slice by slice, or chosen by sharpness, would
change with what is to be measured; a stretch slice by slice would blow up the noise of empty ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from torch import Tensor

from ..configs.errors import InputError
from .draws import keyed_rng
from .normalize import IntensityStats, describe
from .sharpness_gate import EMPTY, judge_slices
from .sharpness_survey import Survey, survey_slices

Pool = Literal["foreground", "laplacian"]

_SMALLEST_OBJECT = 64 * 64  # pixels, of the older workflow
_LARGEST_SHARE = 1 / 64  # of a small image, which would lose all its objects otherwise
_FLOOR, _TOP = 0.01, 0.998  # quantiles taken as no dye, and as full of it
_SAMPLED = 20_000  # pixels of every slice
_BLOCK = 32  # pixels a side of the blocks that the encoders' normalisation is measured on
_BLOCKS = 3  # along each axis of a slice

_ANYWHERE = torch.tensor([-1e6])
"""Place of a slice that may be any of the stack: far from all."""


@dataclass(frozen=True)
class TileRule:
    """How tiles are chosen.

    Attributes:
        side: pixels; smaller images are one tile.
        most: tiles in the foreground that are considered.
        cover: least share of foreground in a tile.
        share: of the tiles that is kept, the best by `pool`.
        pool: "foreground" or "laplacian": mean over the stack of the variance of the Laplacian, as
            in the older workflow; it likes noise.
        seed: draws among the tiles where there are more than `most`.
    """

    side: int = 256
    most: int = 32
    cover: float = 0.4
    share: float = 0.2
    pool: Pool = "foreground"
    seed: int = 42


@dataclass(frozen=True)
class StackFrame:
    """What is the same for all slices of a stack and channel.

    Attributes:
        tiles: [T, 4] int: (y, x, height, width) in pixels, the best first.
        level: intensity of no dye.
        spread: from there to the brightest structures; 1 for an empty stack.
        mask: [Y, X] bool, foreground.
        survey: by which the gate judges slices.
        stats: for `normalize`, as encoders were trained with; None for a constant stack.
    """

    tiles: NDArray[np.int64]
    level: float
    spread: float
    mask: NDArray[np.bool_]
    survey: Survey
    stats: IntensityStats | None

    def scaled(self, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        """[..., Y, X] in the file's units -> 0 = no dye, 1 = bright; never clipped."""
        return ((slices - self.level) / self.spread).astype(np.float32)

    def cut(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tiles of a slice, not scaled: [Y, X] -> [T, y, x]."""
        return np.stack([image[y : y + h, x : x + w] for y, x, h, w in self.tiles])

    def is_empty(self, image: NDArray[np.float32]) -> bool:
        """Whether one slice [Y, X] shows nothing, by the gate of `sharpness_gate`."""
        plane = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None]
        return judge_slices(plane, _ANYWHERE, self.survey, ()).reasons[0] == EMPTY


def frame_stack(slices: Iterable[NDArray[np.float32]], rule: TileRule | None = None) -> StackFrame:
    """Go once through a stack, slice by slice; memory does not depend on how many there are.

    Args:
        slices: [Y, X] each, of one size, in the file's units.
        rule: None = the defaults.

    Raises:
        InputError: no slices, slices below 16 pixels a side, or pixels that are not finite.
    """
    rule = rule or TileRule()
    seen = _Seen()
    survey = survey_slices(map(seen.add, slices), itertools.count())
    assert seen.total is not None  # the survey refuses stacks without slices
    assert seen.laplacian is not None
    level, top = np.quantile(np.concatenate(seen.sample), [_FLOOR, _TOP])
    mask = foreground_mask(seen.total / seen.count)
    spread = float(top - level)
    return StackFrame(
        tiles=_choose(mask, seen.laplacian, rule),
        level=float(level),
        spread=spread if spread > 0 else 1.0,
        mask=mask,
        survey=survey,
        stats=_stats(np.stack(seen.blocks)),
    )


class _Seen:
    """What is kept of slices that have gone by."""

    def __init__(self) -> None:
        self.total: NDArray[np.float64] | None = None
        self.laplacian: NDArray[np.float64] | None = None
        self.sample: list[NDArray[np.float32]] = []
        self.blocks: list[NDArray[np.float32]] = []
        self.count = 0

    def add(self, image: NDArray[np.float32]) -> Tensor:
        """Look at a slice [Y, X], and hand it on.

        Raises:
            InputError: pixels that are not finite.
        """
        if not np.isfinite(image).all():
            raise InputError(
                f"slice {self.count} of the stack holds nan or inf, expected counts; repair the "
                "file"
            )
        if self.total is None or self.laplacian is None:
            self.total, self.laplacian = np.zeros(image.shape), np.zeros(image.shape)
        self.total += image
        self.laplacian += ndimage.laplace(image.astype(np.float64)) ** 2
        flat = image.ravel()
        self.sample.append(flat[:: max(1, flat.size // _SAMPLED)])
        self.blocks += _blocks(image)
        self.count += 1
        return torch.from_numpy(np.ascontiguousarray(image, np.float32))


def foreground_mask(mean: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Otsu, opened and closed over 5 x 5 pixels, small objects dropped; nothing left = everything.

    Args:
        mean: [Y, X], of all slices.
    """
    everything = np.ones(mean.shape, bool)
    if mean.min() == mean.max():
        return everything
    square = np.ones((5, 5), bool)
    mask = ndimage.binary_opening(mean > threshold_otsu(mean), square)
    mask = ndimage.binary_closing(mask, square)
    labels = np.asarray(ndimage.label(mask, np.ones((3, 3)))[0], np.int64)  # pyright: ignore
    least = min(_SMALLEST_OBJECT, _LARGEST_SHARE * mean.size)
    kept = np.bincount(labels.ravel()) >= least
    kept[0] = False
    mask = np.take(kept, labels)
    return mask if mask.any() else everything


def _choose(
    mask: NDArray[np.bool_], laplacian: NDArray[np.floating], rule: TileRule
) -> NDArray[np.int64]:
    """[T, 4] tiles on a grid of half steps."""
    height, width = (min(rule.side, side) for side in mask.shape)
    places = np.array(
        [
            (y, x, height, width)
            for y in _starts(mask.shape[0], height)
            for x in _starts(mask.shape[1], width)
        ]
    )
    cover = np.array([mask[y : y + h, x : x + w].mean() for y, x, h, w in places])
    inside = np.flatnonzero(cover >= rule.cover)
    if not inside.size:  # objects smaller than a tile
        inside = np.flatnonzero(cover >= rule.cover * cover.max())
    if inside.size > rule.most:
        rng = keyed_rng("focus tiles", rule.seed, 0)
        inside = np.sort(rng.choice(inside, rule.most, replace=False))
    value = cover[inside]
    if rule.pool == "laplacian":
        value = np.array([laplacian[y : y + h, x : x + w].mean() for y, x, h, w in places[inside]])
    count = max(1, int(np.ceil(rule.share * inside.size)))
    best = np.argsort(-value, kind="stable")[:count]
    return places[inside[best]]


def _starts(side: int, tile: int) -> list[int]:
    return sorted({*range(0, side - tile + 1, max(1, tile // 2)), side - tile})


def _blocks(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """[1, y, x] each, evenly over a slice."""
    h, w = (min(_BLOCK, side) for side in image.shape)
    starts = [
        np.unique(np.linspace(0, side - size, _BLOCKS).astype(int))
        for side, size in zip(image.shape, (h, w), strict=True)
    ]
    return [image[None, y : y + h, x : x + w] for y in starts[0] for x in starts[1]]


def _stats(blocks: NDArray[np.float32]) -> IntensityStats | None:
    return None if blocks.min() == blocks.max() else describe(blocks, "the stack")
