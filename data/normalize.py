"""Intensity normalisation, the same in training and prediction: asinh of a robust z-score.

Level and spread are measured once per volume and channel on its tissue, never per crop. The map is
monotone and never clips: linear near the tissue's level, logarithmic for bright structure, so a
bright vessel keeps its profile. Foreground moves neither median nor MAD, so the scale of a volume
does not depend on how much foreground it holds.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..configs.errors import InputError
from .intensity_cache import load_stats, save_stats
from .tissue import medium_of, padding_of, thinned, to_blocks

if TYPE_CHECKING:
    from .volume import Volume

Values = TypeVar("Values", NDArray, torch.Tensor)

SAMPLE_VOXELS = 2_000_000
SAMPLE_EDGE = 32  # voxels a side of one scattered block
MIN_VOXELS = 64  # fewer say nothing about a distribution
MAD_TO_SIGMA = 1.4826  # of a normal distribution
ROUNDS = 20  # at most
OUTLIER_SPREADS = 5.0  # beyond lies foreground, not the tissue's own variation
LARGEST = 1e30  # float32 holds 3e38, and sums of many voxels must fit as well
_SEED = 0x6C757876

NORMALISATION = (
    "asinh((x - level) / spread); level = median, spread = 1.4826 * MAD of the tissue, "
    "per volume and channel"
)
"""In words, as it stands beside weights."""


@dataclass(frozen=True)
class IntensityStats:
    """What normalisation needs to know of one channel of one volume.

    Attributes:
        level: median of the tissue without its outliers, in the file's intensity units.
        spread: 1.4826 MAD of the same, in the file's intensity units; never 0.
        noise: robust standard deviation of the noise after normalisation.
        variance: variance of the sample after normalisation (padding left out).
        minimum: lowest finite value of the sample, in the file's units.
        maximum: highest finite value of the sample, in the file's units.
        nonfinite: share of NaN and infinities in the sample; they are read as the level.
    """

    level: float
    spread: float
    noise: float
    variance: float
    minimum: float
    maximum: float
    nonfinite: float = 0.0


def normalize(x: Values, stats: IntensityStats) -> Values:
    """Map intensities to asinh((x - level) / spread).

    Args:
        x: any shape, any dtype, the file's intensity units.
        stats: of the volume and channel that `x` was read from.

    Returns:
        Same shape, float32 (float64 for float64 input), on the same device. NaN and infinities
        become 0, the level.
    """
    if isinstance(x, torch.Tensor):
        wide = x.double() if x.dtype == torch.float64 else x.float()
        return torch.asinh(torch.nan_to_num((wide - stats.level) / stats.spread, 0.0, 0.0, 0.0))
    if x.dtype in (np.uint8, np.uint16):
        table = _table(stats.level, stats.spread, np.iinfo(x.dtype).max)
        return np.take(table, x, mode="clip")  # every index is inside; "clip" skips the check
    dtype = np.float64 if x.dtype == np.float64 else np.float32
    # Subtract in float64 where float32 would lose counts (32-bit integers).
    wide = x.astype(np.result_type(x.dtype, np.float32))
    wide -= stats.level
    wide /= stats.spread
    if x.dtype.kind == "f":
        np.nan_to_num(wide, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return np.arcsinh(wide, out=wide).astype(dtype, copy=False)


def denormalize(y: Values, stats: IntensityStats) -> Values:
    """Exact inverse of `normalize`: level + spread * sinh(y), in the file's intensity units."""
    if isinstance(y, torch.Tensor):
        return torch.sinh(y) * stats.spread + stats.level
    return np.sinh(y) * stats.spread + stats.level


@functools.lru_cache(maxsize=128)
def _table(level: float, spread: float, largest: int) -> NDArray[np.float32]:
    """The map for every value of an unsigned type: a look-up is several times faster than asinh."""
    return np.arcsinh((np.arange(largest + 1, dtype=np.float64) - level) / spread).astype(
        np.float32
    )


