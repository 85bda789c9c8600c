"""The folder of a run: claimed by one process, never written over, with its recipe inside."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO

import yaml
from pydantic import BaseModel

from ..configs.errors import InputError
from .state import tidy


def claim_run(run: Path, resume: bool) -> IO[str]:
    """Make the run folder; a finished or running one is never overwritten by a fresh start.

    Returns:
        An open file, by which no other process can claim the folder until it is closed.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        (run / "checkpoints").mkdir(exist_ok=True)
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
    tidy(run / "checkpoints")
    if not resume and any((run / "checkpoints").glob("step_*")):
        raise InputError(
            f"{run}: holds checkpoints of an earlier run; add --resume to go on with it, "
            "or give another out=FOLDER"
        )
    return lock


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


def write_recipe(run: Path, recipe: BaseModel) -> None:
    """Write RUN/recipe.yaml, every key with its value."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    (run / "recipe.yaml").write_text(text, encoding="utf-8")
