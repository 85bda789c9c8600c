"""What every RUN folder has: one process that writes it, recipe.yaml, metrics.json.

In the lowest room, because pretraining and fine-tuning both write such folders and share no other.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import yaml
from pydantic import BaseModel

from .errors import InputError
from .whole_file import write_whole


def lock_run(run: Path) -> IO[str]:
    """Make the folder, and keep every other process out of it.

    Returns:
        An open file, by which no other process can claim the folder until it is closed.

    Raises:
        InputError: the folder cannot be written, or another run is writing there.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / ".lock").open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{run}: the output folder cannot be written ({error.strerror}); "
            "give another out=FOLDER"
        ) from None
    if not _lock(lock):
        raise InputError(
            f"{run}: another run is writing there; wait for it, stop it, or give another out=FOLDER"
        )
    return lock


def write_recipe(run: Path, recipe: BaseModel) -> None:
    """Write RUN/recipe.yaml, every key with its value."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    (run / "recipe.yaml").write_text(text, encoding="utf-8")


def write_metrics(run: Path, metrics: Mapping[str, Any]) -> None:
    """Write RUN/metrics.json: flat keys, replaced whole."""
    write_whole(run / "metrics.json", json.dumps(metrics, indent=1, sort_keys=True) + "\n")


def _lock(file: IO[str]) -> bool:
    """Lock a file until it is closed or this process ends, however; False where another has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        # Not flock: that one would be inherited by loader processes, which outlive a SIGKILL.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network folders cannot lock at all.
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True
