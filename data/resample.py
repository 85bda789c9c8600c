"""Resampling box by box on one grid for the whole volume, so that borders of boxes do not show.

Both grids span the same space: voxel i of the new one lies at (i + 1/2) * before / after - 1/2 of
the old one. Apart from `crop_plan.py`, whose crops are resampled each by itself.
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
    for axis, (part, old, new) in enumerate(
        zip(box, before, after, strict=True), start=values.ndim - 3
    ):
        if old != new:
            weights = _weights(part.start, part.stop, old, new)
            values = np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(values)


def _source(part: slice, before: int, after: int) -> slice:
    if before == after:
        return part
    scale = before / after
    reach = max(scale, 1.0)
    first = (part.start + 0.5) * scale - 0.5 - reach
    last = (part.stop - 0.5) * scale - 0.5 + reach
    return slice(max(0, math.floor(first) + 1), min(before, math.ceil(last)))


def _nearest(part: slice, before: int, after: int) -> NDArray[np.int64]:
    # In whole numbers: the middle of a voxel must not fall to either side by rounding.
    return (2 * np.arange(part.start, part.stop) + 1) * before // (2 * after)


@functools.lru_cache(maxsize=256)
def _weights(start: int, stop: int, before: int, after: int) -> NDArray[np.float32]:
    """[stop - start, voxels of the source]; rows sum to 1."""
    scale = before / after
    source = _source(slice(start, stop), before, after)
    centre = (np.arange(start, stop) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(source.start, source.stop) - centre[:, None]) / max(scale, 1.0)
    weights = np.maximum(1 - distance, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
