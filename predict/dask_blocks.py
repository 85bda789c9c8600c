"""Blocks of a plan on a dask cluster: on this machine, or wherever a scheduler has workers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..configs.errors import InputError
from .blockwise import Executor
from .run import Job, Progress, Tally, run_blocks
from .stop import Stop

_RETRIES = 3
_RUNS_PER_WORKER = 4  # neighbours share tiles, so a worker gets a few blocks in a row


def on_dask(workers: int = 1, scheduler: str | None = None) -> Executor:
    """An executor for `predict_blocks`.

    Args:
        workers: processes on this machine.
        scheduler: address of a running cluster, such as tcp://HOST:8786, instead.

    Raises:
        InputError: dask.distributed is not installed.
    """
    if find_spec("distributed") is None:
        raise InputError(
            '--workers needs dask.distributed, which is not installed: pip install "luxvox[dask]"'
        )

    def execute(job: Job, blocks: Sequence[int], progress: Progress, stop: Stop) -> Tally:
        with _client(workers, scheduler) as client:
            return _run(client, job, blocks, progress, stop)

    return execute


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    distributed = import_module("distributed")
    if scheduler is not None:
        try:
            client = distributed.Client(scheduler, timeout="30s")
        except (OSError, ValueError) as error:
            raise InputError(
                f"--scheduler {scheduler}: no cluster answers there ({error}); give the address "
                "that dask scheduler prints"
            ) from None
        with client:
            yield client
        return
    with (
        distributed.LocalCluster(
            workers, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _run(client: Any, job: Job, blocks: Sequence[int], progress: Progress, stop: Stop) -> Tally:
    """Runs of neighbouring blocks as futures; one whose worker dies is done again elsewhere.

    Done blocks have their marks, so at most the block that a worker died in is computed again.
    """
    distributed = import_module("distributed")
    done = job.done.all()
    todo = [block for block in blocks if block not in done]
    tally = Tally(len(blocks), done_before=len(blocks) - len(todo))
    if not todo:
        return tally
    count = max(1, sum(client.nthreads().values())) * _RUNS_PER_WORKER
    size = -(-len(todo) // count)
    runs = [todo[first : first + size] for first in range(0, len(todo), size)]
    everything = client.scatter(job, broadcast=True)
    futures = [
        client.submit(run_blocks, everything, run, pure=False, retries=_RETRIES) for run in runs
    ]
    began = time.monotonic()
    for future in distributed.as_completed(futures):
        found: Tally = future.result()
        tally.done += found.done + found.done_before
        tally.empty += found.empty
        tally.failed |= found.failed
        tally.voxels += found.voxels
        tally.seconds = time.monotonic() - began
        progress(tally)
        if stop.asked:
            tally.stopped = True
            client.cancel([other for other in futures if not other.done()])
            break
    return tally
