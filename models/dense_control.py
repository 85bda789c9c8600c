"""The honest controls: MONAI's residual U-Net or SwinUNETR in the place of encoder, detail stream
and decoder.

The same heads read it, the same losses train it, stage B included, and it is told the structure's
name like our own model: by channels scaled and shifted before the heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .control_nets import CHANNELS, ControlName, control_net
from .dense_decoder import Condition
from .encoder import Encoded
from .sizes import EncoderConfig

_SWIN_MULTIPLE = 32  # its sides; on a single voxel at the coarsest level it could not normalise


class ControlEncoder(nn.Module):
    """Where our model has its tokens the control has nothing; it only says what a patch is."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList()
        self.norm = nn.Identity()


class ControlDecoder(nn.Module):
    """[B, 1, Z, Y, X] -> features [B, 16, Z, Y, X].

    Args:
        text_dim: of the vector that names the foreground.
        condition_width: of what it is projected to.
        name: of the net.
    """

    def __init__(self, text_dim: int, condition_width: int, name: ControlName = "unet") -> None:
        super().__init__()
        self.name = name
        self.channels = (CHANNELS[0],)
        self.scales = ((1, 1, 1),)
        self.net = control_net(name, CHANNELS[0])
        self.condition = Condition(text_dim, condition_width)
        self.film = nn.Linear(condition_width, 2 * CHANNELS[0])
        nn.init.zeros_(self.film.weight)  # starts unconditioned
        nn.init.zeros_(self.film.bias)
        self.mix = nn.Conv3d(CHANNELS[0], CHANNELS[0], 1)

    def forward(self, crop: Tensor, condition: Tensor | None) -> Tensor:
        """Sides are multiples of 8, and one of them at least 16."""
        z, y, x = crop.shape[2:]
        filled = crop if self.name == "unet" else _fill(crop)
        features = self.net(filled)[..., :z, :y, :x]
        film = self.film(self.condition(condition, len(crop))).to(features.dtype)
        scale, shift = film[..., None, None, None].chunk(2, dim=1)
        return self.mix(F.leaky_relu(torch.addcmul(shift, features, 1 + scale)))


def _fill(crop: Tensor) -> Tensor:
    """Repeat the last voxels up to multiples of 32, one of them at least 64."""
    sides = [-(-side // _SWIN_MULTIPLE) * _SWIN_MULTIPLE for side in crop.shape[2:]]
    if max(sides) == _SWIN_MULTIPLE:
        sides[2] *= 2
    z, y, x = (wanted - side for wanted, side in zip(sides, crop.shape[2:], strict=True))
    return F.pad(crop, (0, x, 0, y, 0, z), mode="replicate")


def no_tokens(crop: Tensor, width: int) -> Encoded:
    """What stands for the tokens of a net that has none."""
    empty = crop.new_zeros(len(crop), 0, width)
    nowhere = crop.new_zeros(len(crop), 0, 3)
    return Encoded(empty, empty, nowhere, crop.new_ones(len(crop), 3), (0, 0, 0), key_mask=None)
