"""Pixels of a camera that are always bright: as it wrote them, and as a smoothing left them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

_HOT_SPREADS = 12.0
_HOT_NEIGHBOURS = 0.2
"""Of a hot pixel's excess, the most that its neighbours have; a lens spreads a point further."""
_SMOOTHED_NEIGHBOURS = 1.5
"""The same after a smoothing, in units of what the noise says that it leaves to neighbours."""
_MOST_SMOOTHED = 0.7
"""Of its excess, what any smoothing by about a pixel leaves to a neighbour at most."""
_LEAST_ALIKE = 0.1
"""Correlation of neighbouring noise; less is no smoothing."""
_SAME, _SAME_STEPS, _SAME_SLICES = 0.05, 6.0, 5
"""Share of its excess by which a hot pixel changes, grey levels that it rises, slices it takes."""
_NOTHING_SPREADS = 3.0
"""Light beside a smoothed pixel, in spreads of the noise; more comes from a lens."""
_LOWER_QUARTERS = 0.607
"""Root mean square of the lower three quarters of absolute standard normal numbers."""
_MOST_HOT = 5e-4
"""Share of pixels; what is more frequent is an image."""
_ALL = [(y, x) for y, x in product((-1, 0, 1), repeat=2) if y or x]
_BESIDE = [(-1, 0), (0, -1), (0, 1), (1, 0)]
BEAD = 2
"""Pixels from the middle of a smoothed hot pixel to its edge."""


def hot_pixels(plane: Tensor) -> tuple[Tensor, Tensor]:
    """[Y, X] bool each: pixels far above all neighbours, and middles of those smoothed later.

    The first are sharper than a lens can be. The second are as sharp as the noise around them:
    what a lens has blurred before the noise came is not.
    """
    padded = F.pad(plane[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    spread = _typical_step(plane, 1)
    excess = plane - _over_nine(padded, torch.minimum)
    # Without noise (rendered, thresholded images) single pixels may be all there is.
    bright = (excess > _HOT_SPREADS * spread).nonzero(as_tuple=True)
    single = torch.zeros_like(plane, dtype=torch.bool)
    if spread > 0:
        # Second highest neighbour: two hot pixels may touch, but no lens makes a point of two.
        second = _neighbours(padded, bright, _ALL).topk(2, 0).values[1]
        high = excess[bright]
        single[bright] = second - (plane[bright] - high) < _HOT_NEIGHBOURS * high
    # A Gaussian that gives neighbouring noise the correlation r leaves r^2 to a neighbour.
    alike = max(0.0, 1 - (spread / max(_typical_step(plane, 4), 1e-30)) ** 2)
    if alike < _LEAST_ALIKE:
        return single, torch.zeros_like(single)
    limit = min(_SMOOTHED_NEIGHBOURS * alike**2, _MOST_SMOOTHED)
    floor = plane.median()
    peak = (plane >= _over_nine(padded, torch.maximum)) & (plane - floor > _HOT_SPREADS * spread)
    at = peak.nonzero(as_tuple=True)
    nearest = _neighbours(padded, at, _BESIDE).mean(0)
    sharp = nearest - floor < limit * (plane[at] - floor)
    if float((plane >= plane.max()).sum()) > 1:  # cut off at the top: it has no peak any more
        empty = _beyond(plane)[at] - floor < _NOTHING_SPREADS * spread
        sharp |= (plane[at] >= plane.max()) & empty
    peak[at] = sharp | single[at]
    return single, peak if float(peak.float().mean()) < _MOST_HOT else torch.zeros_like(peak)


def unchanged(least: Tensor, most: Tensor, step: float, count: int) -> Tensor:
    """[Y, X] bool: bright spots that are the same in every slice, where they are few.

    Of files whose noise was squeezed below one grey level, nothing else tells hot pixels.

    Args:
        least: [Y, X], darkest value of each pixel along the stack.
        most: [Y, X], its brightest.
        step: smallest distance between two values.
        count: slices; fewer than five say nothing.
    """
    excess = most - most.median()
    same = (most - least <= _SAME * excess + step) & (excess > _SAME_STEPS * step)
    few = count >= _SAME_SLICES and float(same.float().mean()) < _MOST_HOT * (2 * BEAD + 1) ** 2
    return same if few else torch.zeros_like(same)


def around(middles: Tensor) -> Tensor:
    """[Y, X] bool -> the same, and all within `BEAD` pixels of what is set."""
    rows, columns = middles.nonzero(as_tuple=True)
    wide = torch.zeros_like(middles)
    for y, x in product(range(-BEAD, BEAD + 1), repeat=2):
        wide[(rows + y).clamp(0, wide.shape[0] - 1), (columns + x).clamp(0, wide.shape[1] - 1)] = 1
    return wide


def mend(slices: Tensor, hot: Tensor, reach: int = 1) -> Tensor:
    """Put the median of eight neighbours in place of hot pixels.

    Args:
        slices: [S, Y, X].
        hot: [K], places in a flattened slice.
        reach: pixels to these neighbours.
    """
    if not len(hot):
        return slices
    high, wide = slices.shape[1:]
    y, x = hot // wide, hot % wide
    around = [
        slices[:, (y + dy).clamp(0, high - 1), (x + dx).clamp(0, wide - 1)]
        for dy in (-reach, 0, reach)
        for dx in (-reach, 0, reach)
        if dy or dx
    ]
    mended = slices.clone()
    mended[:, y, x] = torch.stack(around).median(0).values
    return mended


def _over_nine(padded: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """[Y + 2, X + 2] -> [Y, X], of each pixel and its eight neighbours."""
    rows = join(join(padded[:-2], padded[1:-1]), padded[2:])
    return join(join(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _neighbours(
    padded: Tensor, at: tuple[Tensor, ...], offsets: Sequence[tuple[int, int]]
) -> Tensor:
    """[Y + 2, X + 2], rows and columns [K] of pixels -> their neighbours [N, K]."""
    return torch.stack([padded[at[0] + 1 + dy, at[1] + 1 + dx] for dy, dx in offsets])


def _beyond(plane: Tensor) -> Tensor:
    """[Y, X] mean of the four pixels that the smoothing of one pixel does not reach any more."""
    reach = BEAD + 1
    padded = F.pad(plane[None, None], (reach,) * 4, mode="replicate")[0, 0]
    high, wide = plane.shape
    sides = ((0, reach), (2 * reach, reach), (reach, 0), (reach, 2 * reach))
    return torch.stack([padded[y : y + high, x : x + wide] for y, x in sides]).mean(0)


def _typical_step(plane: Tensor, lag: int) -> float:
    """Standard deviation of white noise with these differences of pixels `lag` apart along x.

    By the lower three quarters of them: edges of structures are among the others. A median would
    be a whole number where the noise is about one grey level.
    """
    steps = (plane[:, lag:] - plane[:, :-lag]).abs().flatten()
    steps = steps[:: max(1, len(steps) // 50_000)].sort().values
    low = steps[: int(0.75 * len(steps))]
    return float(low.square().mean().sqrt()) / _LOWER_QUARTERS / 2**0.5
