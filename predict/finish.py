"""After the last block: objects numbered, coarser levels, tables, page, metrics. By one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..configs.run_folder import write_metrics
from ..data.formats.zarr_writer import list_labels
from ..data.save import labels_store
from ..data.voxel import format_voxel_size
from .block_marks import hold
from .block_output import OBJECTS
from .heap import trim_heap
from .merge_instances import merge_instances
from .outcome import Outcome
from .run import Job, Tally

Progress = Callable[[str, int, int], None]
"""Told (what is being done, how much of it, how much in all)."""


def finish(
    job: Job,
    outcome: Outcome,
    tables: bool,
    tally: Tally,
    progress: Progress = lambda what, done, total: None,
) -> bool:
    """Finish the output if every block is done or has failed, and nobody has finished it yet.

    Blocks that failed read as 0 in the coarser levels; done again, all of this is done again.
    Tables wait for them: counts without them would look like counts of everything.

    Args:
        job: whose blocks are done.
        outcome: what the user asked for; of instances, `job.store` is the mask in which they are
            numbered.
        tables: measure the labels too, also if only these are missing.
        tally: of the blocks of this process, for the page.
        progress: told as it goes.

    Returns:
        Whether the output is finished now.
    """
    lock = hold(job.run / ".finish", wait=True)
    try:
        count = job.plan.grid.num_blocks
        if len(job.done.all() | job.failed.all()) < count:
            return False
        wanted = tables and not job.failed.all()
        finished = job.run / "finished"
        if finished.exists():
            if not wanted or (outcome.tables / "objects.csv").exists():
                return True
            objects = json.loads(finished.read_text(encoding="utf-8"))["objects"]
        else:
            objects = _complete(job, outcome, progress)
        found = None
        if wanted:
            found = outcome.measure(lambda done, total: progress("tables", done, total))
        trim_heap()  # what levels and tables took; the page needs room of its own
        facts, warning = page_facts(job, tally, objects)
        if job.done.all():  # else there is nothing to show: not a single block could be read
            outcome.report(_lead(job), facts, warning, found)
        finished.write_text(json.dumps({"objects": objects}), encoding="utf-8")
        return True
    finally:
        if lock is not None:
            lock.close()


def _complete(job: Job, outcome: Outcome, progress: Progress) -> int | None:
    """Number objects, make coarser levels; gives how many objects there are, if any were asked."""
    store, out, objects = job.store, outcome.out, None
    if outcome.instances:
        store = job.plan.store(out, OBJECTS)
        shutil.rmtree(out, ignore_errors=True)  # of an earlier finish
        store.create()
        objects = merge_instances(
            job.store, store, job.plan.grid, job.run / "scratch" / "faces",
            lambda done, total: progress("objects", done, total),
        )  # fmt: skip
    store.finish(lambda done, total: progress("levels", done, total))
    image = labels_store(out)
    if image is not None:
        list_labels(image / "labels", out.name, job.plan.ngff)
    shutil.rmtree(job.run / "scratch", ignore_errors=True)
    outcome.clear()
    return objects


def _lead(job: Job) -> str:
    weights = job.plan.recipe.get("where")
    of = f"{job.plan.output.what} of {Path(job.volume.path).name}"
    return of if weights is None else f"{of}, with {weights}"


def page_facts(job: Job, tally: Tally, objects: int | None) -> tuple[list[tuple[str, str]], str]:
    """What the page says of the run, as (what, how much); and what is wrong, or ""."""
    plan, failed = job.plan, job.failed.all()
    count = plan.grid.num_blocks
    facts = [
        ("voxels (z, y, x)", " x ".join(map(str, plan.shape))),
        ("voxel size", format_voxel_size(plan.voxel_size_um)),
        ("level of the volume", str(plan.frame.level)),
        ("blocks", f"{count} of {' x '.join(map(str, plan.block))}"),
        ("blocks that hold nothing, skipped", f"{len(plan.empty)} ({len(plan.empty) / count:.0%})"),
    ]
    if tally.voxels:
        rate = f"{tally.voxels / tally.seconds:.3g} voxels/s"
        facts.append(("speed of the last process", f"{rate}, {tally.done - tally.empty} blocks"))
    if objects is not None:
        facts.append(("objects", str(objects)))
    if not failed:
        return facts, ""
    warning = (
        f"{len(failed)} of {count} blocks could not be read and hold 0: mend the input, then run "
        "the same command with --resume."
    )
    return [*facts, ("blocks that could not be read", str(len(failed)))], warning


def unfinish(run: Path) -> None:
    """Say that blocks will change, so that the output has to be finished anew."""
    (run / "finished").unlink(missing_ok=True)


def metrics_of(job: Job, tally: Tally, finished: bool) -> dict[str, Any]:
    """What stands in metrics.json.

    `skipped_blocks` were not computed this time: they hold nothing, or were done before.
    `voxels_per_second` counts what was.
    """
    failed = job.failed.all()
    found = json.loads((job.run / "finished").read_text(encoding="utf-8")) if finished else {}
    return {
        "blocks": job.plan.grid.num_blocks,
        "done_blocks": len(job.done.all()),
        "empty_blocks": len(job.plan.empty),
        "failed_blocks": len(failed),
        "given_blocks": tally.given,
        "resumed_blocks": tally.done_before,
        "skipped_blocks": tally.done_before + tally.empty,
        "voxels_per_second": tally.voxels / tally.seconds if tally.seconds else 0.0,
        "seconds": tally.seconds,
        "finished": finished,
        "objects": found.get("objects"),
    }


def save_metrics(out: Path, run: Path, metrics: dict[str, Any]) -> None:
    """Write metrics.json into the folder of the run, and beside the output.

    A metrics.json that stands there and is of no prediction is left alone: it may be that of a
    training run.
    """
    write_metrics(run, metrics)
    beside = (labels_store(out) or out).parent
    try:
        known = json.loads((beside / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = metrics if not (beside / "metrics.json").exists() else {}
    if "skipped_blocks" in known:
        write_metrics(beside, metrics)
