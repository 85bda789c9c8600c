"""Voxels to patches and back, in one order: tokens z-major, voxels z-major inside a patch.

Mask, targets, positions and tokens all go through these functions, so they cannot disagree about
which voxels a token stands for (the bug that cubic crops hide).
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from ..configs.errors import InputError

Grid = tuple[int, int, int]


def token_grid(shape: tuple[int, ...] | torch.Size, patch: tuple[int, int, int]) -> Grid:
    """Tokens along (z, y, x) of a crop.

    Args:
        shape: any shape that ends in (Z, Y, X) voxels.
        patch: (pz, py, px) voxels.

    Raises:
        InputError: a side is no whole number of patches.
    """
    sides = shape[-3:]
    for axis, side, size in zip("zyx", sides, patch, strict=True):
        if side < size or side % size:
            raise InputError(
                f"crop has {side} voxels along {axis}, expected a multiple of the patch size "
                f"{size}; change crop.shape or encoder.patch"
            )
    return sides[0] // patch[0], sides[1] // patch[1], sides[2] // patch[2]


def patchify(crop: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """[B, C, Z, Y, X] -> [B, N, C*pz*py*px], tokens z-major."""
    token_grid(crop.shape, patch)
    pz, py, px = patch
    return rearrange(
        crop, "b c (gz pz) (gy py) (gx px) -> b (gz gy gx) (c pz py px)", pz=pz, py=py, px=px
    )


def unpatchify(patches: Tensor, grid: Grid, patch: tuple[int, int, int]) -> Tensor:
    """[B, N, C*pz*py*px] -> [B, C, Z, Y, X]; the inverse of `patchify`."""
    gz, gy, gx = grid
    pz, py, px = patch
    return rearrange(
        patches,
        "b (gz gy gx) (c pz py px) -> b c (gz pz) (gy py) (gx px)",
        gz=gz,
        gy=gy,
        gx=gx,
        pz=pz,
        py=py,
        px=px,
    )


def gather_patches(crop: Tensor, patch: tuple[int, int, int], index: Tensor) -> Tensor:
    """Cut only the named patches: `patchify(crop, patch)` at `index`, without the others.

    Args:
        crop: [B, C, Z, Y, X].
        patch: (pz, py, px) voxels.
        index: [B, K] int64, z-major token numbers.

    Returns:
        [B, K, C*pz*py*px].
    """
    batch, channels, depth, height, _ = crop.shape
    _, gy, gx = token_grid(crop.shape, patch)
    pz, py, px = patch

    def count(length: int) -> Tensor:
        return torch.arange(length, device=crop.device)

    # The crop as rows of px voxels, numbered (b, c, z, y, gx): a patch is c*pz*py of them. One flat
    # selection of rows is three times as fast on a CPU as indexing along four axes.
    z, y, x = split_index(index, gy, gx)
    volume = depth * height * gx
    first = (z * pz * height + y * py) * gx + x + count(batch)[:, None] * (channels * volume)
    inside = (count(pz)[:, None] * height + count(py)) * gx
    inside = count(channels)[:, None, None] * volume + inside
    rows = first[..., None] + inside.flatten()
    chosen = crop.reshape(-1, px).index_select(0, rows.flatten())
    return chosen.view(batch, index.shape[1], -1)


def split_index(index: Tensor, gy: int, gx: int) -> tuple[Tensor, Tensor, Tensor]:
    """Z-major token numbers -> their (z, y, x) places on the token grid, same shape each."""
    z = torch.div(index, gy * gx, rounding_mode="floor")
    y = torch.div(index, gx, rounding_mode="floor") % gy
    return z, y, index % gx


class PatchEmbed(nn.Module):
    """Linear embedding of raw normalised voxels: no voxel of one patch reaches another's token.

    Args:
        patch_voxels: voxels (times channels) in one patch.
        width: of the tokens.
    """

    def __init__(self, patch_voxels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(patch_voxels, width)
        nn.init.xavier_uniform_(self.proj.weight)
        # The blocks normalise each token's length away. A constant part beside the linear one keeps
        # the patch's brightness readable after that, and empty patches are not zero vectors.
        nn.init.normal_(self.proj.bias, std=1.0)

    def forward(self, patches: Tensor) -> Tensor:
        """[B, K, P] -> [B, K, D]."""
        return self.proj(patches)
