"""The detail stream: a light convolutional path on the raw crop, beside the tokens.

A token stands for 8 voxels a side; a capillary is 2 wide. Maps at full, half and quarter resolution
carry to the decoder what the tokens cannot hold.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..configs.errors import InputError
from .residual import ResidualConv, Triple, conv


def steps_of(patch: Triple) -> list[Triple]:
    """Strides from full resolution down to the token grid: their product is the patch.

    An axis with a smaller patch has larger voxels, and is halved last: (4, 8, 8) gives (1, 2, 2),
    (2, 2, 2), (2, 2, 2), so that the voxels of each further level are nearer to cubes.

    Raises:
        InputError: a side of the patch is no power of two.
    """
    halvings = [side.bit_length() - 1 for side in patch]
    if any(1 << count != side for count, side in zip(halvings, patch, strict=True)):
        raise InputError(
            f"patch is {patch}, expected powers of two (such as 8, 8, 8 or 4, 8, 8), which the "
            "dense decoder can undo by halves; change encoder.patch"
        )
    levels = max(halvings)
    z, y, x = ([1] * (levels - count) + [2] * count for count in halvings)
    return list(zip(z, y, x, strict=True))


def kernel_at(step: Triple) -> Triple:
    """Kernel of the level that `step` leaves: 1 voxel wide where the voxels are still too long."""
    z, y, x = (3 if stride == 2 else 1 for stride in step)
    return z, y, x


def kernels_of(patch: Triple) -> list[Triple]:
    """Kernels of all levels, full resolution first, token grid last."""
    return [*(kernel_at(step) for step in steps_of(patch)), (3, 3, 3)]


class DetailStream(nn.Module):
    """[B, 1, Z, Y, X] -> maps of strides 1, 2, 4 (as far as the patch goes), full first.

    Args:
        channels: of the three maps.
        patch: of the encoder, (z, y, x); says which axes are halved at which step.
    """

    def __init__(self, channels: tuple[int, int, int], patch: Triple) -> None:
        super().__init__()
        steps, kernels = steps_of(patch), kernels_of(patch)
        self.channels = channels[: len(steps) + 1]
        # The stem looks along every axis, so that no voxel of the output sees one slice only. It is
        # all there is at full resolution, where a convolution costs eight times that of the next
        # level: what is seen there is refined in the decoder, once.
        self.stem = conv(1, channels[0], (3, 3, 3))
        self.down = nn.ModuleList(
            conv(self.channels[i], self.channels[i + 1], kernels[i], steps[i])
            for i in range(len(self.channels) - 1)
        )
        self.blocks = nn.ModuleList(
            ResidualConv(width, kernel)
            for width, kernel in zip(self.channels[1:], kernels[1:], strict=False)
        )

    def forward(self, crop: Tensor) -> list[Tensor]:
        """Maps [B, channels[i], Z / sz, Y / sy, X / sx]; sides are multiples of the patch."""
        maps = [self.stem(crop)]
        for down, block in zip(self.down, self.blocks, strict=True):
            maps.append(block(down(F.leaky_relu(maps[-1]))))
        return maps
