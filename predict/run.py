"""Blocks of a plan, one after the other: read ahead, predict, write behind, mark as done.

Any number of processes may do this, each on blocks of its own; whoever finds the last one done
finishes the output (`finish.py`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..configs.errors import InputError
from ..configs.explain import one_line
from ..data.volume import Volume
from .block_marks import BlockMarks
from .heap import trim_heap
from .plan import BlockPlan, Network, Store
from .plan_estimate import CACHE_BYTES
from .predict_block import RawTiles, foreseen, predict_block
from .stop import Stop
from .tile_cache import TileCache

_TRIM_SECONDS = 10.0  # between two trims of the heap: at most 2 % of the time


class Job(NamedTuple):
    """What all executors need; can be pickled.

    Attributes:
        plan: of the whole prediction.
        volume: to read from.
        network: gives the answers.
        store: what the blocks are written into.
        run: folder of plan.json and of the marks.
    """

    plan: BlockPlan
    volume: Volume
    network: Network
    store: Store
    run: Path

    @property
    def done(self) -> BlockMarks:
        """Blocks that are in the store."""
        return BlockMarks(self.run / "done")

    @property
    def failed(self) -> BlockMarks:
        """Blocks whose voxels could not be read, and why."""
        return BlockMarks(self.run / "failed")


@dataclass
class Tally:
    """What became of the blocks that one process was given.

    Attributes:
        given: how many there were.
        done_before: of these, done when it began.
        done: blocks that it has done.
        empty: of these, how many hold nothing.
        failed: why, by number.
        voxels: that were predicted.
        seconds: from the first block to the last.
        stopped: whether it was asked to end early.
    """

    given: int
    done_before: int = 0
    done: int = 0
    empty: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    voxels: int = 0
    seconds: float = 0.0
    stopped: bool = False


Progress = Callable[[Tally], None]
"""Told after every block."""


def run_blocks(
    job: Job,
    blocks: Sequence[int],
    progress: Progress = lambda tally: None,
    stop: Stop | None = None,
) -> Tally:
    """Predict those of the blocks that are not done.

    A block whose voxels cannot be read is reported, and the others go on.

    Args:
        job: plan, network, and where to.
        blocks: in the order of work; no other process may have any of them.
        progress: told after every block.
        stop: asked before every block; None = never.

    Raises:
        OSError: the output cannot be written; finished blocks stay.
    """
    plan, grid = job.plan, job.plan.grid
    torch.set_num_threads(plan.threads)
    done, empty = job.done.all(), set(plan.empty)
    todo = [block for block in blocks if block not in done]
    tally = Tally(len(blocks), done_before=len(blocks) - len(todo))
    if not todo:
        return tally
    for block in todo:
        job.failed.unset(block)
    busy = [block for block in todo if block not in empty]
    scratch, answer = job.run / "scratch" / str(blocks[0]), (plan.channels, *grid.tile_shape)
    cache = TileCache(scratch, busy, grid.blocks, answer, CACHE_BYTES)
    following = dict(itertools.pairwise(busy))
    began = trimmed = time.monotonic()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead: Future[RawTiles] | None = None
        written: Future[None] | None = None
        for block in todo:
            if stop is not None and stop.asked:
                tally.stopped = True
                break
            try:
                if block in empty:
                    values = _nothing(job, block)
                else:
                    raw = _raw(job, grid.tiles(block)) if ahead is None else ahead.result()
                    if (after := following.get(block)) is not None:
                        wanted = foreseen(grid, after, cache, grid.tiles(block))
                        ahead = reader.submit(_raw, job, wanted)
                    answer = predict_block(plan, block, job.network, raw, cache)
                    values = plan.values(answer, block)
                    tally.voxels += plan.voxels(block)
            except InputError as error:
                tally.failed[block] = one_line(error)
                job.failed.set(block, why=tally.failed[block])
            else:
                if written is not None:
                    written.result()
                written = writer.submit(_write, job, block, values)
                tally.done += 1
                tally.empty += block in empty
            cache.finish(block, grid.tiles(block))
            if time.monotonic() - trimmed > _TRIM_SECONDS:
                trim_heap()
                trimmed = time.monotonic()
            tally.seconds = time.monotonic() - began
            progress(tally)
        if written is not None:
            written.result()
    cache.clear()
    trim_heap()  # levels and tables are made next
    tally.seconds = time.monotonic() - began
    return tally


def _raw(job: Job, tiles: Sequence[int]) -> RawTiles:
    return RawTiles(job.volume, job.plan, tiles)


def _nothing(job: Job, block: int) -> NDArray:
    """What is stored of a block that holds nothing: background, or its voxels as they are."""
    box = job.plan.grid.box(block)
    z, y, x = (part.stop - part.start for part in box)
    if job.plan.output.what == "restored":
        return job.volume.read([part.start for part in box], (z, y, x))[0].astype(np.float32)
    return job.plan.output.of_nothing((z, y, x), job.plan.channels)


def _write(job: Job, block: int, values: NDArray) -> None:
    """Write a block, and only then its mark."""
    job.store.write(job.plan.grid.box(block), values)
    job.done.set(block, empty=block in job.plan.empty)
