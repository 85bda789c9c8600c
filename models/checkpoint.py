"""Weights folders: model.safetensors + config.json + README.md (the card); all or nothing.

Training checkpoints with optimiser and position in the data are the training loop's; this is what
users keep and share.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..configs.errors import InputError
from .shard_index import INDEX, read_shards
from .whole_folder import restore_folder, written_whole

FORMAT_VERSION = 1
TENSORS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

CONFIG_KEYS = (
    "architecture",
    "normalisation",
    "voxel_size_range_um",
    "stains",
    "structures",
    "recipe",
    "data",
    "licence",
)
"""What config.json must say beside `format_version`, which is written here."""


def save_weights(
    folder: str | Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    card: str,
) -> Path:
    """Write a weights folder; an older one of that name is replaced only by a complete new one.

    Args:
        folder: to write.
        tensors: by name; from any device.
        config: all of `CONFIG_KEYS`, as far as JSON can hold it.
        card: model card, Markdown.

    Raises:
        InputError: the folder cannot be written (no space, no permission).
        ValueError: a key of `CONFIG_KEYS` is missing.
    """
    from safetensors.torch import save_file

    missing = [key for key in CONFIG_KEYS if key not in config]
    if missing:
        raise ValueError(f"config of the weights lacks {missing}, expected {list(CONFIG_KEYS)}")
    folder = Path(folder)
    with written_whole(folder) as partial:
        stored = {name: _as_stored(tensor) for name, tensor in tensors.items()}
        save_file(stored, partial / TENSORS, metadata={"format": "pt"})
        text = json.dumps({"format_version": FORMAT_VERSION, **config}, indent=2)
        (partial / CONFIG).write_text(text + "\n", encoding="utf-8")
        (partial / CARD).write_text(card, encoding="utf-8")
    return folder


def load_weights(folder: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a weights folder, whole or in shards: tensors by name (on the CPU) and its config.

    Raises:
        InputError: no such folder; or a file is missing, cut short, no safetensors file (a pickle
            is never opened), or of a later format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    restore_folder(folder)
    in_shards = (folder / INDEX).is_file() and not (folder / TENSORS).is_file()
    for name in (INDEX if in_shards else TENSORS, CONFIG):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder}: no {name} there; expected a weights folder with {TENSORS} and {CONFIG}"
            )
    config = read_config(folder)
    if in_shards:
        return read_shards(folder), config
    try:
        tensors = load_file(folder / TENSORS)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{folder / TENSORS}: cut short or no safetensors file ({error}); it was not opened as "
            "anything else; copy or download it again"
        ) from error
    return tensors, config


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Fill a module with tensors that must fit exactly; nothing is changed if they do not.

    Args:
        module: to fill; floating tensors are cast to its dtype.
        tensors: by name.
        where: file or folder, for the message.

    Raises:
        InputError: names or shapes differ; the message gives the first of each.
    """
    own = module.state_dict()
    problems = []
    if missing := [name for name in own if name not in tensors]:
        problems.append(f"lacks {_first(missing)}")
    if unknown := [name for name in tensors if name not in own]:
        problems.append(f"has unknown {_first(unknown)}")
    shapes = [
        f"{name} {list(tensors[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if shapes:
        problems.append(f"has other shapes: {_first(shapes)}")
    if problems:
        raise InputError(
            f"{where}: weights of another architecture than the one asked for: "
            + "; ".join(problems)
            + "; build the model from the config.json beside the weights"
        )
    module.load_state_dict(dict(tensors), strict=True)


def _first(names: list[str], count: int = 3) -> str:
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest


def _as_stored(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU: safetensors refuses tensors that share memory."""
    return tensor.detach().cpu().contiguous().clone()


def read_config(folder: str | Path) -> dict[str, Any]:
    """What a weights folder says of itself, without its tensors.

    Raises:
        InputError: no config.json there, a damaged one, or one of a later format.
    """
    path = Path(folder) / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); copy it again") from error
    if not isinstance(config, dict) or not isinstance(config.get("format_version"), int):
        raise InputError(f"{path}: no format_version in it; not a luxvox weights folder")
    if config["format_version"] > FORMAT_VERSION:
        raise InputError(
            f"{path}: format_version {config['format_version']}, this luxvox reads up to "
            f"{FORMAT_VERSION}; update it (pip install -U luxvox)"
        )
    return config


def fingerprint(folder: str | Path) -> str:
    """Another one whenever tensors or config of a weights folder are others, wherever it lies.

    Raises:
        InputError: there are no weights.
    """
    folder, digest = Path(folder), hashlib.sha256()
    # An index holds the sha256 of every shard.
    tensors = TENSORS if (folder / TENSORS).is_file() else INDEX
    for path in (folder / tensors, folder / CONFIG):
        if not path.is_file():
            raise InputError(f"{folder}: no {path.name} there; expected a weights folder")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def groups_of(config: Mapping[str, Any]) -> list[str] | None:
    """Groups that weights have seen, by their config.json; None where it does not say."""
    data = config.get("data")
    groups = data.get("groups") if isinstance(data, dict) else None
    return [str(group) for group in groups] if isinstance(groups, list) else None
