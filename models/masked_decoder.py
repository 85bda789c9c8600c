"""The light decoder of masked pretraining: hidden patches ask the visible ones (arXiv 2401.14391).

Queries attend to encoded tokens only, never to each other, so any subset of the hidden patches can
be decoded at a cost that grows with that subset alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .block import attend, init_linear, make_swiglu
from .encoder import Encoded
from .position import RotaryTable, rotary_table, rotate, rotate_back
from .sizes import DecoderConfig, EncoderConfig


class MaskedPrediction(NamedTuple):
    """Rebuilt patches. Shapes: B batch, Q queried patches, P voxels of a patch.

    values: [B, Q, P], voxels in units of the patch's own mean and deviation.
    mean: [B, Q], log_std: [B, Q]: predicted too, never taken from the target.
    """

    values: Tensor
    mean: Tensor
    log_std: Tensor

    def voxels(self) -> Tensor:
        """[B, Q, P] in normalised intensity, comparable with any other predictor's."""
        # No patch of asinh-normalised intensities varies by more than e^4; a decoder that has gone
        # astray for a step must not overflow.
        std = self.log_std.float().clamp(max=4).exp()[..., None]
        return torch.addcmul(self.mean.float()[..., None], std, self.values.float())


class CrossBlock(nn.Module):
    """One decoder block: queries read keys and values prepared for them, then SwiGLU.

    Attention starts as a distance kernel. A query knows nothing but its place, so at the start all
    keys share one large constant part and rotary phases alone decide: near tokens weigh most, with
    another sharpness per head. Interpolation is the starting point, not something to discover.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.head_dim = config.heads, width // config.heads
        self.norm1 = nn.LayerNorm(width)
        self.query = init_linear(nn.Linear(width, width))
        make_constant(self.query.weight, self.query.bias, self.head_dim)
        self.sharpness = nn.Parameter(torch.logspace(0, 1, config.heads, base=4.0)[:, None])
        self.proj = init_linear(nn.Linear(width, width))
        self.norm2 = nn.LayerNorm(width)
        self.mlp = make_swiglu(width, config.mlp_ratio)

    def forward(
        self, x: Tensor, table: RotaryTable, key: Tensor, value: Tensor, key_mask: Tensor | None
    ) -> Tensor:
        """x [B, Q, D]; key, value [B, K, H, D/H], turned by position; key_mask [B, K] bool."""
        query = self.query(self.norm1(x)).unflatten(-1, (self.heads, self.head_dim))
        query = rotate(F.layer_norm(query, (self.head_dim,)), table) * self.sharpness
        seen = attend(query, key, value, key_mask).unflatten(-1, (self.heads, self.head_dim))
        # Values were turned by their place and are turned back by the query's: what arrives depends
        # on where it came from; a query tells bright left from bright right (GTA, 2310.10375).
        seen = rotate_back(seen, table).to(x.dtype).flatten(2)
        x = x + self.proj(seen)
        return x + self.mlp(self.norm2(x))


class MaskedDecoder(nn.Module):
    """Cross-attention decoder from encoded tokens to the voxels of asked-for patches.

    Args:
        config: of the decoder.
        encoder: width, patch and wavelengths of the encoder that it reads.
    """

    def __init__(self, config: DecoderConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.wavelengths_um = encoder.wavelengths_um
        self.head_dim = config.width // config.heads
        self.memory = init_linear(nn.Linear(encoder.width, config.width))
        # Keys and values of all blocks come from the same tokens: one product makes them all.
        self.key_value = init_linear(nn.Linear(config.width, 2 * config.depth * config.width))
        keys = config.depth * config.width
        make_constant(self.key_value.weight[:keys], self.key_value.bias[:keys], self.head_dim)
        self.query_token = nn.Parameter(torch.randn(config.width) * 0.02)
        self.blocks = nn.ModuleList(CrossBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = init_linear(nn.Linear(config.width, encoder.patch_voxels + 2))
        with torch.no_grad():
            self.head.weight.mul_(0.1)  # the first guess is near the volume's level, not noise

    def forward(self, encoded: Encoded, query_positions_um: Tensor) -> MaskedPrediction:
        """Rebuild the patches at query_positions_um [B, Q, 3], in the units of `encoded`."""
        heads, depth = self.config.heads, self.config.depth
        table = rotary_table(
            encoded.positions_um, encoded.pitch_um, self.head_dim, self.wavelengths_um
        )
        asked = rotary_table(
            query_positions_um, encoded.pitch_um, self.head_dim, self.wavelengths_um
        )
        key_value = self.key_value(self.memory(encoded.tokens))
        key_value = key_value.unflatten(-1, (2 * depth * heads, self.head_dim))
        key, value = key_value.chunk(2, dim=2)
        keys = rotate(F.layer_norm(key, (self.head_dim,)), table).to(value.dtype)
        values = rotate(value, table).to(value.dtype)
        x = self.query_token[None, None]  # the same for all until the first block gives it a place
        for block, key, value in zip(
            self.blocks, keys.chunk(depth, 2), values.chunk(depth, 2), strict=True
        ):
            x = block(x, asked, key, value, encoded.key_mask)
        voxels = self.head.out_features - 2
        values, mean, log_std = self.head(self.norm(x)).split([voxels, 1, 1], dim=-1)
        return MaskedPrediction(values, mean[..., 0], log_std[..., 0])


def make_constant(weight: Tensor, bias: Tensor, head_dim: int) -> None:
    """Start queries or keys [heads * head_dim] as nearly one vector, the same for queries and keys.

    Its pairs of dimensions all have equal length, so after rotation the product of query and key is
    the sum of the cosines of their phase differences, which is largest at distance 0. Plus and
    minus: the qk-norm takes the mean of the head's dimensions away.
    """
    vector = torch.tensor([1.0, -1.0]).repeat(head_dim // 2)
    with torch.no_grad():
        weight.mul_(0.3)
        bias.copy_(3.0 * vector.repeat(bias.shape[0] // head_dim))
