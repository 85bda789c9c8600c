"""Where tokens lie, in micrometres, and the rotary position that tells attention.

Attention sees differences of positions in um only, so crop size, crop shape and voxel size are
free, and nothing is learnt per place. Rotary position: RoFormer, arXiv 2104.09864; here for three
axes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .patch_embed import Grid, split_index


def token_pitch_um(patch: tuple[int, int, int], voxel_size_um: Tensor) -> Tensor:
    """Distance between neighbouring tokens: patch (pz, py, px) and [B, 3] um -> [B, 3] um."""
    return torch.stack([voxel_size_um[:, axis] * patch[axis] for axis in range(3)], dim=-1)


def positions_of(index: Tensor, grid: Grid, pitch_um: Tensor) -> Tensor:
    """Centres of the named tokens, from the corner of the crop.

    Args:
        index: [B, K] int64, z-major token numbers.
        grid: tokens along (z, y, x).
        pitch_um: [B, 3], token pitch (z, y, x) in um.

    Returns:
        [B, K, 3] float32, (i + 0.5) * pitch along (z, y, x), in um.
    """
    place = torch.stack(split_index(index, grid[1], grid[2]), dim=-1)
    return (place + 0.5) * pitch_um.float()[:, None]


def token_positions_um(grid: Grid, patch: tuple[int, int, int], voxel_size_um: Tensor) -> Tensor:
    """Centres of all tokens of a crop, z-major: voxel_size_um [B, 3] -> [B, N, 3] in um."""
    count = grid[0] * grid[1] * grid[2]
    index = torch.arange(count, device=voxel_size_um.device).expand(voxel_size_um.shape[0], count)
    return positions_of(index, grid, token_pitch_um(patch, voxel_size_um))


class RotaryTable(NamedTuple):
    """By which angle each token's position turns each pair of dimensions of a head; float32.

    cos, sin: [B, T, 1, D/2].
    turn: [B, T, 1, D/2] complex64, cos + i sin; None under a compiler, which knows no complex
        numbers and fuses the products instead.
    """

    cos: Tensor
    sin: Tensor
    turn: Tensor | None


def rotary_table(
    positions_um: Tensor, pitch_um: Tensor, head_dim: int, wavelengths_um: tuple[float, float]
) -> RotaryTable:
    """Phases 2 pi p / wavelength for every token and pair of dimensions.

    Each axis has head_dim // 6 wavelengths, log-spaced over `wavelengths_um`; pairs left over are
    not turned. A wavelength under twice the present token pitch on its axis would alias: it is
    switched off (phase 0) for that sample.

    Args:
        positions_um: [B, T, 3].
        pitch_um: [B, 3], distance between neighbouring tokens.
        head_dim: D, dimensions of one head.
        wavelengths_um: shortest and longest.
    """
    bands = head_dim // 6
    positions_um, pitch_um = positions_um.float(), pitch_um.float()
    # Made here from two numbers, not kept as a buffer: a cast of the model to bf16 would round it.
    step = torch.arange(bands, device=positions_um.device, dtype=torch.float32) / max(bands - 1, 1)
    low, high = wavelengths_um
    wavelength = low * torch.exp(step * math.log(high / low))
    resolved = wavelength >= 2 * pitch_um[..., None]  # [B, 3, bands]
    rate = torch.where(resolved, 2 * math.pi / wavelength, 0.0)
    phase = (positions_um[..., None] * rate[:, None]).flatten(2)  # [B, T, 3 * bands]
    phase = torch.nn.functional.pad(phase, (0, head_dim // 2 - 3 * bands))[:, :, None]
    cos, sin = phase.cos(), phase.sin()
    return RotaryTable(cos, sin, None if torch.compiler.is_compiling() else torch.complex(cos, sin))


def rotate(x: Tensor, table: RotaryTable) -> Tensor:
    """Turn pairs (2d, 2d + 1) of x [B, T, H, D] by the table's angles; gives float32."""
    pairs = x.float().unflatten(-1, (-1, 2))
    if table.turn is None:
        first, second = pairs.unbind(-1)
        turned = torch.stack(
            [
                first * table.cos - second * table.sin,
                first * table.sin + second * table.cos,
            ],
            dim=-1,
        )
    else:  # one pass as well, and on a CPU four times as fast as four products
        turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * table.turn)
    return turned.flatten(-2)


def rotate_back(x: Tensor, table: RotaryTable) -> Tensor:
    """The inverse of `rotate`."""
    turn = None if table.turn is None else table.turn.conj()
    return rotate(x, RotaryTable(table.cos, -table.sin, turn))
