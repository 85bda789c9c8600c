"""`luxvox predict` block by block: what the options mean, progress, and what is said at the end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressLine

from ..configs.errors import InputError
from .blockwise import Request, predict_blocks
from .plan_table import print_plan
from .run import Tally, run_blocks
from .sbatch import write_sbatch

_PARTS = 8  # jobs in a file for SLURM, unless said
_SAY_SECONDS = 60  # between lines in a log


class BlockOptions(NamedTuple):
    """Options of `luxvox predict` that belong to prediction by blocks."""

    resume: bool = False
    parts: int | None = None
    part: int | None = None
    workers: int | None = None
    scheduler: str | None = None
    dry_run: bool = False
    sbatch: bool = False

    @property
    def asked(self) -> bool:
        """Whether any of them was given, or a launcher has started several processes."""
        return self != BlockOptions() or int(os.environ.get("WORLD_SIZE", "1")) > 1


def predict_whole(
    request: Request,
    options: BlockOptions,
    *,
    overwrite: bool = False,
    command: Sequence[str] = (),
) -> bool:
    """Predict a volume block by block, or only say or write down how.

    Args:
        request: what is asked for.
        options: how.
        overwrite: replace what stands at OUT.
        command: words of this very command without `options`, for the file for SLURM.

    Returns:
        Whether every block could be read.

    Raises:
        InputError: as `predict_blocks`; or options that do not go together.
    """
    parts, part = _parts(options)
    if options.dry_run:
        print_plan(request, request.plan())
        return True
    if options.sbatch:
        print(write_sbatch(request.out, command, options.parts or _PARTS, Path.cwd()))
        return True
    execute = run_blocks
    if options.workers is not None or options.scheduler is not None:
        from .dask_blocks import on_dask

        execute = on_dask(options.workers or 1, options.scheduler)
        if options.scheduler is None:
            cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
            request = replace(request, threads=max(1, cores // (options.workers or 1)))
    try:
        with _line() as (told, finishing):
            metrics = predict_blocks(
                request, resume=options.resume, overwrite=overwrite, parts=parts, part=part,
                execute=execute, progress=told, finishing=finishing,
            )  # fmt: skip
    except KeyboardInterrupt:
        print(f"{request.out}: go on with the same command and --resume", file=sys.stderr)
        raise
    return _say(request, metrics)


def own_device(device: str) -> str:
    """Under a launcher every process has its own GPU."""
    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if device == "cuda" and rank is not None else device


def _parts(options: BlockOptions) -> tuple[int, int]:
    """How many processes share the blocks, and which of them this is."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if options.sbatch:
        return 1, 0
    if options.part is not None or options.parts is not None:
        if options.part is None or options.parts is None:
            raise InputError("--parts N and --part I belong together; parts count from 0")
        if options.workers or options.scheduler:
            raise InputError("--parts with --workers: two ways to share the blocks; choose one")
        return options.parts, options.part
    return (world, int(os.environ["RANK"])) if world > 1 else (1, 0)


@contextmanager
def _line() -> Iterator[tuple[Any, Any]]:
    """A line of progress on a terminal; in a log a line every minute."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console()
    said = time.monotonic()
    with ProgressLine(*columns, TimeRemainingColumn(), console=console) as line:
        bar = line.add_task("blocks", total=None)

        def told(tally: Tally) -> None:
            nonlocal said
            done = tally.done_before + tally.done + len(tally.failed)
            skipped = (tally.done_before + tally.empty) / max(1, done)
            rate = tally.voxels / max(tally.seconds, 1e-9)
            words = f"blocks, {rate:.2g} voxels/s, {skipped:.0%} skipped"
            line.update(bar, description=words, completed=done, total=tally.given)
            if not console.is_terminal and time.monotonic() - said > _SAY_SECONDS:
                said = time.monotonic()
                print(f"{done} of {tally.given} {words}", flush=True)

        def finishing(what: str, done: int, total: int) -> None:
            line.update(bar, description=what, completed=done, total=total)

        yield told, finishing


def _say(request: Request, metrics: dict[str, Any]) -> bool:
    """What was done; gives whether no block failed."""
    for block, why in sorted(metrics["failed"].items()):
        print(f"warning: block {block} could not be read: {why}", file=sys.stderr)
    counts = (
        f"{metrics['done_blocks']} of {metrics['blocks']} blocks done, "
        f"{metrics['skipped_blocks']} skipped"
    )
    found = "" if metrics["objects"] is None else f"{metrics['objects']} objects, "
    page = f"; see {request.outcome.page}" if metrics["done_blocks"] else ""
    state = page if metrics["finished"] else "; the last part to end will finish it"
    rate = f"{metrics['voxels_per_second']:.3g} voxels/s"
    print(f"{request.out}: {found}{counts}, {rate} in {metrics['seconds']:.1f} s{state}")
    if metrics["failed_blocks"]:
        print(
            f"{metrics['failed_blocks']} blocks are missing; mend the input, then run it again "
            "with --resume",
            file=sys.stderr,
        )
    return not metrics["failed_blocks"]