def measure_intensity(
    volume: Volume, channel: int = 0, level: int = 0, *, use_cache: bool = True
) -> IntensityStats:
    """Measure one channel of a volume, from at most about 2 million voxels.

    Constant padding, non-finite values and empty medium around the tissue are left out (see
    `tissue.py`). The result is kept on disk under LUXVOX_HOME (default ~/.cache/luxvox).

    Args:
        volume: any open volume.
        channel: index of the channel.
        level: of the pyramid, whose noise and variance are wanted. Level and spread are always
            those of the finest, so that all levels are normalised alike.
        use_cache: read and write the cache on disk.

    Raises:
        InputError: the sample is constant or holds no finite values; the message names the file.
    """
    stats = load_stats(volume, channel, level) if use_cache else None
    if stats is not None:
        return IntensityStats(**stats)
    where = volume.path if volume.num_channels == 1 else f"{volume.path}, channel {channel}"
    finest = measure_intensity(volume, channel, use_cache=use_cache) if level else None
    measured = describe(_sample(volume, channel, level), where, finest)
    if use_cache:
        save_stats(volume, channel, level, vars(measured))
    return measured


def _sample(volume: Volume, channel: int, level: int) -> NDArray:
    """[N, z, y, x] blocks: the whole level if it is small, else cubes scattered evenly over it."""
    shape = volume.levels[level].shape
    if np.prod(shape) <= SAMPLE_VOXELS:
        return to_blocks(volume.read(level=level, channels=[channel])[0])
    edges = [min(SAMPLE_EDGE, side) for side in shape]
    cells = _lattice(shape, edges, int(SAMPLE_VOXELS // np.prod(edges)))
    rng = np.random.Generator(np.random.Philox(key=[_SEED, 0]))

    def place(axis: int, cell: int) -> int:
        """A random start of a cube inside one cell of the lattice."""
        side, count, edge = shape[axis], cells[axis], edges[axis]
        low, high = cell * side // count, (cell + 1) * side // count - edge
        return min(int(rng.integers(low, max(low, high) + 1)), side - edge)

    blocks = []
    for z_cell in range(cells[0]):
        z = place(0, z_cell)  # one depth for the whole row: a stack of planes decodes few of them
        for y_cell, x_cell in np.ndindex(cells[1], cells[2]):
            origin = (z, place(1, y_cell), place(2, x_cell))
            cube = volume.read(origin, tuple(edges), level=level, channels=[channel])[0]
            blocks.append(to_blocks(cube))
    return np.concatenate(blocks)


def _lattice(shape: tuple[int, int, int], edges: list[int], most: int) -> list[int]:
    """Cells along (z, y, x): near cubic, as many as `most` allows, none smaller than a cube."""
    room = [side // edge for side, edge in zip(shape, edges, strict=True)]
    cells = [1, 1, 1]
    while True:
        # Cut next where cells are longest relative to a cube.
        axes = sorted((a for a in range(3) if cells[a] < room[a]), key=lambda a: cells[a] / room[a])
        for axis in axes:
            grown = [count + (a == axis) for a, count in enumerate(cells)]
            if np.prod(grown) <= most:
                cells = grown
                break
        else:
            return cells


def describe(
    blocks: NDArray, where: str = "the volume", finest: IntensityStats | None = None
) -> IntensityStats:
    """Measure blocks of one channel.

    Args:
        blocks: [N, z, y, x], the file's intensity units.
        where: how messages name the data.
        finest: gives level and spread, where the blocks are of a coarser level.

    Raises:
        InputError: too few finite values, or all of them equal.
    """
    values = blocks.astype(np.result_type(blocks.dtype, np.float32))
    finite = np.isfinite(values)
    if finite.sum() < MIN_VOXELS:
        raise InputError(
            f"{where}: {int(finite.sum())} finite values in a sample of {finite.size} voxels, "
            "expected an image; check the file, or take it out of the list"
        )
    values[~finite] = np.nan
    inside = values[finite]
    low, high = float(inside.min()), float(inside.max())
    if low == high:
        raise InputError(
            f"{where}: constant, every voxel is {low:g}, expected an image; check the file (empty "
            "channel?), or take it out of the list"
        )
    if max(abs(low), abs(high)) > LARGEST:
        raise InputError(
            f"{where}: intensities from {low:g} to {high:g}, expected at most {LARGEST:g}; "
            "check the number type of the file, or rescale it"
        )
    padding = padding_of(values)
    rest = values[finite & ~padding]
    if rest.size < max(MIN_VOXELS, 0.001 * finite.sum()) or rest.min() == rest.max():
        padding[:] = False  # nothing to measure beside the minimum: it is the background
    real = finite & ~padding
    step = _step(inside)
    tissue = real & ~medium_of(values, real, step)[:, None, None, None]
    if np.ptp(values[tissue]) == 0:
        tissue = real
    if finest is not None:
        level, spread = finest.level, finest.spread
    else:
        level, spread = _level_and_spread(values[tissue], step)
    stats = IntensityStats(level, spread, 0.0, 0.0, low, high, 1.0 - float(finite.mean()))
    normal = normalize(values, stats)
    noise = _noise(normal, tissue)
    floor = step / spread / np.sqrt(12)  # quantisation alone has this sigma
    return IntensityStats(
        level=level,
        spread=spread,
        noise=float(max(noise, floor)),
        variance=float(np.var(normal[real], dtype=np.float64)),
        minimum=low,
        maximum=high,
        nonfinite=stats.nonfinite,
    )


def _level_and_spread(tissue: NDArray[np.floating], step: float) -> tuple[float, float]:
    """Median and 1.4826 MAD of values that were rounded to a step, as if they had not been.

    Dark backgrounds of a few counts have a MAD of 0 as they stand. Spreading each value evenly over
    its step (seeded) makes both statistics continuous and keeps the spread above 0.37 steps.

    A tenth of bright voxels would still raise the MAD by a seventh, so values beyond 5 spreads are
    left out and both are taken again until nothing changes (a few rounds).
    """
    few = thinned(tissue)
    rng = np.random.Generator(np.random.Philox(key=[_SEED, 1]))
    kept = few + step * (rng.random(few.shape, dtype=np.float32) - 0.5)
    # Mostly one value, yet finely graded elsewhere: keep the brightest within about asinh(2000).
    low, high = np.quantile(few, [0.001, 0.999])
    floor = max(float(high - low), float(np.ptp(tissue)) / 100) / 2000
    level, spread = 0.0, floor
    for _ in range(ROUNDS):
        level = float(np.median(kept))
        distance = np.abs(kept - level)
        spread = max(MAD_TO_SIGMA * float(np.median(distance)), floor)
        inside = distance <= OUTLIER_SPREADS * spread
        if inside.all():
            break
        kept = kept[inside]
    return level, spread


def _step(values: NDArray[np.floating]) -> float:
    """The quantisation step: the smallest distance between two different values of a subsample."""
    few = thinned(values)
    distances = np.diff(np.unique(few))
    return float(distances.min()) if distances.size else 0.0


def _noise(normal: NDArray[np.floating], tissue: NDArray[np.bool_]) -> float:
    """Standard deviation of white noise with the same median absolute second difference along x.

    Smooth structure has small second differences; white noise of sigma s has sqrt(6) s.
    """
    if normal.shape[-1] < 3:
        return 0.0
    second = normal[..., 2:] - 2 * normal[..., 1:-1] + normal[..., :-2]
    inside = tissue[..., 2:] & tissue[..., 1:-1] & tissue[..., :-2]
    if not inside.any():
        return 0.0
    return float(MAD_TO_SIGMA * np.median(np.abs(thinned(second[inside]))) / np.sqrt(6))
