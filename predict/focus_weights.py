"""Weights of the learned focus head: a folder that `luxvox finetune focus` wrote.

Prototypes of stains lie in it, so the text tower is not needed; the frozen encoder does not, it is
named, and checked to be the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from ..configs.errors import InputError
from ..configs.explain import one_line
from ..data.stains import parse_stain
from ..models.catalog import find_folder
from ..models.checkpoint import CONFIG, load_strict, load_weights, read_config, save_weights
from ..models.focus_config import FocusConfig
from ..models.focus_regressor import FocusRegressor
from ..models.heads.focus import FocusHead
from .focus import Mode
from .focus_calibration import Residuals
from .focus_tokens import FrozenEncoder

KIND = "focus"
"""Of weights; and the folder inside of other weights that a head ships in."""
MODES: tuple[Mode, ...] = get_args(Mode)
_RESIDUALS, _STACKS = "residuals_{}", "residual_stacks_{}"  # of a mode

FocusModel = FocusHead | FocusRegressor


@dataclass(frozen=True)
class LearnedFocus:
    """A head with what it needs to be used.

    Attributes:
        model: in evaluation mode.
        stains: that it knows, as written; the first has number 1, 0 is the unknown.
        encoder: frozen; None where the head reads no tokens.
        residuals: (true - found) / (standard deviation it said), of specimens left out, by mode:
            a volume is far harder than a sweep. Of a mode that none was of, they are empty.
        where: names it in messages.
    """

    model: FocusModel
    stains: tuple[str, ...]
    encoder: FrozenEncoder | None
    residuals: Mapping[Mode, Residuals]
    where: str

    def stain_number(self, stain: str | None) -> int:
        """Number of a stain by its normal form; 0 = not told, or not known."""
        keys = [parse_stain(known).key for known in self.stains]
        key = None if stain is None else parse_stain(stain).key
        return keys.index(key) + 1 if key in keys else 0


def build_model(config: FocusConfig) -> FocusModel:
    """A head with random weights, or a regressor where the config names one."""
    return FocusRegressor(config) if config.regressor is not None else FocusHead(config)


def save_learned(
    folder: str | Path, learned: LearnedFocus, recipe: Mapping[str, Any], groups: list[str]
) -> Path:
    """Write weights; an older folder of that name is replaced only by a complete new one.

    Args:
        folder: to write.
        learned: what to write.
        recipe: as plain values.
        groups: specimens that were learnt from.

    Raises:
        InputError: the folder cannot be written.
    """
    tensors: dict[str, Tensor] = dict(learned.model.state_dict())
    for mode, residuals in learned.residuals.items():
        tensors[_RESIDUALS.format(mode)] = torch.from_numpy(residuals.values.astype(np.float32))
        tensors[_STACKS.format(mode)] = torch.from_numpy(residuals.stacks.astype(np.int64))
    encoder = learned.encoder
    config = {
        "architecture": {
            "kind": KIND,
            "focus": learned.model.config.model_dump(mode="json"),
            "encoder": None if encoder is None else encoder.name,
            "encoder_fingerprint": None if encoder is None else encoder.fingerprint,
        },
        "normalisation": "0 = quantile 0.01, 1 = quantile 0.998 of slices of the stack",
        "voxel_size_range_um": None,
        "stains": list(learned.stains),
        "structures": [],
        "recipe": dict(recipe),
        "data": {"groups": groups},
        "licence": "Apache-2.0",
    }
    return save_weights(folder, tensors, config, _CARD)


def is_learned(folder: str | Path) -> bool:
    """Whether a RUN, a folder of weights, or a name that ships holds a focus head.

    Raises:
        InputError: no weights there, or they do not say of which kind they are.
    """
    parts = read_config(_head_folder(folder)).get("architecture")
    return isinstance(parts, dict) and parts.get("kind") == KIND


def load_learned(name: str | Path) -> LearnedFocus:
    """Open a RUN of `luxvox finetune focus`, the weights in it, or a name that ships with a head.

    Raises:
        InputError: no such folder, other weights, damaged ones, those of an earlier luxvox, or an
            encoder that is not the one that was learnt with.
    """
    folder = _head_folder(name)
    tensors, config = load_weights(folder)
    try:
        parts = config["architecture"]
        if parts["kind"] != KIND:
            raise InputError(
                f"{folder}: weights of {parts['kind']!r}, expected a focus head; give a RUN of "
                "luxvox finetune focus"
            )
        model = build_model(FocusConfig.model_validate(parts["focus"]))
        stains = tuple(str(stain) for stain in config["stains"])
        named, fingerprint = parts["encoder"], parts["encoder_fingerprint"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: no focus head can be built from it ({one_line(error)}); give a RUN of "
            "luxvox finetune focus"
        ) from error
    asked = [*model.state_dict(), *(n.format(m) for m in MODES for n in (_RESIDUALS, _STACKS))]
    if lacking := [name for name in asked if name not in tensors]:
        raise InputError(
            f"{folder}: lacks {lacking[0]}, as heads of an earlier luxvox do; train it again with "
            "luxvox finetune focus"
        )
    residuals: dict[Mode, Residuals] = {mode: _residuals(tensors, mode) for mode in MODES}
    load_strict(model, tensors, str(folder))
    encoder = None if named is None else FrozenEncoder(named)
    if encoder is not None and encoder.fingerprint != fingerprint:
        raise InputError(
            f"{folder}: learnt with other weights of {named} than those there are now; bring back "
            "the old ones, or train again"
        )
    return LearnedFocus(model.eval(), stains, encoder, residuals, str(name))


def _residuals(tensors: dict[str, Tensor], mode: Mode) -> Residuals:
    """Taken out of the tensors: they are no part of the network."""
    values, stacks = (tensors.pop(name.format(mode)) for name in (_RESIDUALS, _STACKS))
    return Residuals(values.numpy().astype(np.float64), stacks.numpy())


def _head_folder(name: str | Path) -> Path:
    """Folder of a head's own weights: weights of another kind may hold one in `focus/`."""
    folder = find_folder(name)
    inside = folder / KIND
    return inside if (inside / CONFIG).is_file() else folder


_CARD = """# Focus head

Trained by `luxvox finetune focus`. Use: `luxvox focus STACK --mode sweep --csv OUT --weights RUN`.
Says of every slice how many depths of field it lies from focus.
"""
