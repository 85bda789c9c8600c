"""Signals and the clock, turned into flags that the loop reads between steps."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist


class StopRequests:
    """SIGTERM and Ctrl-C: save and stop. SIGUSR1, as schedulers send it before a limit: save and go
    on.

    Every `save_minutes` minutes a save is asked for as well.
    """

    def __init__(self, save_minutes: float) -> None:
        """Nothing is asked for yet; the clock starts now."""
        self.stop = False
        self.save = False
        self._save_seconds = 60 * save_minutes
        self._saved_at = time.monotonic()

    def saved(self) -> None:
        """A checkpoint was written: start the clock anew."""
        self.save = False
        self._saved_at = time.monotonic()

    @contextmanager
    def listening(self) -> Iterator[StopRequests]:
        """Catch the signals inside the block; a second Ctrl-C interrupts at once."""
        handlers = {signal.SIGTERM: self._on_stop, signal.SIGINT: self._on_stop}
        if hasattr(signal, "SIGUSR1"):  # not on Windows
            handlers[signal.SIGUSR1] = self._on_save
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def agree(self, device: torch.device) -> None:
        """Make every rank see what any rank was told, so that all save and stop at the same
        step."""
        self.save |= time.monotonic() - self._saved_at > self._save_seconds
        if dist.is_initialized() and dist.get_world_size() > 1:
            flags = torch.tensor([self.stop, self.save], dtype=torch.int32, device=device)
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
            self.stop, self.save = (bool(flag) for flag in flags.tolist())

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True
