"""Focus by regression, the focus CNN's way: an image encoder on every tile, one number out.

The comparison that the ordinal head has to stand up to. No levels, no 3D, no lens, no stain.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..configs.errors import InputError
from .block import init_linear
from .focus_config import CELLS, FocusAnswer, FocusConfig, FocusFeatures, FocusInput

_LEAST_GATE = 1e-3
_COMPRESSION = 4.0  # as in the stem
_LOG_VARIANCES = (-6.0, 4.0)


class FocusRegressor(nn.Module):
    """Any encoder of timm, from random weights, on tiles of slices.

    Args:
        config: `regressor` and `width`.

    Raises:
        InputError: no such encoder.
    """

    def __init__(self, config: FocusConfig) -> None:
        super().__init__()
        import timm

        self.config = config
        try:
            self.encoder = timm.create_model(
                config.regressor or "", pretrained=False, num_classes=0, in_chans=1
            )
        except RuntimeError as error:
            raise InputError(
                f"regressor is {config.regressor!r}, no encoder of timm ({error}); see "
                "timm.list_models"
            ) from None
        features: int = self.encoder.num_features  # pyright: ignore[reportAssignmentType]
        self.reduce = init_linear(nn.Linear(features, config.width))
        self.gate = init_linear(nn.Linear(config.width, 1))
        self.distance = init_linear(nn.Linear(config.width, 1))
        self.spread = init_linear(nn.Linear(config.width, 1))

    def forward(self, given: FocusInput) -> FocusAnswer:
        """Judge stacks."""
        return self.answer(self.features(given))

    def features(self, given: FocusInput) -> FocusFeatures:
        """Describe tiles; the gate is the same over a tile."""
        tiles = torch.asinh(_COMPRESSION * given.tiles).flatten(0, 2)[:, None]
        pooled = F.gelu(self.reduce(self.encoder(tiles))).unflatten(0, given.tiles.shape[:3])
        gate = self.gate(pooled)[..., None].expand(-1, -1, -1, CELLS, CELLS)
        return FocusFeatures(pooled, gate, torch.zeros_like(gate[..., 0, 0]))

    def answer(self, found: FocusFeatures) -> FocusAnswer:
        """Put tiles together; slices know nothing of each other."""
        seen = found.gate[..., 0, 0].sigmoid()
        weights = seen + _LEAST_GATE
        weights = weights / weights.sum(-1, keepdim=True)
        tiles = F.softplus(self.distance(found.pooled)[..., 0].float())
        spread = (self.spread(found.pooled)[..., 0].float() * weights).sum(2)
        return FocusAnswer(
            expected=(tiles * weights).sum(2),
            log_variance=spread.clamp(*_LOG_VARIANCES),
            tiles=tiles,
            empty=1 - seen.amax(-1),
            weights=weights,
            strange=found.strange.mean(-1),
            logits=None,
            tile_logits=None,
        )
