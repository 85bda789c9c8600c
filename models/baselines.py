"""The honest controls: MONAI's U-Net and SwinUNETR as encoders behind the same objective.

A convolutional net cannot leave patches out, so the hidden ones are filled with one learned value
and its full-resolution features are averaged over each patch. The decoder, the pool and the losses
are the same as for our encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..configs.errors import InputError
from .block import init_linear
from .control_nets import control_net
from .encoder import Encoded, Encoder, known_voxel_size
from .patch_embed import token_grid
from .position import token_pitch_um, token_positions_um
from .sizes import EncoderConfig

EncoderName = Literal["vit", "unet", "swinunetr"]
_MULTIPLES: Mapping[str, int] = {"unet": 8, "swinunetr": 32}  # of voxels along every side

FEATURES = 32
"""Channels of the full-resolution map that a token averages."""


def build_encoder(name: EncoderName, config: EncoderConfig) -> Encoder | ConvEncoder:
    """Our encoder or a control with the same `forward`.

    Args:
        name: "vit" (ours), "unet" or "swinunetr".
        config: dimensions; the controls take only `width` and `patch` from it.

    Raises:
        InputError: another name.
    """
    if name == "vit":
        return Encoder(config)
    if name in _MULTIPLES:
        return ConvEncoder(control_net(name, FEATURES), config, _MULTIPLES[name])
    raise InputError(f'encoder is "{name}", expected one of: vit, unet, swinunetr')


class ConvEncoder(nn.Module):
    """A full-resolution convolutional net read out on the token grid.

    Args:
        net: [B, 1, Z, Y, X] -> [B, FEATURES, Z, Y, X].
        config: width of the tokens and patch.
        multiple: of voxels, that the net needs along every side.
    """

    def __init__(self, net: nn.Module, config: EncoderConfig, multiple: int) -> None:
        super().__init__()
        self.config, self.multiple = config, multiple
        self.net = net
        self.hidden_value = nn.Parameter(torch.zeros(1))  # a vector: FSDP2 shares no scalars
        self.proj = init_linear(nn.Linear(FEATURES, config.width))
        self.norm = nn.LayerNorm(config.width)

    def forward(
        self,
        crop: Tensor,
        voxel_size_um: Tensor,
        spacing_known: Tensor,
        keep: Tensor | None = None,
        key_mask: Tensor | None = None,
    ) -> Encoded:
        """Encode crops whose patches outside `keep` are hidden; gives tokens for ALL N patches.

        Args:
            crop: [B, 1, Z, Y, X], normalised intensity.
            voxel_size_um: [B, 3], (z, y, x) in um; tells positions only, the net does not see it.
            spacing_known: [B] bool.
            keep: [B, K] int64, z-major numbers of the visible patches; None = all N.
            key_mask: [B, K] bool, False = padding, which is hidden like the rest.

        Returns:
            Encoded with K = N tokens and no prefix tokens; key_mask False at the padding in `keep`.

        Raises:
            InputError: a side that the patch or the net cannot take.
        """
        grid = token_grid(crop.shape, self.config.patch)
        for axis, side in zip("zyx", crop.shape[-3:], strict=True):
            if side % self.multiple:
                raise InputError(
                    f"crop has {side} voxels along {axis}, expected a multiple of {self.multiple} "
                    "for this encoder; change crop.shape"
                )
        if max(crop.shape[-3:]) == self.multiple:
            raise InputError(
                f"crop is {tuple(crop.shape[-3:])}, and this encoder would shrink it to one voxel: "
                f"expected at least one side of {2 * self.multiple}; change crop.shape"
            )
        count = grid[0] * grid[1] * grid[2]
        visible, real = _visible_and_real(keep, key_mask, crop.shape[0], count, crop.device)
        seen = rearrange(visible, "b (z y x) -> b 1 z y x", z=grid[0], y=grid[1])
        for axis, size in enumerate(self.config.patch, start=2):
            seen = seen.repeat_interleave(size, dim=axis)
        features = self.net(torch.where(seen, crop, self.hidden_value.to(crop.dtype)))
        tokens = rearrange(F.avg_pool3d(features, self.config.patch), "b c z y x -> b (z y x) c")
        tokens = self.norm(self.proj(tokens))
        voxel_size = known_voxel_size(voxel_size_um, spacing_known)
        return Encoded(
            tokens=tokens,
            prefix=tokens[:, :0],
            positions_um=token_positions_um(grid, self.config.patch, voxel_size),
            pitch_um=token_pitch_um(self.config.patch, voxel_size),
            grid=grid,
            key_mask=real,
        )


def _visible_and_real(
    keep: Tensor | None, key_mask: Tensor | None, batch: int, count: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Which of the N tokens the net may see, and which are real (None = all): [B, N] bool each."""
    if keep is None:
        everything = torch.ones(batch, count, dtype=torch.bool, device=device)
        return (everything, None) if key_mask is None else (key_mask, key_mask)
    kept_real = torch.ones_like(keep, dtype=torch.bool) if key_mask is None else key_mask
    nothing = torch.zeros(batch, count, dtype=torch.bool, device=device)
    visible = nothing.scatter(1, keep, kept_real)
    if key_mask is None:
        return visible, None
    return visible, ~nothing.scatter(1, keep, ~kept_real)
