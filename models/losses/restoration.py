"""Losses of a restored image: errors, structural similarity, gradients, frequencies.

Images are first scaled as the metric scales them (the target's 1st percentile at 0, its 99.9th at
1, no clipping), so that the terms weigh the same in dim and bright crops.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

WINDOW = 7
"""Side of SSIM's uniform window in voxels, as in the metric."""
_TINY = 1e-10  # of a mean square error: 100 dB


def restoration_loss(
    found: Tensor, target: Tensor, counts: Tensor | None = None, span: Tensor | None = None
) -> dict[str, Tensor]:
    """Compare restored crops with their targets.

    Shapes: B batch, C channels, Z Y X voxels.

    Args:
        found: [B, C, Z, Y, X], intensities in the target's unit. target: the same.
        counts: [B, Z, Y, X] bool, True = counts; None = all. The others change neither loss nor
            gradient.
        span: [B], of the target between its percentiles, where crops are parts of a volume whose
            span is the one that counts; None = that of each crop.

    Returns:
        Scalars in fp32, not yet weighed. "l1": mean absolute error. "rmse": root of the mean square
        error, on which PSNR stands; of the whole batch. "ssim": 1 - SSIM in the window
        of the metric, thinner along each axis that is too short for it. "gradient": mean absolute
        error of differences between neighbours, all axes. "frequency": mean absolute error of the
        real and imaginary parts of the orthonormal 3D Fourier transform (Cho et al., ICCV 2021,
        arXiv 2108.05054). A target without range between its percentiles is left unscaled. All 0
        where nothing counts.
    """
    if counts is None:
        counts = torch.ones_like(target[:, 0], dtype=torch.bool)
    where = rearrange(counts, "b ... -> b 1 ...")
    found, target = torch.where(where, found.float(), 0.0), torch.where(where, target.float(), 0.0)
    low, own = _range(target, counts)
    span = own if span is None else rearrange(span.float(), "b -> b 1 1 1 1")
    found = torch.where(where, (found - low) / span, 0.0)
    target = torch.where(where, (target - low) / span, 0.0)

    error = found - target
    spectrum = torch.view_as_real(torch.fft.rfftn(error, dim=(-3, -2, -1), norm="ortho"))
    # An error of one size on a share of the voxels only has a spectrum of sqrt(share) that size.
    share = where.float().mean().clamp(min=1 / where.numel())
    return {
        "l1": _mean(error.abs(), where),
        # Shifted along and back: the root itself is infinitely steep at 0.
        "rmse": (_mean(error.square(), where) + _TINY).sqrt() - _TINY**0.5,
        "ssim": _ssim_loss(found, target, where),
        "gradient": _gradient_loss(error, where),
        "frequency": spectrum.abs().mean() / share.sqrt(),
    }


@torch.no_grad()
def _range(target: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The 1st percentile and what lies from it to the 99.9th, each [B, C, 1, 1, 1]."""
    low, high = torch.zeros_like(target[:, :, 0, 0, 0]), torch.ones_like(target[:, :, 0, 0, 0])
    for sample in range(len(target)):
        voxels = target[sample, :, counts[sample]]  # [C, voxels that count]
        if voxels.shape[1]:
            low[sample] = _percentile(voxels, 1)
            high[sample] = _percentile(voxels, 99.9)
    span = torch.where(high > low, high - low, 1.0)
    return low.view(*low.shape, 1, 1, 1), span.view(*span.shape, 1, 1, 1)


def _percentile(voxels: Tensor, percent: float) -> Tensor:
    """[C, V] -> [C], between the two nearest voxels, as numpy; torch.quantile stops at 2^24."""
    place = percent / 100 * (voxels.shape[1] - 1)
    below = voxels.kthvalue(int(place) + 1, dim=1).values
    above = voxels.kthvalue(min(int(place) + 2, voxels.shape[1]), dim=1).values
    return torch.lerp(below, above, place - int(place))


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of [B, C, ...] over where [B, 1, ...] holds; 0 where it holds nowhere."""
    total = torch.where(where, values, 0.0).sum()
    return total / (where.sum() * values.shape[1]).clamp(min=1)


def _gradient_loss(error: Tensor, where: Tensor) -> Tensor:
    """Differences are linear: those of the error are the errors of the differences."""
    total, pairs = error.new_zeros(()), where.new_zeros((), dtype=torch.long)
    for axis in (2, 3, 4):
        length = error.shape[axis] - 1
        both = where.narrow(axis, 0, length) & where.narrow(axis, 1, length)
        total = total + torch.where(both, error.diff(dim=axis).abs(), 0.0).sum()
        pairs = pairs + both.sum()
    return total / (pairs * error.shape[1]).clamp(min=1)


def _ssim_loss(found: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """1 - SSIM (Wang et al., 2004) over windows that count wholly; range 1.

    With sums along one axis after the other: MONAI's SSIMLoss convolves with the whole 3D window,
    9 times as long at a side of 7 and 29 times at its own 11 (64^3, one core, both directions).
    """
    sides = [min(WINDOW, size - (size + 1) % 2) for size in found.shape[2:]]
    voxels = sides[0] * sides[1] * sides[2]

    def window_mean(values: Tensor) -> Tensor:
        for axis, side in enumerate(sides):
            kernel = [1, 1, 1]
            kernel[axis] = side
            values = F.avg_pool3d(values, kernel, stride=1)
        return values

    found_mean, target_mean = window_mean(found), window_mean(target)
    sample = voxels / max(voxels - 1, 1)  # unbiased, as scikit-image
    found_var = sample * (window_mean(found.square()) - found_mean.square())
    target_var = sample * (window_mean(target.square()) - target_mean.square())
    covariance = sample * (window_mean(found * target) - found_mean * target_mean)
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * found_mean * target_mean + c1) * (2 * covariance + c2)) / (
        (found_mean.square() + target_mean.square() + c1) * (found_var + target_var + c2)
    )
    # The count of voxels, rounded: a mean of ones may differ from 1 in the last bit.
    whole = (window_mean(where.float()) * voxels).round() == voxels
    return _mean(1 - similarity, whole)
