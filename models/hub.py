"""Weights from elsewhere: fetched once, checked, kept in the cache, imported where there is no net.

Nothing is opened but safetensors, and nothing is in place before it can be loaded.
"""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from ..configs.errors import InputError
from ..configs.home import offline
from .checkpoint import CARD, CONFIG, TENSORS
from .hub_archive import is_archive, unpack
from .hub_cache import (
    FOCUS,
    ORIGIN,
    clear_staging,
    count_tensors,
    has_weights,
    place,
    placed,
    read_origin,
    staged,
    staging,
    verify,
    weights_files,
)
from .hub_file import CutShortError, MissingFileError, Progress, RemoteFile, fetch_file
from .hub_huggingface import fetch_repo, find_in_hub_cache
from .hub_record import record_files
from .hub_source import Source, is_open_to_others, is_plain, read_source, shown
from .shard_index import INDEX, read_index

_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


def fetch(
    text: str,
    *,
    sha256: str | None = None,
    only: Sequence[str] = (),
    again: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Fetch what a source names, or find it in the cache.

    Args:
        text: hf:owner/name@revision, https://..., doi:10.5281/zenodo.N, or a name of
            `hub_source.PUBLISHED`.
        sha256: of the file at a URL: the archive, model.safetensors, or the index of shards.
        only: of a record: names or patterns such as "*.ckpt"; () = all files.
        again: fetch it even if it is there, because a branch or a file may have moved on.
        progress: told how far each file is.

    Returns:
        Its folder in the cache: luxvox weights, or the files of a record.

    Raises:
        InputError: no such thing, no network, a wrong checksum, weights that luxvox cannot load.
            The cache is as it was then.
    """
    source = read_source(text)
    if source is None:
        raise InputError(
            f"{text}: expected hf:owner/name, https://... or doi:10.5281/zenodo.NUMBER"
        )
    sha256 = _checked_sum(sha256, source)
    if only and source.kind != "record":
        raise InputError(f"{text}: single files can be chosen of a record (doi:) only")
    there = placed(source.key)
    if there is not None and not again and _serves(there, sha256, only):
        return there
    if offline():
        return _offline(source)
    with staging(source.key) as folder:
        try:
            if source.kind == "record":
                out = _fetch_record(source, folder, only, progress)
            else:
                out = _fetch_weights(source, folder, sha256, progress)
        except CutShortError:
            if not staged(folder):
                clear_staging(source.key)
            raise  # what came is kept for the next call
        except InputError:
            clear_staging(source.key)
            raise
        clear_staging(source.key)
    return out


def import_folder(path: Path, name: str | None = None) -> Path:
    """Put weights from a disk into the cache: what `download --to` wrote, a weights folder, a zip.

    Args:
        path: folder, also a RUN, or archive.
        name: to load it by; None = the source it came from, else the name of the folder.

    Returns:
        The folder in the cache. Its name, or its source, now loads without a network.

    Raises:
        InputError: nothing there, damaged, no weights, or no proper name.
    """
    path = path.expanduser()
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_file() and not is_archive(path.name):
        raise InputError(f"{path}: expected a folder, or an archive (.zip, .tar.gz); give one")
    stem, source = path.name, str(path.absolute())
    path = path / "weights" if (path / "weights" / CONFIG).is_file() else path
    while is_archive(stem) or stem.endswith(".tar"):
        stem = stem.rpartition(".")[0]
    with staging(f"import-{quote(stem, safe='')[:60].replace('%', '-')}") as folder:
        try:
            if path.is_file():
                shutil.rmtree(folder / "unpacked", ignore_errors=True)  # of one that was killed
                path = _found_in(unpack(path, folder / "unpacked"), str(path))
            return _placed_copy(path, folder, name, stem, source)
        finally:
            clear_staging(folder.name)


def _placed_copy(path: Path, folder: Path, name: str | None, stem: str, source: str) -> Path:
    """Verify a folder of weights, copy its files into `folder` and place them."""
    origin = read_origin(path)
    key = name or origin.get("key") or stem
    if not is_plain(key):
        raise InputError(f"{key!r}: no name for weights; give letters and digits with --name")
    if wrong := [finding for finding in verify(path) if not finding.right]:
        raise InputError(f"{path}: {wrong[0].name}: {wrong[0].words}; copy it again")
    files = {file: path / file for file in origin.get("files", {})} or weights_files(path)
    copies = {name: _copied(file, folder / name) for name, file in files.items()}
    said = {k: v for k, v in origin.items() if k not in ("key", "files")}
    return place(key, copies, said or {"source": source})


def _copied(path: Path, out: Path) -> Path:
    try:
        out.parent.mkdir(exist_ok=True)
        return Path(shutil.copyfile(path, out))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be copied into the cache ({error.strerror}); free some space, or set "
            "LUXVOX_HOME to another disk"
        ) from error


def _serves(folder: Path, sha256: str | None, only: Sequence[str]) -> bool:
    """Whether a folder of the cache is what is asked for."""
    origin = read_origin(folder)
    names = origin["files"]
    found = all(any(fnmatch.fnmatch(name, wish) for name in names) for wish in only)
    # A record of which only some files were fetched is no whole one.
    return found and (bool(only) or origin.get("whole", True)) and (
        sha256 is None or origin.get("sha256") == sha256
    )  # fmt: skip


def _fetch_weights(
    source: Source, folder: Path, sha256: str | None, progress: Progress | None
) -> Path:
    origin: dict[str, Any] = {"source": source.text}
    if source.kind == "hub":
        files, origin["revision"] = fetch_repo(source, folder)
    else:
        files = _fetch_url(source, folder, sha256, progress)
        origin["sha256"] = sha256
    try:
        count_tensors(files[CONFIG].parent)
    except InputError as error:
        raise InputError(f"{source.text}: not kept: {error}") from error
    return place(source.key, files, origin)


def _fetch_url(
    source: Source, folder: Path, sha256: str | None, progress: Progress | None
) -> dict[str, Path]:
    """Files of a weights folder by name, from an archive or one by one; all lie in one folder."""
    url = source.place
    parts = urlsplit(url)
    name = PurePosixPath(parts.path).name
    if is_open_to_others(url) and sha256 is None:
        raise InputError(f"{url}: http can be changed on the way; use https, or give --sha256")
    if name.lower().endswith(_PICKLES):
        raise InputError(
            f"{url}: a pickle by its name, which could run anything and is never opened; expected "
            "an archive or a folder with model.safetensors"
        )
    checksum = f"sha256:{sha256}" if sha256 else None
    if is_archive(name):
        archive = fetch_file(RemoteFile(name, url, checksum), folder, progress)
        shutil.rmtree(folder / "unpacked", ignore_errors=True)
        try:
            unpacked = unpack(archive, folder / "unpacked")
        except InputError as error:
            raise InputError(f"{shown(url)}: not kept: {error}") from error
        return weights_files(_found_in(unpacked, shown(url)))
    if not name.endswith(".safetensors") and not parts.path.endswith("/"):
        parts = parts._replace(path=parts.path + "/")

    files: dict[str, Path] = {}

    def get(file: str, checksum: str | None = None) -> Path:
        place = folder / file
        if place.name in (CONFIG, CARD):
            place.unlink(missing_ok=True)  # of an earlier try: small, and maybe older
        # Only the path changes, so that a signed address stays signed.
        at = urlunsplit(parts._replace(path=urljoin(parts.path, quote(file))))
        files[file] = fetch_file(RemoteFile(place.name, at, checksum), place.parent, progress)
        return files[file]

    get(CONFIG)
    if name.endswith(".safetensors"):
        files[TENSORS] = fetch_file(RemoteFile(TENSORS, url, checksum), folder, progress)
    else:
        _get_tensors(get, checksum)
        if _get_if_there(get, f"{FOCUS}/{CONFIG}"):
            _get_tensors(get, None, f"{FOCUS}/")
            _get_if_there(get, f"{FOCUS}/{CARD}")
    _get_if_there(get, CARD)
    return files


def _get_tensors(get: Callable[..., Path], checksum: str | None, within: str = "") -> None:
    """model.safetensors, or the index and its shards; the index holds their sha256."""
    try:
        index = get(within + INDEX, checksum)
    except MissingFileError:
        get(within + TENSORS, checksum)
        return
    _, sums = read_index(index)
    for shard, digest in sorted(sums.items()):
        get(within + shard, f"sha256:{digest}")


def _get_if_there(get: Callable[..., Path], name: str) -> bool:
    """Whether the server has a file that weights may lack: a card, a focus head."""
    try:
        get(name)
    except MissingFileError:
        return False
    return True


def _fetch_record(
    source: Source, folder: Path, only: Sequence[str], progress: Progress | None
) -> Path:
    files = record_files(source.place)
    chosen = [f for f in files if not only or any(fnmatch.fnmatch(f.name, w) for w in only)]
    if not chosen:
        there = ", ".join(file.name for file in files)
        raise InputError(f"{source.text}: no file like {', '.join(only)}; the record has {there}")
    there = placed(source.key)
    known = read_origin(there)["files"] if there is not None else {}
    fetched = {file.name: fetch_file(file, folder, progress) for file in chosen}
    names = fetched.keys() | known.keys()
    whole = names >= {file.name for file in files}
    origin = {"source": f"doi:10.5281/zenodo.{source.place}", "whole": whole}
    if {CONFIG, TENSORS} <= fetched.keys():
        count_tensors(folder)
    return place(source.key, fetched, origin, keep=True)


def _found_in(folder: Path, where: str) -> Path:
    """The one weights folder in what an archive held: on top, or one below."""
    below = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    places = [folder] if has_weights(folder) else [folder, *below]  # a focus head lies below it
    found = [path for path in places if has_weights(path) or (path / ORIGIN).is_file()]
    if len(found) != 1:
        raise InputError(
            f"{where}: {len(found)} folders with {CONFIG} in it, expected one; not luxvox weights"
        )
    return found[0]


def _checked_sum(sha256: str | None, source: Source) -> str | None:
    if sha256 is None:
        return None
    sha256 = sha256.strip().lower().removeprefix("sha256:")
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise InputError(f"--sha256 {sha256}: expected 64 hexadecimal digits")
    if source.kind != "url":
        raise InputError(f"{source.text}: brings checksums of its own; --sha256 is for https://")
    return sha256


def _offline(source: Source) -> Path:
    if source.kind == "hub" and (found := find_in_hub_cache(source)) is not None:
        return found
    raise InputError(
        f"{source.text}: not in the cache, and the network is off (HF_HUB_OFFLINE or "
        "LUXVOX_OFFLINE); fetch it elsewhere with luxvox weights download --to DIR, bring DIR here "
        "and run luxvox weights import DIR"
    )
