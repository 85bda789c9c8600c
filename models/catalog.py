"""Where weights lie: in a folder that is named, or shipped with luxvox under a name.

Each shipped file is checked against its sha256 before use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ..configs.errors import InputError

WEIGHTS = Path(__file__).parent / "weights"
"""One folder for each name: what `checkpoint.save_weights` wrote."""

SHIPPED: Mapping[str, Mapping[str, str]] = {}
"""Name -> file in its folder -> sha256."""


def find_folder(name: str | Path) -> Path:
    """Folder of weights.

    Args:
        name: a RUN folder (with `weights/`), a folder of weights, or a name that ships.

    Raises:
        InputError: nothing of that name.
    """
    folder = Path(name)
    if (folder / "weights" / "config.json").is_file():
        return folder / "weights"
    if (folder / "config.json").is_file():
        return folder
    if folder.exists():
        raise InputError(
            f"{name}: no weights in it, expected a RUN folder with weights/, or a folder with "
            "config.json and model.safetensors; give what luxvox pretrain or finetune wrote"
        )
    return find_weights(str(name))


def find_weights(name: str) -> Path:
    """Folder of shipped weights.

    Args:
        name: such as "luxvox-tiny".

    Returns:
        A folder that `checkpoint.load_weights` reads.

    Raises:
        InputError: no weights of that name (the message lists those there are), or a file of them
            is missing or damaged.
    """
    if name not in SHIPPED:
        there = ", ".join(SHIPPED) or "none yet"
        raise InputError(
            f"{name}: no such folder, and no weights of that name ship (there are: {there}); "
            "give a RUN folder, a folder with config.json and model.safetensors, or a shipped name"
        )
    folder = WEIGHTS / name
    for file, wanted in SHIPPED[name].items():
        found = _sha256(folder / file) if (folder / file).is_file() else "no such file"
        if found != wanted:
            raise InputError(
                f"{folder / file}: damaged (sha256 {found}, expected {wanted}); "
                "install luxvox again"
            )
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
