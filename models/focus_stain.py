"""Focus levels that know the stain, in two stages (after FluoCLIP, arXiv 2602.23791).

Grounding: a learnt token for each stain and an adapter turn the text's vector into one that images
of this stain lie near. Ranking: three base ranks, conditioned on the stain, then interpolated to K
levels. Other than there, no text sees another one, vectors have length 1 after the adapters, and
an unknown stain has a vector of its own. What the levels are is kept with the weights, so that the
text tower is needed in training only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .block import init_linear

BASES = 3
"""Base ranks: sharp, middle, far."""
_CONTEXT = "A light-sheet fluorescence microscopy image stained with "


def stain_prompts(stains: list[str]) -> list[str]:
    """What the text tower reads of each stain."""
    return [f"{_CONTEXT}{stain}." for stain in stains]


class _Adapter(nn.Module):
    """LayerNorm, a narrow MLP with a residual, length 1: [..., D] -> [..., D]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.down = init_linear(nn.Linear(dim, max(2, dim // 4)))
        self.up = init_linear(nn.Linear(max(2, dim // 4), dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x + self.up(F.gelu(self.down(self.norm(x)))), dim=-1)


class StainGrounding(nn.Module):
    """Stage one: a unit vector for each stain, and one for the unknown.

    Args:
        texts: [S, W] vectors of the prompts, of a frozen tower.
        dim: D of what is given.
        image_width: of the features of images that are aligned with.
    """

    texts: Tensor

    def __init__(self, texts: Tensor, dim: int, image_width: int) -> None:
        super().__init__()
        self.register_buffer("texts", texts.detach().clone())
        self.tokens = nn.Parameter(torch.randn(texts.shape) * 0.02)
        self.unknown = nn.Parameter(torch.randn(dim) * 0.02)
        self.project = init_linear(nn.Linear(texts.shape[1], dim))
        self.adapter = _Adapter(dim)
        self.image = nn.Sequential(
            nn.LayerNorm(image_width), init_linear(nn.Linear(image_width, dim))
        )

    def forward(self) -> Tensor:
        """[S + 1, D] unit vectors; row 0 is the unknown stain."""
        known = self.project(self.texts + self.tokens)
        return self.adapter(torch.cat([self.unknown[None], known]))

    def align(self, images: Tensor) -> Tensor:
        """Likeness of images and stains: [B, image width] -> cosines [B, S + 1]."""
        return F.normalize(self.image(images.float()), dim=-1) @ self().T


class StainRanks(nn.Module):
    """Stage two: prototypes of K levels for each stain.

    Args:
        dim: D.
        levels: K.
    """

    blend: Tensor

    def __init__(self, dim: int, levels: int) -> None:
        super().__init__()
        self.bases = nn.Parameter(torch.randn(BASES, dim) * dim**-0.5)  # as long as stains are
        self.norm = nn.LayerNorm(dim)
        hidden = max(2, dim // 8)
        self.condition = nn.Sequential(
            init_linear(nn.Linear(2 * dim, hidden)), nn.ReLU(), init_linear(nn.Linear(hidden, dim))
        )
        self.strength = nn.Parameter(torch.tensor(0.1))
        self.adapter = _Adapter(dim)
        place = torch.arange(levels) / (levels - 1) * (BASES - 1)
        near = (1 - (place[:, None] - torch.arange(BASES)).abs()).clamp(min=0)
        self.register_buffer("blend", near, persistent=False)

    def forward(self, stains: Tensor) -> Tensor:
        """Stains [S + 1, D] -> unit prototypes [S + 1, K, D]."""
        bases = self.bases.expand(len(stains), -1, -1)
        beside = stains[:, None]
        changed = bases + self.strength * self.condition(
            torch.cat([self.norm(bases), beside.expand_as(bases)], dim=-1)
        )
        # Interpolated after conditioning: levels in between follow their stain, too.
        return self.adapter(beside + self.blend @ changed)
