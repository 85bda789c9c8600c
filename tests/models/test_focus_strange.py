"""Strangeness: near what was learnt it is small, elsewhere large, along every axis."""

from __future__ import annotations

import torch

from luxvox.models.focus_strange import Strangeness


def usual(count: int, seed: int) -> torch.Tensor:
    """[N, 3]: the second feature is nearly the first, the third is free."""
    rng = torch.Generator().manual_seed(seed)
    free = torch.randn(count, 3, generator=rng)
    return torch.stack([5 * free[:, 0], 5 * free[:, 0] + 0.3 * free[:, 1], free[:, 2] + 7], 1)


def cells(rows: torch.Tensor) -> torch.Tensor:
    """[N, 8, 8, F], uneven, of these means."""
    uneven = torch.linspace(-1, 1, 64).reshape(8, 8, 1)
    return rows[:, None, None] + uneven


def test_one_in_two_hundred_is_strange():
    learnt = Strangeness(3)
    assert (learnt(cells(usual(9, 0))) == 0).all()  # nothing is, before it has learnt
    learnt.learn(usual(4000, 0))
    learnt.allow(learnt(cells(usual(4000, 1))))
    again = learnt(cells(usual(4000, 2)))
    assert 0.001 < (again > 1).float().mean() < 0.012


def test_what_breaks_the_rule_is_stranger_than_what_is_far_along_it():
    learnt = Strangeness(3)
    learnt.learn(usual(4000, 0))
    along, across = torch.tensor([[6.0, 6.0, 7.0]]), torch.tensor([[3.0, -3.0, 7.0]])
    assert learnt(cells(across)) > 3 * learnt(cells(along))
