"""The folder for what luxvox keeps between runs, and whether it may use the network.

In the lowest room because volumes (measured intensities) and weights (downloads) share it.
"""

from __future__ import annotations

import os
from pathlib import Path

_YES = {"1", "on", "yes", "true"}


def cache_home() -> Path:
    """LUXVOX_HOME, else ~/.cache/luxvox; it need not exist."""
    return Path(os.environ.get("LUXVOX_HOME") or Path.home() / ".cache" / "luxvox").expanduser()


def offline() -> bool:
    """Whether the environment forbids the network: HF_HUB_OFFLINE or LUXVOX_OFFLINE is set to 1."""
    names = ("HF_HUB_OFFLINE", "LUXVOX_OFFLINE")
    return any(os.environ.get(name, "").strip().lower() in _YES for name in names)
