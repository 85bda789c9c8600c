"""Whether an input is still the one that a run was begun with, without reading it."""

from __future__ import annotations

from pathlib import Path


def file_state(path: str | Path, levels: int = 1) -> dict[str, tuple[int, int]]:
    """Sizes and times of a file, or of the metadata files of a store.

    Args:
        path: of the file or store.
        levels: of its pyramid.

    Returns:
        Name within the store ("" = the file itself) -> (bytes, time of the last change in ns).
    """
    names = ["", "zarr.json", ".zattrs", ".zarray"]
    for level in range(levels):
        names += [f"{level}/zarr.json", f"{level}/.zarray"]
    found = {}
    for name in names:
        file = Path(path, name)
        if file.is_file():
            state = file.stat()
            found[name] = (state.st_size, state.st_mtime_ns)
    return found
