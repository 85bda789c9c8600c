"""The convolutional unit of detail stream and dense decoder: norm, activation, conv, twice, added.

The norms sit in the branch only. On the way past them the level and contrast of the crop survive,
which a net of normalised maps forgets, and with them where an annotator would cut.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Triple = tuple[int, int, int]


class InstanceNorm(nn.Module):
    """Each channel of each sample to mean 0 and variance 1 over its voxels, then scale and shift.

    `nn.InstanceNorm3d` refuses a map of one voxel, which a crop of one patch ends in.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, film: Tensor | None = None) -> Tensor:
        """[B, C, Z, Y, X] -> same; film [B, 2C]: relative scale and shift, 0 = changes nothing."""
        weight, bias = self.weight[None], self.bias[None]
        if film is not None:
            scale, shift = film.chunk(2, dim=1)
            weight, bias = weight * (1 + scale), bias * (1 + scale) + shift
        normal = F.layer_norm(x, x.shape[2:])
        weight, bias = (part.to(normal.dtype)[..., None, None, None] for part in (weight, bias))
        return torch.addcmul(bias, normal, weight)


class ResidualConv(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))).

    Args:
        channels: in and out.
        kernel: odd, along (z, y, x).
    """

    def __init__(self, channels: int, kernel: Triple) -> None:
        super().__init__()
        self.norm1 = InstanceNorm(channels)
        self.conv1 = conv(channels, channels, kernel, bias=False)  # the next norm takes it away
        self.norm2 = InstanceNorm(channels)
        self.conv2 = conv(channels, channels, kernel)

    def forward(self, x: Tensor, film: Tensor | None = None) -> Tensor:
        """[B, C, Z, Y, X] -> same; film [B, 2C] modulates what enters the branch."""
        branch = self.conv1(F.leaky_relu(self.norm1(x, film)))
        return x + self.conv2(F.leaky_relu(self.norm2(branch)))


def conv(
    channels_in: int, channels: int, kernel: Triple, stride: Triple = (1, 1, 1), bias: bool = True
) -> nn.Conv3d:
    """A convolution that keeps the number of voxels, but for its stride; He-normal weights."""
    pad = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    layer = nn.Conv3d(channels_in, channels, kernel, stride, pad, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="leaky_relu", a=0.01)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
