"""What the learned focus head is shown: 64 x 64 pixels of each tile, on one scale for a stack.

Tiles are those of the gate; pixels are never resized. The same in training and in use.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.sharpness import tile_sides
from ..data.sharpness_survey import Survey, finite
from ..models.focus_config import TILE

_FLOOR, _TOP = 0.01, 0.998  # quantiles of the stack that count as no dye, and as bright
_SAMPLED = 200_000


@dataclass(frozen=True)
class StackScale:
    """Level and spread of a stack: one pair for all of its slices.

    Attributes:
        level: what counts as 0, in the file's units.
        spread: from there to what counts as 1; above 0.
    """

    level: float
    spread: float

    @classmethod
    def of(cls, sample: Tensor) -> StackScale:
        """Of slices [K, Y, X] evenly spread over a stack."""
        flat = finite(sample).flatten()
        few = flat[:: max(1, len(flat) // _SAMPLED)].float()
        level, top = torch.quantile(few, few.new_tensor([_FLOOR, _TOP])).tolist()
        return cls(level, top - level if top > level else 1.0)

    def apply(self, slices: Tensor) -> Tensor:
        """[...] in the file's units -> 0 = no dye, 1 = bright; never clipped. NaN is dark."""
        return (finite(slices.float()) - self.level) / self.spread


def undrifted(slices: Tensor, z: Tensor, survey: Survey, first: float) -> Tensor:
    """Slices of a sweep as they would be without bleaching: what fades along z is no defocus.

    Noise grows with the brightness that is given back. Of a survey without drifts nothing changes.

    Args:
        slices: [S, Y, X] in the file's units.
        z: [S], as in the survey.
        survey: of the stack.
        first: the z that all slices are made like.
    """
    back = (survey.log_brightness_slope * (first - z)).exp()[:, None, None]
    then = survey.background + survey.background_slope * first
    return (slices - survey.background_at(z)[:, None, None]) * back + then


def window_corners(shape: tuple[int, int]) -> Tensor:
    """Where the windows of the tiles begin: [Ty, Tx, 2] int64, (y, x) in pixels.

    A window has the middle of its tile, moved inside the slice where it would stick out.

    Args:
        shape: (Y, X) of the slices.

    Raises:
        InputError: slices too small to be judged.
    """
    down, across, high, wide = tile_sides(shape)
    along = []
    for side, count, tile in zip(shape, (down, across), (high, wide), strict=True):
        first = (side - count * tile) // 2 + (tile - TILE) // 2
        along.append((first + tile * torch.arange(count)).clamp(0, max(0, side - TILE)))
    y, x = along
    return torch.stack([y[:, None].expand(-1, across), x.expand(down, -1)], -1)


def cut_windows(slices: Tensor, corners: Tensor) -> Tensor:
    """Cut windows; slices smaller than one are mirrored at their edges.

    Args:
        slices: [S, Y, X].
        corners: [T, 2] of `window_corners`.

    Returns:
        [S, T, 64, 64]
    """
    inside = torch.arange(TILE, device=slices.device)
    rows, columns = (
        _mirrored(corners[:, axis, None].to(slices.device) + inside, slices.shape[1 + axis])
        for axis in (0, 1)
    )  # [T, 64] each
    return slices[:, rows[:, :, None], columns[:, None]]


def _mirrored(place: Tensor, side: int) -> Tensor:
    """Places beyond the end of an axis, as places inside of it."""
    turn = place % (2 * side)
    return torch.minimum(turn, 2 * side - 1 - turn)
