"""How unlike everything that was learnt from a tile is: far out there, no distance can be believed.

The distance of the bank's features of a tile from their mean over the training stacks, whitened by
their covariance there. 1 is what one in 200 slices of specimens left out of the training exceeds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEAST_VARIANCE = 0.01  # along an axis of the features: noise of training decides on none
_USUAL = 0.995


class Strangeness(nn.Module):
    """Features of the fixed bank -> strangeness; nothing is strange before it has learnt.

    Args:
        features: F of the bank.
    """

    mean: Tensor
    whiten: Tensor
    limit: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("whiten", torch.eye(features))
        self.register_buffer("limit", torch.tensor(torch.inf))

    def forward(self, known: Tensor) -> Tensor:
        """[..., 8, 8, F] features of cells -> [...], of their tiles."""
        off = known.float().mean((-3, -2)) - self.mean
        return (off @ self.whiten).square().mean(-1).sqrt() / self.limit

    @torch.no_grad()
    def learn(self, rows: Tensor) -> None:
        """Take tiles [N, F], the means of their cells, for what is usual; N at least 2."""
        self.mean.copy_(rows.mean(0))
        variances, axes = torch.linalg.eigh(torch.cov(rows.T))
        self.whiten.copy_(axes / variances.clamp(min=_LEAST_VARIANCE).sqrt())
        self.limit.fill_(1.0)

    @torch.no_grad()
    def allow(self, found: Tensor) -> None:
        """Let slices [N] of specimens left out be usual, but for the strangest."""
        self.limit.mul_(usual_limit(found))


def usual_limit(found: Tensor) -> Tensor:
    """Strangeness that one in 200 of usual slices [N] exceeds: a scalar."""
    return torch.quantile(found, _USUAL)
