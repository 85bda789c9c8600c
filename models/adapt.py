"""How much of a dense model learns from few labels, and how fast each part of it.

head: the task's head alone. decoder: head, decoder and detail stream. lora: those, and low-rank
corrections inside the encoder's attention (arXiv 2106.09685). full: everything, the encoder slower
the nearer a block lies to the image (layer-wise decay, arXiv 2106.08254).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..configs.errors import InputError
from .block import ScaledLinear
from .dense import ClassifyConfig, DenseModel

How = Literal["head", "decoder", "lora", "full"]

LORA_TARGETS = r"encoder\.blocks\.\d+\.attention\.(qkv|proj)"


@dataclass(frozen=True)
class TrainedGroup:
    """Parameters that learn at one rate.

    Attributes:
        name: such as "head", "decoder", "encoder.blocks.3".
        encoder: whether the encoder's rate is meant, else that of decoder and heads.
        factor: times that rate.
        parameters: of the group; all others of the model are frozen.
    """

    name: str
    encoder: bool
    factor: float
    parameters: tuple[nn.Parameter, ...]


def adapt(
    model: DenseModel, how: How, head: str, layer_decay: float = 0.75, rank: int = 8
) -> list[TrainedGroup]:
    """Freeze what shall not learn, in place, and group what does.

    Args:
        model: changed: `requires_grad`, and with LoRA its modules (`merge_lora` undoes that).
        how: see above.
        head: name of the head that learns; the others stay as they are.
        layer_decay: full: each block learns by this factor slower than the next one; 1 = alike.
        rank: of LoRA.

    Returns:
        Groups of parameters that learn.

    Raises:
        InputError: no such head; or LoRA is wanted and peft is not installed.
    """
    if head not in model.heads:
        raise InputError(f"no head {head!r} in these weights, found {sorted(model.config.heads)}")
    model.requires_grad_(False)
    if how == "lora":
        _inject_lora(model, rank)
    groups = _head_groups(model.heads[head])
    # A classification head reads the encoder's tokens; the decoder is not run at all.
    if how != "head" and not isinstance(model.config.heads[head], ClassifyConfig):
        groups += [_group(name, model.get_submodule(name)) for name in ("detail", "decoder")]
    if how == "lora":
        corrections = tuple(p for n, p in model.encoder.named_parameters() if "lora_" in n)
        groups.append(TrainedGroup("encoder.lora", True, 1.0, corrections))
    if how == "full":
        groups += _encoder_groups(model, layer_decay)
    for group in groups:
        for parameter in group.parameters:
            parameter.requires_grad_(True)
    return groups


def _head_groups(head: nn.Module) -> list[TrainedGroup]:
    """The head; apart from it a distance channel, which no pretrained weights have."""
    apart = getattr(head, "distance", None)
    if not isinstance(apart, nn.Module):
        return [_group("head", head)]
    own = tuple(apart.parameters())
    rest = [p for p in head.parameters() if all(p is not other for other in own)]
    return [
        TrainedGroup("head", False, 1.0, tuple(rest)),
        TrainedGroup("head.distance", False, 1.0, own),
    ]


def trained_share(model: nn.Module, groups: list[TrainedGroup]) -> float:
    """Share of the model's parameters that learn, 0 to 1."""
    trained = sum(parameter.numel() for group in groups for parameter in group.parameters)
    return trained / sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def merge_lora(model: nn.Module) -> None:
    """Add LoRA's corrections to the weights and put the plain layers back, in place.

    Not by peft's own merge: our `ScaledLinear` multiplies its weights by a scale afterwards, which
    the correction beside it does not know.
    """
    for name, layer in list(_lora_layers(model)):
        base = layer.get_base_layer()
        for adapter in layer.active_adapters:
            correction: Tensor = layer.get_delta_weight(adapter)
            if isinstance(base, ScaledLinear):
                correction = correction / base.scale[:, None]
            base.weight += correction
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, base)


def _inject_lora(model: DenseModel, rank: int) -> None:
    if find_spec("peft") is None:
        raise InputError(
            'adapt=lora needs peft, which is not installed: run pip install "luxvox[train]", or '
            "set adapt=decoder"
        )
    peft = import_module("peft")
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_TARGETS)
    peft.inject_adapter_in_model(config, model)
    model.requires_grad_(False)


def _lora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "get_base_layer"):
            yield name, module


def _encoder_groups(model: DenseModel, decay: float) -> list[TrainedGroup]:
    """The last norm at the full rate, then each block slower, and the embeddings slowest."""
    encoder = model.encoder
    depth = len(encoder.blocks)
    groups = [_group("encoder.norm", encoder.norm, encoder=True)]
    for number, block in enumerate(encoder.blocks):
        name = f"encoder.blocks.{number}"
        groups.append(_group(name, block, encoder=True, factor=decay ** (depth - 1 - number)))
    grouped = {id(parameter) for group in groups for parameter in group.parameters}
    rest = tuple(p for p in encoder.parameters() if id(p) not in grouped)
    return [*groups, TrainedGroup("encoder.embed", True, decay**depth, rest)]


def _group(
    name: str, module: nn.Module, encoder: bool = False, factor: float = 1.0
) -> TrainedGroup:
    return TrainedGroup(name, encoder, factor, tuple(module.parameters()))
