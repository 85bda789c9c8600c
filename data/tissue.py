"""Which part of an intensity sample is tissue: neither constant padding nor empty medium.

Apart from `normalize.py` because the scale of a volume stands or falls with this choice: medium
around the tissue would otherwise set the level, and how much of it a volume holds would move it.
"""

from __future__ import annotations

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

Blocks = NDArray[np.floating]

ESTIMATE_VOXELS = 200_000  # give a median to 0.3 % of a standard deviation
BLOCK_VOXELS = 16  # edge of a block: larger than cells and vessels, so that its median is tissue
PADDING_SHARE = 0.01  # a minimum that fills less than this is no padding
MEDIUM_SHARE = 0.02  # of the blocks, at least
TISSUE_SHARE = 0.05  # of the blocks; less may be one thick vessel, and the rest the tissue
MEDIUM_FLATNESS = 0.1  # the medium's MAD relative to its distance from the tissue


def to_blocks(crop: NDArray, edge: int = BLOCK_VOXELS) -> NDArray:
    """Cut [Z, Y, X] into equal blocks of about `edge` voxels a side.

    Returns:
        [N, z, y, x]. Sides that do not divide lose the fewest voxels, half at each end.
    """
    cut, counts = [], []
    for side in crop.shape:
        count = max(1, round(side / edge))
        block = side // count
        start = (side - count * block) // 2
        cut.append(slice(start, start + count * block))
        counts.append(count)
    return rearrange(
        crop[tuple(cut)],
        "(nz z) (ny y) (nx x) -> (nz ny nx) z y x",
        nz=counts[0],
        ny=counts[1],
        nx=counts[2],
    )


def padding_of(blocks: Blocks) -> NDArray[np.bool_]:
    """Find constant padding: the minimum, where it fills whole neighbourhoods of 3x3x3 voxels.

    A quantised dark background also holds its minimum often, but never in whole neighbourhoods.

    Args:
        blocks: [N, z, y, x]; NaN is not padding.

    Returns:
        [N, z, y, x], True on padding.
    """
    lowest = blocks == np.nanmin(blocks)
    if lowest.mean() < PADDING_SHARE:
        return np.zeros_like(lowest)
    opened = _spread(_spread(lowest, np.logical_and), np.logical_or)
    return opened if opened.mean() >= PADDING_SHARE else np.zeros_like(lowest)


def _spread(mask: NDArray[np.bool_], join: np.ufunc) -> NDArray[np.bool_]:
    """Join every voxel with its two neighbours along z, y and x, one axis after the other."""
    for axis in (1, 2, 3):
        joined = mask.copy()
        here, there = [slice(None)] * 4, [slice(None)] * 4
        here[axis], there[axis] = slice(1, None), slice(None, -1)
        before, after = tuple(here), tuple(there)
        joined[before] = join(joined[before], mask[after])
        joined[after] = join(joined[after], mask[before])
        mask = joined
    return mask


def medium_of(blocks: Blocks, real: NDArray[np.bool_], step: float = 0.0) -> NDArray[np.bool_]:
    """Find blocks of empty medium: dark, flat, and clearly apart from the rest.

    Block medians are split in two by Otsu's threshold. The low class is medium when it holds at
    least 2 % of the blocks and the other 5 %, and its voxels' MAD is at most 10 % of the distance
    between the classes. A structure narrower than half a block does not move a block's median, so
    bright structures on a dark background never count as "the tissue".

    Args:
        blocks: [N, z, y, x].
        real: [N, z, y, x], False on padding and on voxels without a value.
        step: quantisation step of the values; classes a count or two apart are one class.

    Returns:
        [N], True on blocks of medium.
    """
    filled = real.mean(axis=(1, 2, 3)) > 0.5
    if filled.sum() < 2:
        return np.zeros(len(blocks), dtype=bool)
    medians = np.full(len(blocks), np.nan)
    whole = real.all(axis=(1, 2, 3))
    medians[whole] = np.median(rearrange(blocks[whole], "n z y x -> n (z y x)"), axis=1)
    for i in np.flatnonzero(filled & ~whole):
        medians[i] = np.median(blocks[i][real[i]])
    threshold = _otsu(medians[filled])
    low, high = filled & (medians <= threshold), filled & (medians > threshold)
    shares = low.sum() / filled.sum(), high.sum() / filled.sum()
    if shares[0] < MEDIUM_SHARE or shares[1] < TISSUE_SHARE:
        return np.zeros(len(blocks), dtype=bool)
    gap = np.median(medians[high]) - np.median(medians[low])
    dark = thinned(blocks[low][real[low]])
    # Values spread evenly over a step have a MAD of a quarter of it.
    mad = np.median(np.abs(dark - np.median(dark))) + step / 4
    return low if gap > 0 and mad <= MEDIUM_FLATNESS * gap else np.zeros(len(blocks), dtype=bool)


def thinned(values: NDArray) -> NDArray:
    """Every n-th of the values (1D), so that at most `ESTIMATE_VOXELS` are left."""
    return values[:: -(-values.size // ESTIMATE_VOXELS) or 1]


def _otsu(values: NDArray[np.floating]) -> float:
    """The cut between sorted values that leaves the least variance inside the two classes."""
    ordered = np.sort(values.astype(np.float64))
    count = np.arange(1, len(ordered))
    below = np.cumsum(ordered)[:-1]
    mean_low = below / count
    mean_high = (ordered.sum() - below) / (len(ordered) - count)
    between = count * (len(ordered) - count) * (mean_high - mean_low) ** 2
    return float(ordered[int(np.argmax(between))])
