"""What becomes of camera counts before anybody opens the file: the steps of usual pipelines.

Stitching and resampling interpolate, which smooths noise as well; backgrounds are subtracted and
cut at zero; files are squeezed into 8 bits. A model that only ever saw raw counts is surprised.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .settings import Optics, per_voxel

_SAMPLED = 50_000
_WHITE = 0.9995  # the quantile that 8-bit files show as white


def store(counts: Tensor, optics: Optics) -> Tensor:
    """Smooth, subtract and squeeze counts as a pipeline did, where `optics` says so.

    Args:
        counts: [B, Z, Y, X] whole camera counts.
        optics: `smoothing_px`, `subtracted` and `eight_bit` of the B samples.

    Returns:
        [B, Z, Y, X] float32 whole numbers, not negative.
    """
    out = counts
    if bool((optics.smoothing_px > 0).any()):
        out = _smooth(out, optics.smoothing_px)
    chosen = per_voxel(optics.subtracted)
    if bool((chosen > 0).any()):
        out = torch.where(chosen > 0, (out - _quantile(out, chosen)).clamp(min=0), out)
    squeezed = per_voxel(optics.eight_bit) > 0
    if bool(squeezed.any()):
        white = _quantile(out, torch.full_like(chosen, _WHITE)).clamp(min=1)
        out = torch.where(squeezed, (out * (255 / white)).clamp(max=255), out)
    return out.round()


def _smooth(counts: Tensor, sigma_px: Tensor) -> Tensor:
    """Blur by `sigma_px` [B], 1.15 at most, along all axes, by taps of just that variance."""
    # Taps (s, 1 - 2 s, s) have the variance 2 s; two passes add up.
    share = (sigma_px.square() / 4).clamp(max=1 / 3)[:, None, None, None]
    for axis in (1, 2, 3, 1, 2, 3):
        first, last = counts.narrow(axis, 0, 1), counts.narrow(axis, counts.shape[axis] - 1, 1)
        low = torch.cat([first, counts.narrow(axis, 0, counts.shape[axis] - 1)], dim=axis)
        high = torch.cat([counts.narrow(axis, 1, counts.shape[axis] - 1), last], dim=axis)
        counts = (1 - 2 * share) * counts + share * (low + high)
    return counts


def _quantile(counts: Tensor, level: Tensor) -> Tensor:
    """[B, 1, 1, 1], a quantile of each sample at its own level [B, 1, 1, 1], from some voxels."""
    flat = counts.flatten(1)
    flat = flat[:, :: max(1, math.ceil(flat.shape[1] / _SAMPLED))].sort(dim=1).values
    index = (level.flatten() * (flat.shape[1] - 1)).long()
    return flat.gather(1, index[:, None])[:, :, None, None]
