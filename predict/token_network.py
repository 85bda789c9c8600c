"""An encoder as the block engine wants it: tiles in, one vector for each patch out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from ..data.voxel import VoxelSize
from ..models.encoder import Encoder
from .image import Precision, autocast, spacing


class TokenNetwork(NamedTuple):
    """Tokens of an encoder, each in its place.

    Attributes:
        encoder: that gives them.
        voxel_size_um: (z, y, x) of the tiles; None = not known.
        precision: not "auto": every machine is to compute alike.
    """

    encoder: Encoder
    voxel_size_um: VoxelSize | None
    precision: Precision

    @torch.no_grad()
    def __call__(self, tiles: Tensor) -> Tensor:
        """[B, 1, z, y, x], normalised, whole patches -> [B, D, z / pz, y / py, x / px]."""
        device = next(self.encoder.parameters()).device
        size, known = spacing(self.voxel_size_um, len(tiles), device)
        with autocast(device, self.precision):
            found = self.encoder(tiles.to(device), size, known)
        z, y, x = found.grid
        return rearrange(found.tokens.float(), "b (z y x) d -> b d z y x", z=z, y=y, x=x)
