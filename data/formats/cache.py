"""Decoded data that a file cannot give in pieces, kept in memory up to a number of bytes.

A `.nii.gz` and the strips of a compressed TIFF must be decoded as wholes. One cache for the whole
process makes the second crop from the same file cheap and keeps the memory bounded however many
volumes are open.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np

from ...configs.errors import InputError

_DEFAULT_MEGABYTES = 1024
_VARIABLE = "LUXVOX_CACHE_MB"


class ByteCache:
    """Arrays by key; the least recently used ones leave when the bytes exceed the limit."""

    def __init__(self, limit_bytes: int) -> None:
        """Start empty.

        Args:
            limit_bytes: how much is kept at most.
        """
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        # One lock for each array being made, so that two threads that want the same file decode it
        # once and two that want different files do not wait for each other.
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Give the array of a key, made now if it is not held. It is read-only: others share it.

        An array larger than the limit is given but not kept. Errors of `make` pass through.
        """
        with self._lock:
            if (held := self._find(key)) is not None:
                return held
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if (held := self._find(key)) is not None:
                    return held
            try:
                array = make()
                array.flags.writeable = False
                with self._lock:
                    self._keep(key, array)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return array

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._arrays.clear()
            self.held_bytes = 0

    def _find(self, key: Hashable) -> np.ndarray | None:
        array = self._arrays.get(key)
        if array is not None:
            self._arrays.move_to_end(key)
        return array

    def _keep(self, key: Hashable, array: np.ndarray) -> None:
        if array.nbytes > self.limit_bytes:
            return
        self._arrays[key] = array
        self.held_bytes += array.nbytes
        while self.held_bytes > self.limit_bytes:
            _, dropped = self._arrays.popitem(last=False)
            self.held_bytes -= dropped.nbytes


def _limit_from_environment() -> int:
    text = os.environ.get(_VARIABLE, str(_DEFAULT_MEGABYTES))
    try:
        return int(float(text) * 2**20)
    except ValueError:
        raise InputError(f"{_VARIABLE}: found {text!r}, expected a number of megabytes") from None


_cache: ByteCache | None = None
_cache_lock = threading.Lock()


def decoded_cache() -> ByteCache:
    """Give the cache of this process: 1 GiB, or LUXVOX_CACHE_MB megabytes."""
    global _cache
    with _cache_lock:
        if _cache is None:
            _cache = ByteCache(_limit_from_environment())
        return _cache


def file_key(path: str) -> tuple[str, int, int]:
    """Name the present content of a file: a file that was written anew has another key."""
    stat = os.stat(path)
    return path, stat.st_size, stat.st_mtime_ns


def _renew_after_fork() -> None:
    """Give a forked worker locks that nobody holds; it keeps sharing what is already decoded."""
    global _cache_lock
    _cache_lock = threading.Lock()
    if _cache is not None:
        _cache._lock = threading.Lock()
        _cache._making = {}


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_renew_after_fork)
