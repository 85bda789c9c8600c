"""The nets that ours are compared with, as MONAI has them."""

from __future__ import annotations

from typing import Literal, cast

from torch import nn

ControlName = Literal["unet", "swinunetr"]

CHANNELS = (16, 32, 64, 128)
"""Of the U-Net at strides 1 to 8, as notes of small few-shot nets have it: 1.2 M parameters."""
SWIN_FEATURES = 24
"""Of the first level of SwinUNETR: 15.7 M parameters."""


def control_net(name: ControlName, features: int) -> nn.Module:
    """[B, 1, Z, Y, X] -> [B, features, Z, Y, X], with random weights.

    The U-Net is residual, with instance norm rather than batch norm: small batches and averages of
    weights are safe.
    """
    if name == "swinunetr":
        from monai.networks.nets.swin_unetr import SwinUNETR

        net = SwinUNETR(in_channels=1, out_channels=features, feature_size=SWIN_FEATURES)
        return cast(nn.Module, net)
    from monai.networks.nets.unet import UNet

    net = UNet(3, 1, features, CHANNELS, (2, 2, 2), num_res_units=2, norm="INSTANCE")
    return cast(nn.Module, net)
