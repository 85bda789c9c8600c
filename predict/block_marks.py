"""What is known of each block, as files: done, or failed and why. And who may write at all.

A mark is written after the block's shard, under another name first, so that a block that was killed
half-way has none and is done again.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import IO, Any

from ..configs.errors import InputError
from ..configs.whole_file import write_whole


class BlockMarks:
    """Marks of one kind in a folder, one file a block."""

    def __init__(self, folder: Path) -> None:
        """Begin with what lies there; the folder is made at the first mark."""
        self._folder = folder

    def all(self) -> set[int]:
        """Numbers of the blocks that are marked."""
        try:
            return {int(name) for name in os.listdir(self._folder) if name.isdigit()}
        except FileNotFoundError:
            return set()

    def set(self, block: int, **what: Any) -> None:
        """Mark a block, in one step."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / f"{block:06d}", json.dumps(what))

    def read(self, block: int) -> dict[str, Any] | None:
        """What was said of a block when it was marked; None where it has no mark."""
        try:
            return json.loads((self._folder / f"{block:06d}").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def unset(self, block: int) -> None:
        """Take a mark away, if there is one."""
        (self._folder / f"{block:06d}").unlink(missing_ok=True)


def hold(path: Path, shared: bool = False, wait: bool = False) -> IO[str] | None:
    """Lock a file until it is closed or this process ends, however it ends.

    Args:
        path: is made.
        shared: others may hold it too, if they share it as well.
        wait: until it is free.

    Returns:
        The open file; None where another process has it.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path.parent}: cannot be written ({error.strerror}); give another OUT"
        ) from None
    try:
        import fcntl
    except ImportError:  # Windows
        return file
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        # Not flock: that one would be inherited by child processes, which may outlive a SIGKILL.
        fcntl.lockf(file, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.close()
            return None
        # Some network folders cannot lock at all.
    return file


def hold_part(run: Path, parts: int, part: int) -> list[IO[str]]:
    """Keep every process out that would write the same blocks as this one.

    Args:
        run: folder of the run.
        parts: how many; 1 = all blocks are ours.
        part: which is ours, from 0.

    Returns:
        Open files, to be closed at the end.

    Raises:
        InputError: another process has some of these blocks.
    """
    busy = (
        f"{run}: another prediction is writing this output; wait for it, stop it, or give "
        "another OUT"
    )
    everything = hold(run / ".lock", shared=parts > 1)
    if everything is None:
        raise InputError(busy)
    held = [everything]
    if parts > 1:
        # Closing any file on the same name would let the lock go, so names differ.
        for other in run.glob(".part-*-of-*"):
            if not other.name.endswith(f"-of-{parts}"):
                free = hold(other)
                if free is None:
                    everything.close()
                    raise InputError(
                        f"{run}: is being predicted in another number of parts ({other.name[1:]}), "
                        f"asked for {parts}; use the same --parts everywhere"
                    )
                free.close()
        mine = hold(run / f".part-{part}-of-{parts}")
        if mine is None:
            everything.close()
            raise InputError(busy.replace("another prediction", f"another part {part}"))
        held.append(mine)
    return held
