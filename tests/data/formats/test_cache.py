from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from luxvox.data.formats.cache import ByteCache


def test_it_never_holds_more_than_its_limit_and_drops_the_oldest() -> None:
    cache = ByteCache(limit_bytes=300)
    for name in "abc":
        cache.get(name, lambda: np.zeros(100, np.uint8))
    cache.get("a", lambda: pytest.fail("a was held"))  # a is now the newest
    cache.get("d", lambda: np.zeros(100, np.uint8))
    made = []
    for name in "acdb":
        cache.get(name, lambda name=name: made.append(name) or np.zeros(100, np.uint8))
    assert made == ["b"]
    assert cache.held_bytes == 300


def test_an_array_larger_than_the_limit_is_given_but_not_kept() -> None:
    cache = ByteCache(limit_bytes=10)
    assert cache.get("big", lambda: np.zeros(11, np.uint8)).size == 11
    assert cache.held_bytes == 0


def test_shared_arrays_are_read_only() -> None:
    array = ByteCache(100).get("a", lambda: np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_two_threads_decode_one_file_once() -> None:
    cache, calls = ByteCache(1000), []

    def make() -> np.ndarray:
        calls.append(1)
        time.sleep(0.05)
        return np.zeros(3, np.uint8)

    threads = [threading.Thread(target=cache.get, args=("a", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_an_error_is_passed_on_and_not_remembered() -> None:
    cache = ByteCache(100)

    def fail() -> np.ndarray:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        cache.get("a", fail)
    assert cache.get("a", lambda: np.ones(1, np.uint8))[0] == 1
