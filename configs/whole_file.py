"""Files that are there whole, or not at all: a reader never sees half of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; at the end that file takes the place of `path`.

    What stood there stays where the writing fails. Several processes may write one file: the last
    one wins.

    Args:
        path: in a folder that exists.

    Raises:
        OSError: it cannot be written.
    """
    # A folder, so that the draft has the name of the file, and no search for such files finds it.
    folder = path.with_name(f".{path.name}.{os.getpid()}.partial")
    folder.mkdir(exist_ok=True)
    try:
        yield folder / path.name
        (folder / path.name).replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole; what is no valid text (odd file names) becomes "?".

    Raises:
        OSError: it cannot be written.
    """
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="replace")
