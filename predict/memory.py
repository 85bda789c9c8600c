"""Whether work in memory will fit, asked before it begins."""

from __future__ import annotations

import os
from pathlib import Path

from ..configs.errors import InputError

_MEMINFO = Path("/proc/meminfo")


def need_memory(wanted: int, where: str, do: str) -> None:
    """Refuse what cannot fit into the memory that is free now.

    Args:
        wanted: bytes.
        where: what needs them, for the message.
        do: what the user can do.

    Raises:
        InputError: more is wanted than is free.
    """
    free = free_memory()
    if free is not None and wanted > free:
        raise InputError(
            f"{where}: needs about {wanted / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are "
            f"free; {do}"
        )


def free_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell."""
    try:
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:  # no Linux: all there is, as an upper bound
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
