"""The cache of downloads: LUXVOX_HOME/weights/KEY, each folder whole, with a list of its sums.

`source.json` in a folder says where it came from and the sha256 of every file, so that it can be
verified later, copied to a machine without a network, and imported there under the same key.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..configs.errors import InputError
from ..configs.home import cache_home
from ..configs.run_folder import lock_run
from .checkpoint import CARD, CONFIG, load_weights
from .hub_source import is_plain, is_plain_path
from .shard_index import INDEX, sha256_of
from .whole_folder import restore_folder, written_whole

ORIGIN = "source.json"
FOCUS = "focus"
"""Folder inside of weights: a focus head that comes with them."""


@dataclass(frozen=True)
class Finding:
    """What became of one file of a folder, compared with what it was.

    Attributes:
        name: of the file.
        right: whether its sha256 is the one noted.
        words: for people.
    """

    name: str
    right: bool
    words: str


def weights_home() -> Path:
    """The folder of the cache; it need not exist."""
    return cache_home() / "weights"


def placed(key: str) -> Path | None:
    """The folder of a key in the cache, None where there is none."""
    if not is_plain(key):
        return None
    folder = weights_home() / key
    with suppress(OSError):  # a shared cache may be read-only
        restore_folder(folder)
    return folder if (folder / ORIGIN).is_file() else None


def placed_keys() -> list[str]:
    """Keys of all folders in the cache, in order."""
    return sorted(path.parent.name for path in weights_home().glob(f"[!.]*/{ORIGIN}"))


def read_origin(folder: Path) -> dict[str, Any]:
    """What source.json of a folder says; {} where there is none.

    Raises:
        InputError: it cannot be read, or is none.
    """
    path = folder / ORIGIN
    if not path.is_file():
        return {}
    try:
        origin = json.loads(path.read_text(encoding="utf-8"))
        files = origin["files"]
        names = all(is_plain_path(name.replace(" ", "_")) for name in files)
        sums = all(isinstance(said["sha256"], str) for said in files.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); download or copy it again") from error
    if not (names and sums and is_plain(str(origin.get("key", "")))):
        raise InputError(f"{path}: no list of files that luxvox wrote; copy the folder again")
    return origin


@contextmanager
def staging(key: str) -> Iterator[Path]:
    """A folder for the files of a download; what an interrupted one left lies in it already.

    Raises:
        InputError: it cannot be written, or another process is downloading the same.
    """
    folder = weights_home() / ".downloads" / key
    try:
        lock = lock_run(folder)
    except InputError as error:
        busy = "another run" in str(error)
        why = "another process is downloading it; wait for it" if busy else (
            "the cache cannot be written; set LUXVOX_HOME to a folder that can"
        )  # fmt: skip
        raise InputError(f"{folder}: {why}") from error
    with lock:
        yield folder


def staged(folder: Path) -> bool:
    """Whether anything has come into a folder of `staging`."""
    return any(path.is_file() and path.name != ".lock" for path in folder.rglob("*"))


def clear_staging(key: str) -> None:
    """Throw away what lies in `staging`."""
    shutil.rmtree(weights_home() / ".downloads" / key, ignore_errors=True)


def place(
    key: str, files: Mapping[str, Path], origin: Mapping[str, Any], keep: bool = False
) -> Path:
    """Move files into the cache as the folder of a key, all at once.

    Args:
        key: a plain word.
        files: by their names in the folder; on the disk of the cache, moved.
        origin: what else source.json says.
        keep: older files of that folder stay, where no new one has their name.

    Returns:
        The folder.

    Raises:
        InputError: it cannot be written; what was there is unchanged.
    """
    folder = weights_home() / key
    older = read_origin(folder).get("files", {}) if keep and folder.is_dir() else {}
    sums = {name: said for name, said in older.items() if name not in files}
    with written_whole(folder) as partial:
        for name in sums:
            _link(folder / name, partial / name)
        for name, path in files.items():
            sums[name] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
            (partial / name).parent.mkdir(exist_ok=True)
            path.replace(partial / name)
        text = json.dumps({"key": key, **origin, "files": sums}, indent=1, sort_keys=True)
        (partial / ORIGIN).write_text(text + "\n", encoding="utf-8")
    return folder


def copy_folder(folder: Path, out: Path) -> Path:
    """Copy a folder of the cache, or of weights, to a place that must not exist or be empty.

    Raises:
        InputError: something stands there, or it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists already and is not empty; choose another folder")
    with written_whole(out) as partial:
        for path in sorted(folder.rglob("*")):
            within = path.relative_to(folder)
            if path.is_file() and not any(part.startswith(".") for part in within.parts):
                (partial / within).parent.mkdir(exist_ok=True, parents=True)
                shutil.copyfile(path, partial / within)
    return out


def verify(folder: Path) -> list[Finding]:
    """Compare a folder with its source.json; weights are also loaded, as `luxvox.load` would.

    Returns:
        One finding a file, and one of the weights as a whole if there are any.

    Raises:
        InputError: source.json cannot be read, or there is nothing to verify.
    """
    files = read_origin(folder).get("files", {})
    found = []
    for name, said in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            found.append(Finding(name, False, "missing"))
            continue
        digest = sha256_of(path)
        right = digest == said["sha256"]
        words = f"sha256 {digest}" if right else f"sha256 {digest}, expected {said['sha256']}"
        found.append(Finding(name, right, words))
    if has_weights(folder) and all(finding.right for finding in found):
        try:
            found.append(Finding("weights", True, f"{count_tensors(folder)} tensors can be read"))
        except InputError as error:
            found.append(Finding("weights", False, str(error)))
    if not found:
        raise InputError(f"{folder}: neither {ORIGIN} nor {CONFIG} there; nothing to verify")
    return found


def has_weights(folder: Path) -> bool:
    """Whether a folder means to be one of luxvox weights."""
    return (folder / CONFIG).is_file()


def count_tensors(folder: Path) -> int:
    """Load weights, and the focus head that may come with them; gives how many tensors there are.

    Raises:
        InputError: either cannot be loaded.
    """
    parts = [folder, *([folder / FOCUS] if has_weights(folder / FOCUS) else [])]
    return sum(len(load_weights(part)[0]) for part in parts)


def weights_names(there: Iterable[str]) -> list[str]:
    """Which files belong to weights: config, card, tensors, and those of a focus head.

    Args:
        there: names of files in a folder or a repository, those in folders as "focus/config.json".
    """
    known, names = set(there), []
    for within in ("", f"{FOCUS}/"):
        if within + CONFIG not in known:
            continue
        tensors = sorted(
            name
            for name in known
            if name.startswith(within)
            and name.endswith(".safetensors")
            and is_plain(name.removeprefix(within))
        )
        words = (within + name for name in (CONFIG, CARD, INDEX))
        names += [*(name for name in words if name in known), *tensors]
    return names


def weights_files(folder: Path) -> dict[str, Path]:
    """The files of a weights folder that are kept, by their names in it; nothing else."""
    there = [*folder.glob("*"), *folder.glob(f"{FOCUS}/*")]
    names = weights_names(path.relative_to(folder).as_posix() for path in there if path.is_file())
    return {name: folder / name for name in names}


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk knows no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
