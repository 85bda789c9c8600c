"""Tokens of the frozen 3D encoder, of the tiles that the focus head judges."""

from __future__ import annotations

import torch
from torch import Tensor

from ..configs.errors import InputError
from ..data.normalize import IntensityStats, describe, normalize
from ..data.sharpness_survey import finite
from ..models.catalog import find_folder
from ..models.checkpoint import fingerprint
from ..models.encoder import Encoder
from ..models.focus_config import CELL
from ..models.focus_context import PLANES
from .model import load

BLOCK = 64
"""Slices that are encoded together, at most."""


class FrozenEncoder:
    """An encoder with patches of 8 x 8 x 8 voxels, which never learns here.

    Args:
        name: weights, as `luxvox.load` takes them.

    Raises:
        InputError: no such weights, or an encoder with other patches.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        encoder = load(name).encoder
        if not isinstance(encoder, Encoder) or encoder.config.patch != (PLANES, CELL, CELL):
            raise InputError(
                f"{name}: expected a ViT with patches of {PLANES} x {CELL} x {CELL} voxels; give "
                "weights of luxvox pretrain"
            )
        self._encoder = encoder.requires_grad_(False).eval()
        self.width = encoder.config.width
        self.fingerprint = fingerprint(find_folder(name))

    @torch.no_grad()
    def tokens(self, windows: Tensor, stats: IntensityStats | None) -> Tensor:
        """Encode neighbouring slices of tiles, each tile by itself.

        Args:
            windows: [Z, T, 64, 64] in the file's units; the last slice is repeated until whole
                tokens are filled.
            stats: of the stack, see `stack_stats`; None = nothing there.

        Returns:
            [T, ceil(Z / 8), 8, 8, D] float32.
        """
        missing = -len(windows) % PLANES
        whole = torch.cat([windows, windows[-1:].expand(missing, -1, -1, -1)])
        crops = torch.zeros_like(whole) if stats is None else normalize(whole, stats)
        found = []
        for crop in crops.transpose(0, 1):  # one tile at a time: memory does not grow with them
            # The spacing along z is that of a sweep or of a volume: it is left open.
            encoded = self._encoder(
                crop[None, None], crop.new_ones(1, 3), torch.zeros(1, dtype=torch.bool)
            )
            found.append(encoded.tokens[0].float().unflatten(0, encoded.grid))
        return torch.stack(found)


def stack_stats(windows: Tensor) -> IntensityStats | None:
    """What crops are normalised with, of some slices of a stack; None where all pixels are equal.

    Args:
        windows: [K, T, 64, 64] in the file's units.

    Raises:
        InputError: intensities that float32 cannot hold.
    """
    light = finite(windows)
    if light.min() == light.max():
        return None
    return describe(light.flatten(0, 1).numpy()[:, None], "the stack")
