"""Weights on the Hugging Face hub, through huggingface_hub: fetched, checked, pushed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs.errors import InputError
from ..configs.explain import one_line
from .checkpoint import CARD, CONFIG, TENSORS
from .hub_cache import FOCUS, count_tensors, weights_files, weights_names
from .hub_file import CutShortError
from .hub_source import Source
from .shard_index import sha256_of
from .shards import join_shards

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_FRONT = (
    "---\nlibrary_name: luxvox\ntags:\n- light-sheet-microscopy\n- pytorch_model_hub_mixin\n---\n"
)


def fetch_repo(source: Source, folder: Path) -> tuple[dict[str, Path], str]:
    """Download the weights of a model on the hub.

    Args:
        source: of kind hub.
        folder: where they are put; what an interrupted call left there is used.

    Returns:
        The files by name, each compared with the checksum that the hub keeps, and the commit.

    Raises:
        InputError: no such model or revision, no permission, no network, no safetensors in it (a
            pickle is not fetched), or a wrong checksum.
    """
    from huggingface_hub import snapshot_download

    with _explained(source.text):
        api = _api()
        info = api.model_info(source.place, revision=source.revision, files_metadata=True)
        listed = {entry.rfilename: entry for entry in info.siblings or []}
        wanted = _wanted(list(listed), source)
        snapshot_download(
            source.place,
            revision=info.sha,
            local_dir=folder,
            allow_patterns=wanted,
            endpoint=api.endpoint,
        )
    for name in wanted:
        right = _is_right(folder / name, listed[name])
        if not right:
            (folder / name).unlink(missing_ok=True)
            raise InputError(
                f"{source.text}: {name} has not the checksum that the hub gives; it was thrown "
                "away; run the same command again"
            )
    return {name: folder / name for name in wanted}, str(info.sha)


def find_in_hub_cache(source: Source) -> Path | None:
    """Weights that another program fetched into the cache of the hub, None where there are none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            source.place, revision=source.revision, local_files_only=True, allow_patterns=[CONFIG]
        )
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    for path in weights_files(Path(folder)).values():
        blob = path.resolve().name  # large files lie there under their sha256
        if len(blob) == 64 and sha256_of(path) != blob:
            raise InputError(
                f"{path}: damaged in the cache of the hub; remove it and fetch it again"
            )
    return Path(folder) if (Path(folder) / CONFIG).is_file() else None


def push_folder(folder: Path, repo: str, private: bool = False) -> str:
    """Upload weights to the hub, in one file beside their config: what `from_pretrained` reads.

    Args:
        folder: weights, whole or in shards.
        repo: owner/name; made if need be.
        private: of a repository that is made.

    Returns:
        URL of the commit.

    Raises:
        InputError: weights that cannot be read, no permission, no network.
    """
    count_tensors(folder)
    with tempfile.TemporaryDirectory() as temporary:
        ready = Path(temporary) / "weights"
        _copy_joined(folder, ready)
        if (folder / FOCUS / CONFIG).is_file():
            _copy_joined(folder / FOCUS, ready / FOCUS)
        card = ready / CARD
        words = card.read_text(encoding="utf-8") if card.is_file() else ""
        if not words.startswith("---"):
            card.write_text(_FRONT + words, encoding="utf-8")
        with _explained(f"hf:{repo}"):
            api = _api()
            name = api.create_repo(repo, private=private, exist_ok=True).repo_id
            done = api.upload_folder(
                repo_id=name, folder_path=ready, commit_message="luxvox weights push"
            )
    return str(done.commit_url)


def _api() -> HfApi:
    """The hub, or the mirror that HF_ENDPOINT names now."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils.logging import set_verbosity_error
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # they would tear our own lines
    set_verbosity_error()  # retries are its business; what fails for good is raised
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def _copy_joined(folder: Path, out: Path) -> None:
    """Copy weights without what lies in folders; shards become one file."""
    out.mkdir()
    for path in (path for name, path in weights_files(folder).items() if "/" not in name):
        shutil.copyfile(path, out / path.name)
    if not (out / TENSORS).is_file():
        join_shards(out)


def _wanted(names: list[str], source: Source) -> list[str]:
    """Config, card and tensors of a repository, and of its focus head; other files stay there."""
    wanted = weights_names(names)
    if CONFIG not in wanted or not any(name.endswith(".safetensors") for name in wanted):
        pickles = [
            name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl"))
        ]
        held = f"only {pickles[0]}, a pickle, which is never opened" if pickles else "neither"
        raise InputError(
            f"{source.text}: expected {CONFIG} and {TENSORS}, found {held}; not luxvox weights"
        )
    return wanted


def _is_right(path: Path, entry: Any) -> bool:
    """Compare with the sha256 of a large file, or with git's hash of a small one."""
    if not path.is_file() or (entry.size is not None and path.stat().st_size != entry.size):
        return False
    if entry.lfs is not None:
        return sha256_of(path) == entry.lfs.sha256
    content = path.read_bytes()
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == entry.blob_id


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Say in one line what the hub's errors mean."""
    from huggingface_hub import errors

    try:
        yield
    except InputError:
        raise
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{where}: the model has no such revision; look at its page") from error
    except errors.GatedRepoError as error:
        raise InputError(
            f"{where}: behind a gate; ask for access on its page, then run hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{where}: no such model, or a private one; check the name, or run hf auth login"
        ) from error
    except (errors.LocalTokenNotFoundError, errors.BadRequestError) as error:
        raise InputError(f"{where}: {one_line(error)[:200]}; run hf auth login") from error
    # HTTPError is that of the library underneath, whichever it is: lines cut, hosts not found.
    except (errors.HTTPError, OSError, ValueError) as error:  # pyright: ignore[reportPrivateImportUsage]
        response = getattr(error, "response", None)
        if getattr(response, "status_code", None) in (401, 403):
            words = "no permission; run hf auth login with a token that may"
        elif isinstance(error, errors.HFValidationError):
            words = one_line(error)[:200]
        else:
            raise CutShortError(
                f"{where}: the hub cannot be reached, or cut the line ({one_line(error)[:160]}); "
                "check the network and the proxy, then run the same command again"
            ) from error
        raise InputError(f"{where}: {words}") from error
