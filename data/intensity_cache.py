"""Measured intensity statistics on disk, so that a volume is measured once and not at every start.

Apart from `normalize.py`, which knows nothing of files. A cache that cannot be read or written is
only slower.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..configs.home import cache_home

if TYPE_CHECKING:
    from .volume import Volume

VERSION = 2  # raise it when the way of measuring changes


def load_stats(volume: Volume, channel: int, level: int) -> dict[str, float] | None:
    """Give what was measured of this file as it stands now, or None."""
    path = _entry(volume, channel, level)
    try:
        stored = json.loads(path.read_text()) if path else None
    except (OSError, ValueError):
        return None  # absent, or cut short by another program: measure again
    return stored["stats"] if isinstance(stored, dict) and "stats" in stored else None


def save_stats(volume: Volume, channel: int, level: int, stats: Mapping[str, float]) -> None:
    """Write atomically; several processes may measure the same file at once."""
    path = _entry(volume, channel, level)
    if path is None:
        return
    text = json.dumps({"image": volume.path, "stats": dict(stats)})
    with contextlib.suppress(OSError):  # read-only or full: the next run measures again
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(draft).replace(path)


def _entry(volume: Volume, channel: int, level: int) -> Path | None:
    """The cache file of one channel and level; None where the volume is no local file."""
    try:
        state = _state(Path(volume.path))
    except OSError:
        return None
    key = (
        VERSION,
        str(Path(volume.path).absolute()),
        state,
        # The reader holds which array of the file is read, and how.
        hashlib.sha256(pickle.dumps(volume.reader)).hexdigest(),
        volume.file_axes,
        volume.time,
        volume.file_channels[channel],
        level,
        volume.levels[level].shape,
    )
    return cache_home() / "intensity" / f"{hashlib.sha256(repr(key).encode()).hexdigest()}.json"


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times: of the file, or of a folder and what lies directly in it."""
    found = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
    stats = [(entry.name, entry.stat()) for entry in found]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
