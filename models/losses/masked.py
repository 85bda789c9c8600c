"""The masked-reconstruction loss: per-patch targets with a variance floor, and intensities.

Plain per-patch normalisation turns empty background into unit-variance noise, and more than half of
a light-sheet volume is empty; here the volume's noise floors the variance and weighs the patch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..masked_decoder import MaskedPrediction


class PatchTargets(NamedTuple):
    """What the decoder should say about each patch. Shapes: B batch, Q patches, P voxels.

    values: [B, Q, P], (x - mean) / sqrt(variance + noise^2).
    mean: [B, Q]. log_std: [B, Q], log of that square root.
    weight: [B, Q] in 0..1, max(0, 1 - noise^2 / variance): share of the variance that is no noise.
    floor: [B, Q] in 0..1, noise^2 / (variance + noise^2): power of the noise inside `values`.
    """

    values: Tensor
    mean: Tensor
    log_std: Tensor
    weight: Tensor
    floor: Tensor


# Guards a volume whose measured noise is zero (simulated, quantised): a deviation of a hundredth of
# the volume's spread is nothing.
SMALLEST_NOISE = 0.01


def patch_targets(target_patches: Tensor, noise: Tensor) -> PatchTargets:
    """Normalise patches by their own mean and deviation, with the noise as floor.

    Args:
        target_patches: [B, Q, P] voxels in normalised intensity.
        noise: [B], deviation of the noise in the same unit.
    """
    x = target_patches.float()
    noise_variance = noise.float().clamp(min=SMALLEST_NOISE).square()[:, None]
    mean = x.mean(dim=-1)
    centred = x - mean[..., None]
    variance = centred.square().mean(dim=-1)  # several times as fast as torch.var on a CPU
    total = variance + noise_variance
    values = centred * total.rsqrt()[..., None]
    # 1 - noise^2 / variance, with 0 where the variance is under the noise (also where it is 0).
    weight = 1 - noise_variance / torch.maximum(variance, noise_variance)
    return PatchTargets(values, mean, 0.5 * total.log(), weight, noise_variance / total)


def mean_over_samples(per_patch: Tensor, query_mask: Tensor) -> Tensor:
    """Mean over each sample's valid patches, then over samples.

    Args:
        per_patch: [B, Q].
        query_mask: [B, Q] bool, True = a real hidden patch.

    Returns:
        A scalar. A mean over ranks or micro-batches of equal size equals the mean over all of them.
    """
    # where, not a product: an error of inf at a patch that does not count must not become nan.
    total = torch.where(query_mask, per_patch, 0.0).sum(-1)
    return (total / query_mask.sum(-1).clamp(min=1)).mean()


def masked_patch_loss(
    prediction: MaskedPrediction, target_patches: Tensor, noise: Tensor, query_mask: Tensor
) -> dict[str, Tensor]:
    """Compare rebuilt hidden patches with what was there.

    Shapes: B batch, Q queried patches, P voxels of a patch.

    Args:
        prediction: of the decoder.
        target_patches: [B, Q, P] voxels in normalised intensity, of the same patches.
        noise: [B], deviation of the volume's noise in normalised intensity.
        query_mask: [B, Q] bool, True = counts.

    Returns:
        Scalars: "patch" squared error of values, weighed by how much of the patch is no noise;
        "intensity" squared error of the rebuilt voxels in normalised intensity (what the judged
        masked error measures); "mean" and "log_std" squared errors of the two numbers.
    """
    target = patch_targets(target_patches, noise)
    values_error = _mean_square(prediction.values.float(), target.values)
    voxel_error = _mean_square(prediction.voxels(), target_patches.float())
    per_patch = {
        "patch": values_error * target.weight,
        "intensity": voxel_error,
        "mean": (prediction.mean.float() - target.mean).square(),
        "log_std": (prediction.log_std.float() - target.log_std).square(),
    }
    return {name: mean_over_samples(error, query_mask) for name, error in per_patch.items()}


def _mean_square(rebuilt: Tensor, wanted: Tensor) -> Tensor:
    """[B, Q, P] twice -> [B, Q]."""
    return F.mse_loss(rebuilt, wanted, reduction="none").mean(dim=-1)
