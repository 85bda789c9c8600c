"""Classification on frozen features: a linear layer, or the nearest of the crops it was shown.

What they read is what an encoder gives without having learnt the task: mean and spread of its
tokens over the crop, and its prefix tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..encoder import Encoded

_TINY = 1e-6
_SHARPNESS = 20.0
"""Of the vote: a neighbour 0.05 nearer in cosine counts 2.7 times as much."""


def token_statistics(encoded: Encoded) -> Tensor:
    """[B, 3 D] float32: mean and standard deviation of the tokens, mean of the prefix tokens."""
    tokens, prefix = encoded.tokens.float(), encoded.prefix.float()
    spread = tokens.std(dim=1, correction=0)
    return torch.cat([tokens.mean(dim=1), spread, prefix.mean(dim=1)], dim=1)


class Probe(nn.Module):
    """Statistics of the tokens, each brought to mean 0 and variance 1 over the support.

    Args:
        width: of the tokens.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3 * width))
        self.register_buffer("scale", torch.ones(3 * width))

    def settle(self, statistics: Tensor) -> Tensor:
        """Take mean and scale from the support: [N, 3 D] statistics -> the same, standardised."""
        self.mean.copy_(statistics.mean(dim=0))
        self.scale.copy_(statistics.std(dim=0, correction=0).clamp(min=_TINY))
        return (statistics - self.mean) / self.scale

    def standardised(self, encoded: Encoded) -> Tensor:
        """[B, 3 D] of crops."""
        return (token_statistics(encoded) - self.mean) / self.scale


class LinearProbe(Probe):
    """Logistic regression.

    Args:
        width: of the tokens.
        classes: K.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width)
        self.logits = nn.Linear(3 * width, classes)
        for parameter in self.logits.parameters():
            nn.init.zeros_(parameter)

    def forward(self, encoded: Encoded) -> Tensor:
        """Logits [B, K]."""
        return self.logits(self.standardised(encoded))

    def fit(self, statistics: Tensor, classes: Tensor, penalty: float) -> None:
        """The exact minimum of the summed cross-entropy + penalty / 2 * |weights|^2.

        Args:
            statistics: [N, 3 D] of the support. classes: [N] int64.
            penalty: above 0; the bias goes without.
        """
        given = self.settle(statistics)
        parameters = list(self.logits.parameters())
        solver = torch.optim.LBFGS(
            parameters, max_iter=500, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            solver.zero_grad()
            error = F.cross_entropy(self.logits(given), classes, reduction="sum")
            total = error + penalty / 2 * self.logits.weight.square().sum()
            total.backward()
            return total

        with torch.enable_grad():
            solver.step(loss)  # pyright: ignore[reportArgumentType]


class NearestProbe(Probe):
    """A vote of all crops of the support, the nearer in cosine the stronger.

    Args:
        width: of the tokens.
        classes: K.
        samples: N, how many crops are kept.
    """

    vectors: Tensor
    votes: Tensor

    def __init__(self, width: int, classes: int, samples: int) -> None:
        super().__init__(width)
        self.register_buffer("vectors", torch.zeros(samples, 3 * width))
        self.register_buffer("votes", torch.zeros(samples, classes))

    def forward(self, encoded: Encoded) -> Tensor:
        """Logits [B, K]: log of the share of the vote."""
        near = F.normalize(self.standardised(encoded), dim=1) @ self.vectors.T
        vote = (_SHARPNESS * near).softmax(dim=1) @ self.votes
        return vote.clamp(min=_TINY).log()

    def fit(self, statistics: Tensor, classes: Tensor) -> None:
        """Keep the support: [N, 3 D] statistics and [N] int64 classes, weighed alike by class."""
        self.vectors.copy_(F.normalize(self.settle(statistics), dim=1))
        one_hot = F.one_hot(classes, self.votes.shape[1]).float()
        self.votes.copy_(one_hot / one_hot.sum(dim=0).clamp(min=1))
