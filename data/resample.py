"""Resampling box by box on one grid for the whole volume, so that borders of boxes do not show.

Both grids span the same space: voxel i of the new one lies at (i + 1/2) * before / after - 1/2 of
the old one. Where a box reaches beyond the end of the new one, the last voxel of the old one goes
on: a coarser level may span a little less than the finest. Apart from `crop_plan.py`, whose crops
are resampled each by itself.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Triple = tuple[int, int, int]
Box = tuple[slice, slice, slice]
How = Literal["linear", "nearest"]


def source_box(box: Box, before: Triple, after: Triple) -> Box:
    """Voxels that a box is resampled from.

    Args:
        box: (z, y, x) on the grid `after`.
        before: (Z, Y, X) of the whole volume as it is.
        after: (Z, Y, X) of the whole volume as it becomes.
    """
    z, y, x = (_source(*axis) for axis in zip(box, before, after, strict=True))
    return z, y, x


def resample(
    values: NDArray, have: Box, box: Box, before: Triple, after: Triple, how: How = "linear"
) -> NDArray:
    """Resample a box of a volume; any other box that overlaps it gives the same values there.

    Linear is a triangle filter as wide as the coarser of the two grids, so that light is averaged
    where it shrinks. NaN and infinities count for nothing; where there is nothing else, NaN stays.

    Args:
        values: [..., Z, Y, X], the voxels of `have`.
        have: (z, y, x) on the grid `before`; holds at least `source_box(box, before, after)`.
        box: (z, y, x) wanted, on the grid `after`.
        before: (Z, Y, X) of the whole volume as it is.
        after: (Z, Y, X) of the whole volume as it becomes.
        how: "nearest" for labels, which keep their number type; "linear" gives floats.

    Returns:
        [..., z, y, x] of `box`.
    """
    if how == "nearest":
        for axis, (part, old, new, held) in enumerate(
            zip(box, before, after, have, strict=True), start=values.ndim - 3
        ):
            values = values.take(_nearest(part, old, new) - held.start, axis)
        return values
    needed = source_box(box, before, after)
    cut = [slice(n.start - h.start, n.stop - h.start) for n, h in zip(needed, have, strict=True)]
    wide = values[(..., *cut)].astype(np.result_type(values.dtype, np.float32))
    if values.dtype.kind == "f" and not (finite := np.isfinite(wide)).all():
        share = _filtered(finite.astype(np.float32), box, before, after)
        total = _filtered(np.where(finite, wide, 0), box, before, after)
        return np.divide(total, share, out=np.full_like(total, np.nan), where=share > 1e-6)
    return _filtered(wide, box, before, after)


def _filtered(values: NDArray, box: Box, before: Triple, after: Triple) -> NDArray:
    """Voxel by voxel, not as a product of matrices: its last bits hang on the size of the box."""
    for axis, (part, old, new) in enumerate(
        zip(box, before, after, strict=True), start=values.ndim - 3
    ):
        if old == new and part.stop <= old:
            continue
        total = None
        along = [1] * (values.ndim - axis - 1)
        for places, weights in _taps(part.start, part.stop, old, new):
            term = values.take(places, axis)
            term *= weights.reshape(-1, *along)
            total = term if total is None else np.add(total, term, out=total)
        assert total is not None  # there is at least one tap
        values = total
    return np.ascontiguousarray(values)


def _source(part: slice, before: int, after: int) -> slice:
    if before == after:
        return slice(min(part.start, before - 1), min(part.stop, before))
    reach = _reach(before, after)
    first, last = _centres(np.array([part.start, part.stop - 1]), before, after)
    return slice(max(0, math.floor(first - reach) + 1), min(before, math.ceil(last + reach)))


def _nearest(part: slice, before: int, after: int) -> NDArray[np.int64]:
    # In whole numbers: the middle of a voxel must not fall to either side by rounding.
    found = (2 * np.arange(part.start, part.stop) + 1) * before // (2 * after)
    return np.minimum(found, before - 1)


def _centres(voxels: NDArray[np.int64], before: int, after: int) -> NDArray[np.float64]:
    """Where voxels of the new grid lie on the old one."""
    centres = (voxels.astype(np.float64) + 0.5) * (before / after) - 0.5
    return np.clip(centres, 0, before - 1)


def _reach(before: int, after: int) -> float:
    """Half the width of the filter, in voxels of the old grid."""
    return max(before / after, 1.0)


@functools.lru_cache(maxsize=256)
def _taps(
    start: int, stop: int, before: int, after: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """What to add up for the voxels of a box: places in its source, and their weights."""
    source, reach = _source(slice(start, stop), before, after), _reach(before, after)
    centres = _centres(np.arange(start, stop), before, after)
    first = np.floor(centres - reach).astype(np.int64) + 1
    places = [first + tap for tap in range(math.ceil(2 * reach))]
    at = np.stack(places)
    weights = np.maximum(1 - np.abs(at - centres) / reach, 0)
    # Nothing comes from outside of the volume, nor of the source by a rounding error.
    weights[(at < 0) | (at >= before) | (weights < 1e-9)] = 0
    weights = (weights / weights.sum(0)).astype(np.float32)
    inner = (np.clip(place, source.start, source.stop - 1) - source.start for place in places)
    return list(zip(inner, weights, strict=True))
