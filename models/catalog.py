"""Where weights lie: in a folder that is named, shipped with luxvox, in the cache, or elsewhere.

Each shipped file is checked against its sha256 before use.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from ..configs.errors import InputError
from .hub import fetch
from .hub_cache import has_weights, placed, placed_keys
from .hub_source import PUBLISHED, read_source
from .shard_index import sha256_of

WEIGHTS = Path(__file__).parent / "weights"
"""One folder for each name: what `checkpoint.save_weights` wrote."""

SHIPPED: Mapping[str, Mapping[str, str]] = {
    "luxvox-tiny": {
        "README.md": "3e301cf387d4b43408ffec7e3830b1a428181b33e4c2ea90fee0504d8d958489",
        "config.json": "ac6c00e42f7629a4092cb90a75af66169f3eae2e9d2412253becb2de45a93ca6",
        "model.safetensors": "51f5c28834cb9160919da66a3008c02008770431f2f781fa814fd05659c0b3cf",
        "focus/README.md": "747844c92308922fa4509b9868d0e97b2c4ff35dc766f0c53520444fcf4616de",
        "focus/config.json": "5baf252f13a77c00b6d552efc051d4966a80109488b0c74ff67239c81159f789",
        "focus/model.safetensors": (
            "cb4069c9b29ab20c3d2e29b2a6ab359d0cbc8f2861903f0c6b674d70107470c1"
        ),
    },
}
"""Name -> file in its folder -> sha256."""


def find_folder(name: str | Path) -> Path:
    """Folder of weights.

    Args:
        name: a RUN folder (with `weights/`), a folder of weights, a name that ships or that lies in
            the cache, or a source on the network (`hub_source`), which is fetched the first time.

    Raises:
        InputError: nothing of that name, or it cannot be fetched.
    """
    if read_source(str(name)) is not None:
        return _usable(fetch(str(name)))
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
    if str(name) not in SHIPPED and (there := placed(str(name))) is not None:
        return _usable(there)
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
        names = [*SHIPPED, *placed_keys(), *PUBLISHED]
        there = ", ".join([*SHIPPED, *placed_keys()]) or "none yet"
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        meant = f"did you mean {' or '.join(near)}? Or " if near else ""
        raise InputError(
            f"{name}: no such folder, and no weights of that name ship or lie in the cache (there "
            f"are: {there}); {meant}give a RUN folder, a folder with config.json and "
            "model.safetensors, a name, hf:owner/name, or a URL"
        )
    folder = WEIGHTS / name
    for file, wanted in SHIPPED[name].items():
        found = sha256_of(folder / file) if (folder / file).is_file() else "no such file"
        if found != wanted:
            raise InputError(
                f"{folder / file}: damaged (sha256 {found}, expected {wanted}); "
                "install luxvox again"
            )
    return folder


def _usable(folder: Path) -> Path:
    """The folder, if it holds weights of luxvox: a record may hold anything."""
    if not has_weights(folder):
        raise InputError(
            f"{folder}: holds no luxvox weights but files of others; published checkpoints of "
            "LSM-FM are opened by luxvox.models.reference_checkpoints.load_reference"
        )
    return folder
