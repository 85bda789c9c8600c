"""Classification of a crop: attention over all of its tokens, then logits."""

from __future__ import annotations

from torch import Tensor, nn

from ..block import init_linear
from ..encoder import Encoded
from ..pool import AttentionPool


class ClassifyHead(nn.Module):
    """Attentive pool and a linear layer.

    Args:
        width: of the tokens.
        heads: of the pool.
        classes: K.
    """

    def __init__(self, width: int, heads: int, classes: int) -> None:
        super().__init__()
        self.pool = AttentionPool(width, heads)
        self.logits = init_linear(nn.Linear(width, classes))

    def forward(self, encoded: Encoded) -> Tensor:
        """Tokens and prefix tokens of each crop -> logits [B, K]."""
        return self.logits(self.pool(encoded))
