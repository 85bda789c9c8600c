"""One vector for a crop: attention of a learned query over the tokens (arXiv 1810.00825)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .block import attend, init_linear
from .encoder import Encoded


def mean_token(encoded: Encoded) -> Tensor:
    """[B, D] mean over the real patch tokens: a feature of the crop that nothing had to learn."""
    if encoded.key_mask is None:
        return encoded.tokens.mean(dim=1)
    weight = encoded.key_mask[:, :, None].to(encoded.tokens.dtype)
    return (encoded.tokens * weight).sum(1) / weight.sum(1)


class AttentionPool(nn.Module):
    """[B, K, D] tokens and prefix tokens -> [B, D]; padding gets no weight.

    Args:
        width: of the tokens.
        heads: that share the width; each has a query of its own.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, width // heads) * 0.02)
        self.key_value = init_linear(nn.Linear(width, 2 * width))
        self.proj = init_linear(nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, encoded: Encoded) -> Tensor:
        """Pool the tokens of each crop into [B, D]."""
        tokens = torch.cat([encoded.prefix, encoded.tokens], dim=1)
        key_mask = encoded.key_mask
        if key_mask is not None:
            key_mask = nn.functional.pad(key_mask, (encoded.prefix.shape[1], 0), value=True)
        key_value = self.key_value(tokens).unflatten(-1, (2 * self.heads, -1))
        key, value = key_value.chunk(2, dim=2)
        query = self.query.expand(tokens.shape[0], 1, -1, -1)
        return self.norm(self.proj(attend(query, key, value, key_mask))[:, 0])
