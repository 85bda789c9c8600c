"""The 3D ViT encoder: kept patches in, tokens out. Hidden voxels never reach it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .block import Block, init_linear
from .patch_embed import Grid, PatchEmbed, gather_patches, patchify, token_grid
from .position import RotaryTable, positions_of, rotary_table, token_pitch_um
from .sizes import EncoderConfig


class Encoded(NamedTuple):
    """What an encoder gives. Shapes: B batch, K encoded tokens, D width, R prefix tokens.

    tokens: [B, K, D], one per encoded patch, in the order of `keep`.
    prefix: [B, R, D]: CLS, acquisition, registers (R = 0 for convolutional encoders).
    positions_um: [B, K, 3], centres of the patches from the corner of the crop, (z, y, x).
    pitch_um: [B, 3], token pitch. In voxels, like positions, where the spacing was not known.
    grid: tokens of the whole crop along (z, y, x).
    key_mask: [B, K] bool, True = real, False = padding; None = all real.
    """

    tokens: Tensor
    prefix: Tensor
    positions_um: Tensor
    pitch_um: Tensor
    grid: Grid
    key_mask: Tensor | None

    def query_positions_um(self, index: Tensor) -> Tensor:
        """Centres of other tokens of these crops, in the same units: index [B, Q] -> [B, Q, 3]."""
        return positions_of(index, self.grid, self.pitch_um)


def known_voxel_size(voxel_size_um: Tensor, spacing_known: Tensor) -> Tensor:
    """[B, 3] um, and 1 (index units) on every axis of the samples with spacing_known [B] False."""
    return torch.where(spacing_known[:, None], voxel_size_um.float(), 1.0)


class Acquisition(nn.Module):
    """How the crop was sampled, as one token: an MLP of log voxel size, or a learned "unknown"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            init_linear(nn.Linear(3, width)), nn.SiLU(), init_linear(nn.Linear(width, width))
        )
        self.unknown = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, voxel_size_um: Tensor, spacing_known: Tensor) -> Tensor:
        """[B, 3] um, [B] bool -> [B, 1, D]."""
        size = known_voxel_size(voxel_size_um, spacing_known).log().to(self.unknown.dtype)
        token = self.mlp(size)
        return torch.where(spacing_known[:, None], token, self.unknown.to(token.dtype))[:, None]


class Encoder(nn.Module):
    """3D ViT with rotary positions in um, CLS, acquisition and register tokens.

    Set `checkpoint_activations` to recompute blocks in the backward pass: less memory, a third more
    time.

    Args:
        config: dimensions.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpoint_activations = False
        self.patch_embed = PatchEmbed(config.patch_voxels, config.width)
        self.acquisition = Acquisition(config.width)
        # CLS first, then the registers (arXiv 2309.16588).
        self.extra_tokens = nn.Parameter(torch.randn(1 + config.registers, config.width) * 0.02)
        rates = [config.drop_path * i / max(config.depth - 1, 1) for i in range(config.depth)]
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, config.layer_scale, rate)
            for rate in rates
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(
        self,
        crop: Tensor,
        voxel_size_um: Tensor,
        spacing_known: Tensor,
        keep: Tensor | None = None,
        key_mask: Tensor | None = None,
    ) -> Encoded:
        """Encode the kept patches of each crop.

        Shapes: B batch, Z Y X voxels, N tokens of the crop (z-major), K kept ones, D width.

        Args:
            crop: [B, 1, Z, Y, X], normalised intensity.
            voxel_size_um: [B, 3], (z, y, x) in um; ignored where it is not known.
            spacing_known: [B] bool.
            keep: [B, K] int64, z-major numbers of the tokens to encode; None = all N.
            key_mask: [B, K] bool, False = padding, which reaches no other token.

        Raises:
            InputError: Z, Y or X is no multiple of the patch size.
        """
        grid = token_grid(crop.shape, self.config.patch)
        if keep is None:
            count = grid[0] * grid[1] * grid[2]
            keep = torch.arange(count, device=crop.device).expand(crop.shape[0], count)
            patches = patchify(crop, self.config.patch)
        else:
            patches = gather_patches(crop, self.config.patch, keep)
        voxel_size = known_voxel_size(voxel_size_um, spacing_known)
        pitch = token_pitch_um(self.config.patch, voxel_size)
        positions = positions_of(keep, grid, pitch)
        acquisition = self.acquisition(voxel_size_um, spacing_known)
        prefix, tokens = self.encode_patches(patches, positions, pitch, acquisition, key_mask)
        return Encoded(tokens, prefix, positions, pitch, grid, key_mask)

    def encode_patches(
        self,
        patches: Tensor,
        positions_um: Tensor,
        pitch_um: Tensor,
        acquisition: Tensor,
        key_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The encoder on patches with coordinates of their own.

        Args:
            patches: [B, K, P] voxels.
            positions_um: [B, K, 3], from any origin.
            pitch_um: [B, 3].
            acquisition: [B, 1, D], see `Acquisition`.
            key_mask: [B, K] bool, False = padding.

        Returns:
            Prefix tokens [B, R, D] and patch tokens [B, K, D].
        """
        x, table, key_mask, count = self.enter(
            patches, positions_um, pitch_um, acquisition, key_mask
        )
        for block in self.blocks:
            x = self.run_block(block, x, table, key_mask)
        x = self.norm(x)
        return x[:, :count], x[:, count:]

    def enter(
        self,
        patches: Tensor,
        positions_um: Tensor,
        pitch_um: Tensor,
        acquisition: Tensor,
        key_mask: Tensor | None = None,
    ) -> tuple[Tensor, RotaryTable, Tensor | None, int]:
        """What the first block gets: tokens with prefix, positions, mask, number of prefix tokens.

        Arguments as `encode_patches`.
        """
        tokens = self.patch_embed(patches)
        extra = self.extra_tokens.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
        prefix = torch.cat([extra[:, :1], acquisition.to(tokens.dtype), extra[:, 1:]], dim=1)
        count = prefix.shape[1]
        # The prefix tokens are not turned, which places them at the origin: that is the centre of
        # the patches seen, so that moving all positions changes nothing.
        centred = positions_um - _centre(positions_um, key_mask)
        centred = nn.functional.pad(centred, (0, 0, count, 0))
        table = rotary_table(
            centred, pitch_um, self.config.width // self.config.heads, self.config.wavelengths_um
        )
        if key_mask is not None:
            key_mask = nn.functional.pad(key_mask, (count, 0), value=True)
        return torch.cat([prefix, tokens], dim=1), table, key_mask, count

    def run_block(
        self, block: nn.Module, x: Tensor, table: RotaryTable, key_mask: Tensor | None
    ) -> Tensor:
        """One block: [B, T, D] -> [B, T, D]; recomputed in the backward pass where that is set."""
        if self.checkpoint_activations and self.training:
            x = checkpoint(block, x, table, key_mask, use_reentrant=False)  # pyright: ignore
            return x
        return block(x, table, key_mask)


def _centre(positions_um: Tensor, key_mask: Tensor | None) -> Tensor:
    """Mean position of the real tokens: [B, K, 3] -> [B, 1, 3]."""
    if key_mask is None:
        return positions_um.mean(dim=1, keepdim=True)
    weight = key_mask[..., None].to(positions_um.dtype)
    return (positions_um * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
