"""Which errors a user can mend, and in what words. Shared by the command line and the launchers."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

from .errors import InputError

_DISK_PROBLEMS = {
    errno.EACCES: "permission denied; choose a place that you may write to (and read from)",
    errno.EPERM: "not permitted; choose a place that you may write to",
    errno.EROFS: "this file system is read-only; choose another place",
    errno.ENOSPC: "no space left on the device; free some, or choose another place. What was "
    "written before stays usable",
    errno.EDQUOT: "your quota on this file system is used up; free some space, or choose another "
    "place. What was written before stays usable",
}
_LESS_MEMORY = (
    "lower batch_size (and raise accumulate), data.crop.shape or encoder.size, or set "
    "encoder.checkpoint_activations=true"
)


def explain(error: BaseException) -> str | None:
    """Say in one line what to mend, or None where it is no mistake of the user.

    Args:
        error: whatever was raised.

    Returns:
        The line, without "error:" before it.
    """
    if isinstance(error, InputError):
        return one_line(error)
    if isinstance(error, OSError) and error.errno in _DISK_PROBLEMS:
        place = f"{error.filename}: " if error.filename else ""
        return place + _DISK_PROBLEMS[error.errno]
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return f"out of memory ({one_line(error)}); {_LESS_MEMORY}"
    return None


def launched(work: Callable[[], object], go_on: str, debug: bool = False) -> int:
    """Do the work of a launcher's process; errors are told in one line.

    Args:
        work: what to do.
        go_on: what to do after an interruption.
        debug: let errors through, with their traceback.

    Returns:
        Exit code: 0 done, 2 a mistake of the user, 130 interrupted.

    Raises:
        Exception: a defect: whatever is no mistake of the user.
    """
    try:
        work()
    except KeyboardInterrupt:
        print(f"interrupted; {go_on}", file=sys.stderr)
        return 130
    except Exception as error:
        mendable = explain(error)
        if mendable is None or debug:
            raise
        print(f"error: {mendable}", file=sys.stderr)
        return 2
    return 0


def one_line(error: object) -> str:
    """The message of an error with its line breaks taken out."""
    return " ".join(str(error).split()) or "no further message"
