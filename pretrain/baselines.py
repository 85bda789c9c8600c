"""The two trivial predictors that a masked model has to beat.

Both see exactly what the encoder sees: the visible voxels of the same crop under the same mask.
"""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from torch import Tensor

from ..models.position import token_positions_um
from .masking import Masks

NEIGHBOURS = 8


def visible_mean(patches: Tensor, masks: Masks) -> Tensor:
    """Predict every hidden voxel as the mean of the visible ones.

    Args:
        patches: [B, N, P], normalised intensity.
        masks: kept tokens and queries.

    Returns:
        [B, Q, P].
    """
    means, real = _visible_patch_means(patches, masks)
    mean = (means * real).sum(1) / real.sum(1)  # [B]
    return rearrange(mean, "b -> b 1 1").expand(-1, masks.query.shape[1], patches.shape[2])


def inverse_distance(
    patches: Tensor,
    masks: Masks,
    grid: tuple[int, int, int],
    patch: tuple[int, int, int],
    voxel_size_um: Tensor,
) -> Tensor:
    """Interpolate each hidden voxel from the 8 nearest visible patch means, weights 1 / distance^2.

    Distances run from the voxel itself to the patch centres, in micrometres. This is Shepard's
    method (1968) with power 2, and stronger than one value a patch: it also follows gradients
    inside it.

    Args:
        patches: [B, N, P], normalised intensity.
        masks: kept tokens and queries.
        grid: tokens along (z, y, x).
        patch: voxels of a token along (z, y, x).
        voxel_size_um: [B, 3].

    Returns:
        [B, Q, P].
    """
    means, real = _visible_patch_means(patches, masks)
    centres = token_positions_um(grid, patch, voxel_size_um)  # [B, N, 3]
    seen = torch.take_along_dim(centres, masks.keep[:, :, None], dim=1)  # [B, K, 3]
    hidden = torch.take_along_dim(centres, masks.query[:, :, None], dim=1)  # [B, Q, 3]
    far = torch.cdist(hidden, seen).masked_fill(~real[:, None, :].bool(), torch.inf)
    count = min(NEIGHBOURS, seen.shape[1])
    nearest = far.topk(count, largest=False)  # [B, Q, 8]

    offsets = _voxel_offsets(patch, voxel_size_um)  # [B, P, 3]
    total = torch.zeros(*masks.query.shape, patches.shape[2], device=patches.device)
    weights = torch.zeros_like(total)
    for which in range(count):
        index = nearest.indices[:, :, which]  # [B, Q]
        centre = torch.take_along_dim(seen, index[:, :, None], dim=1)
        away = hidden[:, :, None] + offsets[:, None] - centre[:, :, None]  # [B, Q, P, 3]
        weight = 1 / away.square().sum(-1)
        weight = weight * torch.isfinite(nearest.values[:, :, which])[:, :, None]
        total += weight * torch.take_along_dim(means, index, dim=1)[:, :, None]
        weights += weight
    return total / weights


def _visible_patch_means(patches: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
    """[B, K] means of the kept patches, and [B, K] 1.0 where the slot is real."""
    kept = torch.take_along_dim(patches, masks.keep[:, :, None], dim=1)
    means = reduce(kept, "b k p -> b k", "mean")
    real = torch.ones_like(means) if masks.keep_real is None else masks.keep_real.to(means.dtype)
    return means, real


def _voxel_offsets(patch: tuple[int, int, int], voxel_size_um: Tensor) -> Tensor:
    """[B, P, 3] positions of a patch's voxels from its centre, z-major, in micrometres."""
    axes = [torch.arange(edge, device=voxel_size_um.device) + 0.5 - edge / 2 for edge in patch]
    mesh = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return rearrange(mesh, "z y x a -> 1 (z y x) a") * voxel_size_um[:, None, :]
