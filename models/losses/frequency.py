"""The frequency term: rebuilt patches should carry the right amount of detail.

A squared error alone is smallest for a blurred guess. Idea: focal frequency loss, arXiv 2012.12821,
and its use for microscopy in arXiv 2404.10242; here over the decoded patches themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..masked_decoder import MaskedPrediction
from .masked import mean_over_samples, patch_targets

EVERY = 4
"""Each so-many-th decoded patch enters. Fourier transforms of all cost as much as the decoder."""


def frequency_loss(
    prediction: MaskedPrediction,
    target_patches: Tensor,
    noise: Tensor,
    query_mask: Tensor,
    patch: tuple[int, int, int],
) -> Tensor:
    """Mean absolute difference of log magnitudes of the 3D Fourier transforms of patches.

    Args:
        prediction: of the decoder, values [B, Q, pz*py*px].
        target_patches: [B, Q, pz*py*px] voxels in normalised intensity.
        noise: [B], deviation of the volume's noise in normalised intensity.
        query_mask: [B, Q] bool, True = counts.
        patch: (pz, py, px) voxels.

    Returns:
        A scalar, over each `EVERY`-th patch; patches that are mostly noise weigh little, as in the
        masked loss.
    """
    target = patch_targets(target_patches[:, ::EVERY], noise)
    # The noise has the same expected power in every coefficient: differences under it say nothing.
    floor = target.floor[..., None]
    wanted = _log_magnitude(target.values, patch, floor)
    rebuilt = _log_magnitude(prediction.values[:, ::EVERY].float(), patch, floor)
    difference = (rebuilt - wanted).abs().mean(-1)
    return mean_over_samples(difference * target.weight, query_mask[:, ::EVERY])


def _log_magnitude(patches: Tensor, patch: tuple[int, int, int], floor: Tensor) -> Tensor:
    """[B, Q, pz*py*px] -> [B, Q, F], log of |FFT| (orthonormal) with a floor of its power."""
    spectrum = torch.fft.rfftn(patches.unflatten(-1, patch), dim=(-3, -2, -1), norm="ortho")
    power = torch.view_as_real(spectrum).square().sum(-1).flatten(-3)
    return 0.5 * (power + floor).log()
