"""Memory that was freed and still counts: glibc keeps it between what is in use."""

from __future__ import annotations

import ctypes
import sys


def trim_heap() -> None:
    """Give freed memory back to the system; nothing happens where there is no glibc.

    Hours of arrays of all sizes otherwise leave holes that grow to hundreds of megabytes. It takes
    about 0.1 s, as what is given back has to be fetched again.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
