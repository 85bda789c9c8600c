"""Exponential moving average of everything that a model's output depends on: parameters and
buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule


class Ema:
    """Shadow copies, moved once per optimiser step.

    The shadows have the sharding of the tensors they follow, so this works under DDP and FSDP2.
    Buffers that hold no floating-point numbers (counters) are copied, not averaged.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from what `model` holds now."""
        self.decay = decay
        self.shadows = {name: tensor.detach().clone() for name, tensor in _named_tensors(model)}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the shadows towards `model` after optimiser step `step` (0-based).

        The decay rises to its full value, min(decay, (1 + step) / (10 + step)), so that short runs
        are not dominated by the random start (as in TensorFlow's ExponentialMovingAverage).
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in _named_tensors(model):
            if tensor.dtype.is_floating_point:
                self.shadows[name].lerp_(tensor.detach(), 1 - decay)
            else:
                self.shadows[name].copy_(tensor)

    @torch.no_grad()
    def take(self, model: nn.Module) -> None:
        """Let the shadows be what `model` holds now."""
        for name, tensor in _named_tensors(model):
            self.shadows[name].copy_(tensor)

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """Inside the block `model` holds the averaged tensors; afterwards its own again, to the
        bit."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # a forward without backward leaves the root module gathered
        for name, tensor in _named_tensors(model):
            kept: Tensor = tensor.detach().clone()
            tensor.copy_(self.shadows[name])
            self.shadows[name].copy_(kept)


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(model.named_parameters(), model.named_buffers())
