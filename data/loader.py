"""Batches ahead of the training step, in an order that depends on nothing but (seed, step).

Two ways: one background thread (workers=0), which shares the process's cache and copies nothing,
right where the training itself computes on the CPU; or worker processes, where a GPU waits for
Python.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .augment import clear_padding
from .crops import Sample, Source

Batch = dict[str, Tensor]

AHEAD = 2  # batches kept ready per worker
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples into a batch of tensors; names and meaning as in `Sample`, with B in front."""
    return {
        name: torch.from_numpy(np.stack([sample[name] for sample in samples]))
        for name in samples[0]
    }


def decode(batch: Batch, device: torch.device | str) -> Batch:
    """Move a batch to a device, with `crop` as normalised float32 and exact zeros in the padding.

    Bank crops travel as uint16 codes and become value = code * scale + offset there.

    Args:
        batch: from a loader or `collate`.
        device: where the model is.

    Returns:
        A new batch; the given one is not changed.
    """
    moved = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    crop = moved["crop"]
    if crop.dtype == torch.uint16:
        scale, offset = (moved[name].view(-1, 1, 1, 1, 1) for name in ("scale", "offset"))
        values = crop.to(torch.float32)
        moved["crop"] = torch.addcmul(offset, values, scale, out=values)  # one pass, in place
        clear_padding(moved["crop"], batch["extent"].cpu())
        moved["scale"], moved["offset"] = (
            torch.ones_like(moved["scale"]),
            torch.zeros_like(moved["offset"]),
        )
    return moved


@dataclass(frozen=True)
class _Batches(Dataset):
    """The batches of one rank by number; small enough to be sent to worker processes."""

    source: Source
    seed: int
    batch_size: int
    rank: int
    world_size: int

    def __getitem__(self, step: int) -> Batch:
        """Sample i of rank r in step s has global index s * B * W + r * B + i."""
        total = self.batch_size * self.world_size
        first = self.rank * self.batch_size
        volumes = self.source.choose(self.seed, step, total)[first : first + self.batch_size]
        index = step * total + first
        return collate(
            [
                self.source.sample(index + place, self.seed, int(volume))
                for place, volume in enumerate(volumes)
            ]
        )


def make_loader(
    source: Source,
    *,
    seed: int,
    batch_size: int,
    num_steps: int,
    start_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
) -> Loader:
    """Iterate over this rank's batches of steps start_step .. start_step + num_steps - 1.

    Args:
        source: volumes or a bank.
        seed: of the run.
        batch_size: samples per rank.
        num_steps: how many batches to give.
        start_step: the first step; a resumed run starts where it stopped and gets the same batches.
        rank: of this process.
        world_size: number of processes.
        workers: 0 cuts crops in a background thread, more in that many processes.
    """
    batches = _Batches(source, seed, batch_size, rank, world_size)
    return Loader(batches, range(start_step, start_step + num_steps), workers)


class Loader(Iterator[Batch]):
    """Batches in order, made ahead. Close it (or use `with`) to stop its thread or processes.

    Attributes:
        waited_s: seconds that the consumer has spent waiting.
    """

    def __init__(self, batches: _Batches, steps: range, workers: int) -> None:
        """Start making batches; called by `make_loader`."""
        self.waited_s = 0.0
        pin = torch.cuda.is_available()
        self._stream = (
            _Processes(batches, steps, workers, pin) if workers else _Thread(batches, steps, pin)
        )
        # A loader that nobody closes stops when it is dropped, at the latest at exit.
        weakref.finalize(self, self._stream.close)

    def __next__(self) -> Batch:
        """The next batch; an InputError met on the way is raised here."""
        began = time.perf_counter()
        try:
            return next(self._stream)
        except BaseException:
            self.close()
            raise
        finally:
            self.waited_s += time.perf_counter() - began

    def close(self) -> None:
        """Stop making batches and wait until nothing runs any more."""
        self._stream.close()

    def __enter__(self) -> Self:
        """The loader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


class _Thread:
    """One thread and a short queue; an exception travels through the queue to the consumer."""

    def __init__(self, batches: _Batches, steps: range, pin: bool) -> None:
        self._queue: queue.Queue[Batch | BaseException | None] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._ended = False
        # A daemon, so that a consumer that dies without closing does not hang at exit.
        self._thread = threading.Thread(
            target=self._run, args=(batches, steps, pin), name="luxvox-crops", daemon=True
        )
        self._thread.start()

    def _run(self, batches: _Batches, steps: range, pin: bool) -> None:
        try:
            for step in steps:
                batch = batches[step]
                if pin:
                    batch = {name: value.pin_memory() for name, value in batch.items()}
                if not self._put(batch):
                    return
            self._put(None)
        except BaseException as error:  # whatever it is, the consumer must see it
            self._put(error)

    def _put(self, item: Batch | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def __next__(self) -> Batch:
        if self._ended:
            raise StopIteration
        item = self._queue.get()
        if isinstance(item, dict):
            return item
        self._ended = True
        if item is None:
            raise StopIteration
        raise item

    def close(self) -> None:
        self._ended = True
        self._stop.set()
        self._thread.join()


class _Processes:
    """Worker processes, each with one thread; whole batches are made in one of them."""

    def __init__(self, batches: _Batches, steps: range, workers: int, pin: bool) -> None:
        loader = DataLoader(
            _Guarded(batches),
            batch_size=None,  # a batch is one item
            sampler=steps,  # type: ignore[arg-type]  # any sized iterable of numbers
            num_workers=workers,
            prefetch_factor=AHEAD,
            worker_init_fn=_quieten,
            # Forking a process that has threads (zarr's, OpenMP's) can hang; a new one cannot.
            multiprocessing_context="spawn",
            pin_memory=pin,
        )
        with _single_threaded():
            self._stream: Any = iter(loader)

    def __next__(self) -> Batch:
        if self._stream is None:
            raise StopIteration
        item = next(self._stream)
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream._shutdown_workers()  # what its destructor does, but now


@dataclass(frozen=True)
class _Guarded(Dataset):
    """Hands exceptions over as values: torch would wrap a one-line message into a traceback."""

    batches: _Batches

    def __getitem__(self, step: int) -> Batch | Exception:
        try:
            return self.batches[step]
        except Exception as error:
            return error


def _quieten(worker: int) -> None:
    """Keep a worker process to one thread, so that it does not take the training's cores."""
    torch.set_num_threads(1)


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """Children started inside inherit variables that keep numerical libraries to one thread."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
