"""From tokens of several depths and the detail stream to features at full resolution.

Which foreground is meant can be said with a vector (the embedding of the structure's name): it
scales and shifts the channels of every level (FiLM, arXiv 1709.07871).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .block import init_linear
from .detail import kernels_of, steps_of
from .residual import ResidualConv, Triple, conv


class Condition(nn.Module):
    """The vector that modulates the decoder: from a text embedding, or learned where none is given.

    Args:
        text_dim: of the text embedding.
        width: of the result.
    """

    def __init__(self, text_dim: int, width: int) -> None:
        super().__init__()
        self.text_dim = text_dim
        self.proj = init_linear(nn.Linear(text_dim, width))
        self.null = nn.Parameter(torch.randn(width) * 0.5)

    def forward(self, text: Tensor | None, batch: int) -> Tensor:
        """[B, text_dim] -> [B, width]; None, or a row of zeros, says nothing."""
        if text is None:
            return self.null.expand(batch, -1)
        # Unit vectors have tiny entries; the norm gives names that differ little a fair distance.
        said = F.silu(self.proj(F.layer_norm(text, (self.text_dim,))))
        return torch.where(text.any(dim=1, keepdim=True), said, self.null.to(said.dtype))


class Level(nn.Module):
    """One resolution: brought up from the coarser one, joined by the detail there, refined.

    Args:
        coarser: channels that come from below.
        channels: of this level.
        detail: channels of the detail stream here; 0 = it does not reach so far down.
        step: stride from here to the coarser level; None for the token grid itself.
        kernel: of the convolutions, (z, y, x).
        condition: width of the modulating vector.
    """

    def __init__(
        self,
        coarser: int,
        channels: int,
        detail: int,
        step: Triple | None,
        kernel: Triple,
        condition: int,
    ) -> None:
        super().__init__()
        self.up = nn.Identity()
        if step is not None:
            self.up = nn.ConvTranspose3d(coarser, channels, step, step)
        self.join = conv(channels + detail, channels, (1, 1, 1)) if detail else None
        self.film = nn.Linear(condition, 2 * channels)
        nn.init.zeros_(self.film.weight)  # starts unconditioned
        nn.init.zeros_(self.film.bias)
        self.refine = ResidualConv(channels, kernel)

    def forward(self, x: Tensor, detail: Tensor | None, condition: Tensor) -> Tensor:
        """[B, coarser, ...], [B, detail, Z, Y, X], [B, condition] -> [B, channels, Z, Y, X]."""
        x = self.up(x)
        if self.join is not None and detail is not None:
            x = self.join(torch.cat([x, detail.to(x.dtype)], dim=1))
        return self.refine(x, self.film(condition))


class DenseDecoder(nn.Module):
    """Token maps and detail maps -> one map per level, full resolution first.

    Args:
        width: D of the tokens.
        maps: how many depths are read.
        patch: of the encoder, sides are powers of two.
        channels: at strides 1, 2 and 4, those of the detail stream too; doubled at each further.
        text_dim: of the conditioning vector.
        condition_width: of what it is projected to.
    """

    def __init__(
        self,
        width: int,
        maps: int,
        patch: Triple,
        channels: tuple[int, int, int],
        text_dim: int,
        condition_width: int,
    ) -> None:
        super().__init__()
        steps, kernels = steps_of(patch), kernels_of(patch)
        levels = len(steps)
        sizes = [*channels, *(channels[2] << i for i in range(1, levels))][: levels + 1]
        self.scales = _scales(steps)
        self.channels = tuple(sizes)
        self.project = nn.ModuleList(conv(width, sizes[-1], (1, 1, 1)) for _ in range(maps))
        self.condition = Condition(text_dim, condition_width)
        self.levels = nn.ModuleList(
            Level(
                coarser=sizes[min(level + 1, levels)],
                channels=sizes[level],
                detail=sizes[level] if level < len(channels) else 0,
                step=steps[level] if level < levels else None,
                kernel=kernels[level],
                condition=condition_width,
            )
            for level in range(levels + 1)
        )

    def forward(
        self, maps: Sequence[Tensor], detail: Sequence[Tensor], condition: Tensor | None
    ) -> list[Tensor]:
        """Decode.

        Args:
            maps: one [B, D, gz, gy, gx] per depth.
            detail: of the detail stream, full resolution first.
            condition: [B, text_dim]; None or rows of zeros = the learned "nothing said".

        Returns:
            Maps [B, channels[i], Z, Y, X over scales[i]].
        """
        projected = [project(m) for project, m in zip(self.project, maps, strict=True)]
        # Over the root of their number: the sum of several depths has the scale of one.
        x = torch.stack(projected).sum(dim=0) * len(projected) ** -0.5
        vector = self.condition(condition, x.shape[0])
        decoded = []
        for number in reversed(range(len(self.levels))):
            x = self.levels[number](x, detail[number] if number < len(detail) else None, vector)
            decoded.append(x)
        return decoded[::-1]


def _scales(steps: Sequence[Triple]) -> tuple[Triple, ...]:
    """Voxels of the crop behind one of each level, along (z, y, x)."""
    scales = [(1, 1, 1)]
    for z, y, x in steps:
        scales.append((scales[-1][0] * z, scales[-1][1] * y, scales[-1][2] * x))
    return tuple(scales)
