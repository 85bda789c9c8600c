"""The average follows parameters and buffers, and swapping it in and out changes nothing."""

from __future__ import annotations

import torch
from torch import nn

from luxvox.pretrain.ema import Ema


class _WithBuffers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.register_buffer("running", torch.zeros(2))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def test_average_covers_parameters_and_buffers() -> None:
    model = _WithBuffers()
    ema = Ema(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.get_buffer("running").fill_(2.0)
        model.get_buffer("count").fill_(7)
    ema.update(model, step=10_000)
    assert torch.allclose(ema.shadows["weight"], torch.full((3,), 0.5))
    assert torch.allclose(ema.shadows["running"], torch.full((2,), 1.0))
    assert int(ema.shadows["count"]) == 7


def test_early_steps_forget_the_random_start() -> None:
    model = _WithBuffers()
    ema = Ema(model, decay=0.999)
    with torch.no_grad():
        model.weight.fill_(1.0)
    ema.update(model, step=0)
    assert torch.allclose(ema.shadows["weight"], torch.full((3,), 0.9))


def test_swapping_gives_the_average_and_puts_back_every_bit() -> None:
    model = _WithBuffers()
    ema = Ema(model, decay=0.9)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([0.1, 1e-7, 3.0]))
    before = model.weight.detach().clone()
    with ema.swapped(model):
        assert torch.equal(model.weight, torch.zeros(3))
    assert torch.equal(model.weight, before)
    assert torch.equal(ema.shadows["weight"], torch.zeros(3))
