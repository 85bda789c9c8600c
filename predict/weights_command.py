"""`luxvox weights ...`: list, download, verify, where, import, push.

Bodies of the verbs of `weights_verbs`, which loads typer and nothing else. They print what a user
wants to know, and leave the work to models/hub*.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..configs.errors import InputError
from ..configs.home import offline
from ..models.catalog import SHIPPED, find_folder, find_weights
from ..models.checkpoint import CONFIG, read_config
from ..models.hub import fetch, import_folder
from ..models.hub_archive import is_archive, unpack
from ..models.hub_cache import (
    FOCUS,
    Finding,
    copy_folder,
    has_weights,
    placed,
    placed_keys,
    read_origin,
    verify,
    weights_home,
)
from ..models.hub_huggingface import push_folder
from ..models.hub_source import PUBLISHED, read_source

_EVERY = 2.0  # seconds between two lines of progress


def list_command(pattern: str = "*", json_out: bool = False) -> None:
    """Print what there is: shipped, in the cache, and published by others."""
    from fnmatch import fnmatch

    rows = [row for row in _rows() if fnmatch(row["name"], pattern)]
    if json_out:
        print(json.dumps(rows, indent=1))
        return
    if not rows:
        print(f"no weights like {pattern!r}; luxvox weights list shows all")
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        print(f"{row['name']:{width}}  {row['state']:9}  {row['about']}")


def download_command(
    text: str,
    sha256: str | None = None,
    to: Path | None = None,
    only: Sequence[str] = (),
    unpack_archives: bool = False,
    again: bool = False,
) -> None:
    """Fetch weights, or the files of a record, and print where they are.

    Raises:
        InputError: as `models.hub.fetch`; DIR is not empty, or missing where it is needed.
    """
    if unpack_archives and to is None:
        raise InputError("--unpack needs a place of yours; add --to DIR")
    if to is not None and to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to}: exists already and is not empty; choose another folder")
    if text in SHIPPED:
        folder = find_weights(text)
    elif read_source(text) is None:
        folder = find_folder(text)  # in the cache under its name, or unknown: the nearest are told
    else:
        folder = fetch(text, sha256=sha256, only=only, again=again, progress=_Lines())
    if to is not None:
        folder = copy_folder(folder, to)
    if unpack_archives:
        for archive in [path for path in sorted(folder.iterdir()) if is_archive(path.name)]:
            out = folder / archive.name.split(".")[0]
            print(f"unpacked: {out if out.is_dir() else unpack(archive, out)}")
    print(folder)
    if not has_weights(folder):
        files = ", ".join(read_origin(folder).get("files", {}))
        print(f"no weights of luxvox, but files as published: {files}")


def verify_command(names: Sequence[str]) -> bool:
    """Compare weights with their checksums, build and fill the models; True where all is right.

    Args:
        names: folders, names, sources in the cache; () = all that ship and all in the cache.

    Raises:
        InputError: no such weights.
    """
    right = True
    for name in names or [*SHIPPED, *placed_keys()]:
        folder = find_weights(name) if name in SHIPPED else _find(name)
        findings = verify(folder)
        if has_weights(folder) and all(finding.right for finding in findings):
            findings.append(_filled(folder))
        for finding in findings:
            print(f"{name}: {finding.name}: {'' if finding.right else 'WRONG: '}{finding.words}")
            right = right and finding.right
    if not names and not (SHIPPED or placed_keys()):
        print("nothing to verify: no weights ship, and the cache is empty")
    return right


def where_command(name: str | None = None) -> None:
    """Print the folder of weights, or of the cache; fetches nothing.

    Raises:
        InputError: weights that are not on this machine.
    """
    print(weights_home() if name is None else _find(name))


def import_command(path: Path, name: str | None = None) -> None:
    """Put a folder or an archive of weights into the cache, and print how to load it.

    Raises:
        InputError: as `models.hub.import_folder`; a name that means what ships.
    """
    wanted = name or path.name.partition(".")[0]
    if wanted in SHIPPED:  # which would be found first, whatever lay in the cache
        raise InputError(f"{wanted}: weights of that name ship; give another name with --name")
    folder = import_folder(path, name)
    origin = read_origin(folder)
    source = str(origin.get("source", ""))
    known = read_source(source) if source.startswith(("hf:", "doi:", "http")) else None
    by = source if known is not None and known.key == folder.name else folder.name
    print(f"{folder}\nload it as {by}")


def push_command(name: str, repo: str, private: bool = False) -> None:
    """Upload weights to the Hugging Face hub, and print where they are.

    Raises:
        InputError: no weights, no permission, no network.
    """
    repo = repo.removeprefix("hf:")
    folder = find_folder(name)
    if not has_weights(folder):
        raise InputError(f"{name}: no luxvox weights; give a RUN or a folder of weights")
    if offline():
        raise InputError(f"hf:{repo}: the network is off (HF_HUB_OFFLINE or LUXVOX_OFFLINE)")
    print(f"{push_folder(folder, repo, private)}\nload it as hf:{repo}")


def _filled(folder: Path) -> Finding:
    """Build what config.json describes and fill it, as every use does: no tensor may be missing."""
    from .focus_encoders import load_quality
    from .focus_weights import KIND, load_learned
    from .model import load

    architecture = read_config(folder).get("architecture")
    kind = architecture.get("kind") if isinstance(architecture, dict) else None
    try:
        {KIND: load_learned, "quality": load_quality}.get(str(kind), load)(folder)
        if has_weights(folder / FOCUS):
            load_learned(folder)
    except InputError as error:
        return Finding("model", False, str(error))
    return Finding("model", True, "all tensors fit")


def _find(name: str) -> Path:
    """Weights on this machine; a source only if it lies in the cache."""
    source = read_source(name)
    if source is None:
        return find_folder(name)
    there = placed(source.key)
    if there is None:
        raise InputError(f"{name}: not in the cache; luxvox weights download {name} fetches it")
    return there


def _rows() -> Iterator[dict[str, str]]:
    for name in SHIPPED:
        yield {"name": name, "state": "shipped", "about": _about(find_weights(name))}
    for key in placed_keys():
        folder = weights_home() / key
        source = read_origin(folder).get("source", "")
        yield {"name": key, "state": "cached", "about": f"{source}  {_about(folder)}".strip()}
    for name, source in PUBLISHED.items():
        yield {"name": name, "state": "published", "about": source}


def _about(folder: Path) -> str:
    """Size on disk, and of weights what they were trained as."""
    if not has_weights(folder):
        files = list(read_origin(folder).get("files", {}).values())
        return f"{len(files)} files, {sum(said.get('bytes', 0) for said in files) / 1e6:.1f} MB"
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{size:.1f} MB, config.json is damaged"
    structures = ", ".join(map(str, config.get("structures") or []))
    return f"{size:.1f} MB, {config.get('licence', 'no licence given')}; {structures}".rstrip("; ")


class _Lines:
    """Progress in lines, not more often than every few seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Print how far a file is."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            of = f" of {total / 1e6:.1f}" if total else ""
            print(f"{name}: {done / 1e6:.1f}{of} MB", flush=True)
