"""Attention pool: weighs tokens, ignores padding and order."""

import torch

from luxvox.models.encoder import Encoded
from luxvox.models.pool import AttentionPool


def encoded_tokens(key_mask=None, prefix=2):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 10, 24, generator=generator)
    before = torch.randn(2, prefix, 24, generator=generator)
    zeros = torch.zeros(2, 10, 3)
    return Encoded(tokens, before, zeros, torch.ones(2, 3), (1, 2, 5), key_mask)


def test_padding_changes_nothing_and_order_neither():
    torch.manual_seed(0)
    pool = AttentionPool(24, 3)
    key_mask = torch.ones(2, 10, dtype=torch.bool)
    key_mask[:, 7:] = False
    encoded = encoded_tokens(key_mask)
    before = pool(encoded)
    assert before.shape == (2, 24)
    tokens = encoded.tokens.clone()
    tokens[:, 7:] = 50
    assert torch.equal(before, pool(encoded._replace(tokens=tokens)))
    shorter = encoded._replace(tokens=encoded.tokens[:, :7].flip(1), key_mask=None)
    assert torch.allclose(before, pool(shorter), atol=1e-6)
    assert (before - pool(encoded._replace(key_mask=None))).abs().max() > 1e-3


def test_works_without_prefix_and_every_parameter_learns():
    pool = AttentionPool(24, 3)
    encoded = encoded_tokens(prefix=0)
    pool(encoded).pow(3).sum().backward()
    assert all(p.grad is not None for p in pool.parameters())
    assert pool.query.grad.any()
