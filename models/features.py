"""Tokens of several depths, as maps: what the dense decoder reads from the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from einops import rearrange
from torch import Tensor

from .encoder import Encoded, Encoder, known_voxel_size
from .patch_embed import patchify, token_grid
from .position import token_pitch_um, token_positions_um


class EncoderFeatures(NamedTuple):
    """Token maps of a whole crop. Shapes: B batch, D width, (gz, gy, gx) token grid.

    maps: one [B, D, gz, gy, gx] per depth, in the order asked for, each through the last norm.
    encoded: what `encoder(crop, ...)` gives.
    """

    maps: list[Tensor]
    encoded: Encoded


def even_depths(depth: int, count: int) -> tuple[int, ...]:
    """`count` evenly spaced blocks of `depth`, counted from 1, the last included; fewer if few."""
    return tuple(sorted({max(1, round(depth * (i + 1) / count)) for i in range(count)}))


def encoder_features(
    encoder: Encoder,
    crop: Tensor,
    voxel_size_um: Tensor,
    spacing_known: Tensor,
    depths: Sequence[int],
) -> EncoderFeatures:
    """Encode all patches of each crop and hand out the tokens after several blocks.

    Args:
        encoder: whose blocks and last norm are run.
        crop: [B, 1, Z, Y, X], normalised intensity.
        voxel_size_um: [B, 3], (z, y, x) in um; ignored where it is not known.
        spacing_known: [B] bool.
        depths: numbers of blocks, counted from 1.

    Raises:
        InputError: Z, Y or X is no multiple of the patch size.
        ValueError: a depth that the encoder has not.
    """
    config = encoder.config
    wrong = [depth for depth in depths if not 1 <= depth <= len(encoder.blocks)]
    if wrong:
        raise ValueError(f"depths {wrong}, expected 1 to {len(encoder.blocks)}")
    grid = token_grid(crop.shape, config.patch)
    voxel_size = known_voxel_size(voxel_size_um, spacing_known)
    pitch = token_pitch_um(config.patch, voxel_size)
    positions = token_positions_um(grid, config.patch, voxel_size)
    acquisition = encoder.acquisition(voxel_size_um, spacing_known)
    patches = patchify(crop, config.patch)
    x, table, key_mask, prefix = encoder.enter(patches, positions, pitch, acquisition)
    after = {}
    for number, block in enumerate(encoder.blocks, start=1):
        x = encoder.run_block(block, x, table, key_mask)
        if number in depths or number == len(encoder.blocks):
            after[number] = encoder.norm(x)
    last = after[len(encoder.blocks)]
    maps = [
        rearrange(after[depth][:, prefix:], "b (z y x) d -> b d z y x", z=grid[0], y=grid[1])
        for depth in depths
    ]
    encoded = Encoded(last[:, prefix:], last[:, :prefix], positions, pitch, grid, key_mask=None)
    return EncoderFeatures(maps, encoded)
