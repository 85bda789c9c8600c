"""Ctrl-C and SIGTERM while blocks are predicted: end after the present block."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """A flag that signals raise; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        """Nothing is asked for yet."""
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Catch the signals inside the block; only the main thread of a process can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._ask) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
