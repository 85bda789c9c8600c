"""The folder of a pretraining run: claimed by one process, never written over by a fresh start."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from ..configs.errors import InputError
from ..configs.run_folder import lock_run
from .state import tidy


def claim_run(run: Path, resume: bool) -> IO[str]:
    """Make the run folder; a finished or running one is never overwritten by a fresh start.

    Returns:
        An open file, by which no other process can claim the folder until it is closed.
    """
    lock = lock_run(run)
    try:
        (run / "checkpoints").mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{run}: the output folder cannot be written ({error.strerror}); "
            "give another out=FOLDER"
        ) from None
    tidy(run / "checkpoints")
    if not resume and any((run / "checkpoints").glob("step_*")):
        raise InputError(
            f"{run}: holds checkpoints of an earlier run; add --resume to go on with it, "
            "or give another out=FOLDER"
        )
    return lock
