"""Folders of weights that are replaced whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..configs.errors import InputError


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write files into; at the end it takes the place of `folder`.

    What was there before is replaced only by a complete new one, and stays as it was where the
    block or the disk fails.

    Raises:
        InputError: the folder cannot be written (no space, no permission).
    """
    from safetensors import SafetensorError

    partial = _beside(folder, "partial")
    try:
        restore_folder(folder)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        # safetensors makes files that only their owner can read; a shared folder needs the usual.
        usual = partial.stat().st_mode & 0o666
        for path in partial.rglob("*"):
            if path.is_file():
                path.chmod(usual)
                _flush(path)
        _swap(partial, folder)
    except (SafetensorError, OSError) as error:  # a full disk is the former, where it writes
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{folder}: cannot write the weights ({reason}); "
            "what was there before is unchanged; free space or choose another folder"
        ) from error


def restore_folder(folder: Path) -> None:
    """Bring back the old folder where a crash hit between the two renames of `written_whole`."""
    old = _beside(folder, "old")
    if old.is_dir() and not folder.exists():
        old.rename(folder)


def _beside(folder: Path, what: str) -> Path:
    return folder.parent / f".{folder.name}.{what}"


def _flush(path: Path) -> None:
    """Wait until the file is on the disk: a rename may outlive a power cut, its content may not."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _swap(new: Path, folder: Path) -> None:
    """Put `new` in the place of `folder`; for a crash in between see `restore_folder`."""
    old = _beside(folder, "old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
