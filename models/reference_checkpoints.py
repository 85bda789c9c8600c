"""Published checkpoints of LSM-FM (MONAI UNet and SwinUNETR) as plain MONAI nets.

Their files are those of a Lightning module: the net that was trained (`student_encoder.`), its
moving average (`teacher_encoder.`), a text encoder and heads. One of the two nets is taken, whole;
what else lies there is reported by name. Nothing that a pickle could run is ever run.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ..configs.errors import InputError
from ..configs.explain import one_line
from .checkpoint import load_strict

Kind = Literal["unet", "swinunetr"]
Network = Literal["student", "teacher"]

STRIDES = (2, 2, 2, 1)
"""Of the published UNet; tensors do not tell them, hyper-parameters in the file win."""
_FIRST_CONV = re.compile(r"^model\.(?:1\.submodule\.)*0\.conv\.unit0\.conv\.weight$")
_BOTTOM_CONV = re.compile(r"^model\.(?:1\.submodule\.)+conv\.unit0\.conv\.weight$")


@dataclass(frozen=True)
class ReferenceReport:
    """What became of every tensor of a checkpoint.

    Attributes:
        where: the file.
        kind: of the net.
        network: which of the two was taken.
        settings: with which the MONAI net was built.
        loaded: names in the net, all that it has.
        left_out: tensors that were not used, by the first part of their name.
    """

    where: str
    kind: Kind
    network: Network
    settings: Mapping[str, Any]
    loaded: tuple[str, ...]
    left_out: Mapping[str, int]

    def __str__(self) -> str:
        """One line for people."""
        rest = ", ".join(f"{name} {count}" for name, count in self.left_out.items()) or "nothing"
        return (
            f"{self.where}: {self.kind}, {self.network}: {len(self.loaded)} of {len(self.loaded)} "
            f"tensors of the net loaded; left out: {rest}"
        )


def load_reference(
    path: str | Path, network: Network = "student"
) -> tuple[nn.Module, ReferenceReport]:
    """Build the MONAI net of a published checkpoint and fill it.

    Args:
        path: `.ckpt` or `.pt`: a Lightning checkpoint, or only its `state_dict`.
        network: the net that was trained, or its moving average.

    Returns:
        The net in evaluation mode, [B, 1, Z, Y, X] -> [B, features, Z, Y, X], on the CPU, and what
        did and did not load. Inputs of the reference are scaled to 0..1 by percentiles 1 and 99.

    Raises:
        InputError: no such file, nothing that can be opened safely, none of the two nets in it, or
            a tensor of the net that is missing, unknown or of another shape.
    """
    content = _open(Path(path))
    stored = content.get("state_dict", content)
    tensors = {str(name): tensor for name, tensor in stored.items() if isinstance(tensor, Tensor)}
    prefix = f"{network}_encoder."
    own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    kind = _kind_of(own)
    if kind is None:
        there = ", ".join(dict.fromkeys(name.split(".")[0] for name in tensors)) or "no tensors"
        raise InputError(
            f"{path}: no MONAI UNet or SwinUNETR under {prefix!r}, found {there}; expected a "
            "pretraining checkpoint of LSM-FM"
        )
    said = content.get("hyper_parameters", {})
    said = said.get("model", {}) if isinstance(said, Mapping) else {}
    try:
        settings = _unet_settings(own, said) if kind == "unet" else _swin_settings(own)
        net = _build(kind, settings)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise InputError(
            f"{path}: no {kind} can be built from what it holds ({one_line(error)}); expected a "
            "pretraining checkpoint of LSM-FM"
        ) from error
    load_strict(net, own, str(path))
    rest = Counter(name.split(".")[0] for name in tensors if not name.startswith(prefix))
    report = ReferenceReport(str(path), kind, network, settings, tuple(own), dict(rest))
    return net.eval(), report


def _open(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a downloaded checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise InputError(
            f"{path}: holds more than tensors and plain values, or is damaged, and was not opened "
            f"({one_line(error)[:120]}); where you trust it, save its state_dict alone with torch"
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected a state_dict")
    return content


def _kind_of(tensors: Mapping[str, Tensor]) -> Kind | None:
    if any(name.startswith("swinViT.") for name in tensors):
        return "swinunetr"
    return "unet" if any(_FIRST_CONV.match(name) for name in tensors) else None


def _unet_settings(tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> dict[str, Any]:
    """Widths from the tensors, level by level; strides as the file says, or the published ones."""
    # The deeper a level, the longer its name; the bottom one has a form of its own.
    down = sorted((name for name in tensors if _FIRST_CONV.match(name)), key=len)
    bottom = [name for name in tensors if _BOTTOM_CONV.match(name)]
    channels = tuple(int(tensors[name].shape[0]) for name in [*down, *bottom])
    own = said.get("unet", {}) if isinstance(said.get("unet", {}), Mapping) else {}
    units = {name.split(".")[3] for name in tensors if name.startswith("model.0.conv.unit")}
    batch = any(name.endswith("running_mean") for name in tensors)
    return {
        "in_channels": int(tensors[down[0]].shape[1]),
        # A transposed convolution: its outputs are the second axis.
        "out_channels": int(tensors["model.2.0.conv.weight"].shape[1]),
        "channels": channels,
        "strides": tuple(int(step) for step in own.get("strides", STRIDES[: len(channels) - 1])),
        "num_res_units": len(units),
        "norm": "BATCH" if batch else "INSTANCE",
    }


def _swin_settings(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    width, channels = tensors["swinViT.patch_embed.proj.weight"].shape[:2]
    out = tensors["out.conv.conv.weight"].shape[0]
    return {"in_channels": int(channels), "out_channels": int(out), "feature_size": int(width)}


def _build(kind: Kind, settings: Mapping[str, Any]) -> nn.Module:
    if kind == "unet":
        from monai.networks.nets.unet import UNet

        return UNet(spatial_dims=3, **settings)
    from monai.networks.nets.swin_unetr import SwinUNETR

    return cast(nn.Module, SwinUNETR(**settings))
