"""After the last block: objects numbered, coarser levels made, metrics written. By one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..configs.run_folder import write_metrics
from ..data.formats.zarr_writer import list_labels
from ..data.save import labels_store
from .block_marks import hold
from .merge_instances import merge_instances
from .run import Job, Tally

Progress = Callable[[str, int, int], None]
"""Told (what is being done, how much of it, how much in all)."""


def finish(
    job: Job,
    out: Path,
    instances: bool,
    progress: Progress = lambda what, done, total: None,
) -> bool:
    """Finish the output if every block is done or has failed, and nobody has finished it yet.

    Blocks that failed read as 0 in the coarser levels; done again, all of this is done again.

    Args:
        job: whose blocks are done.
        out: what the user asked for.
        instances: `job.store` is a mask, of which the objects are numbered into `out`.
        progress: told as it goes.

    Returns:
        Whether the output is finished now.
    """
    lock = hold(job.run / ".finish", wait=True)
    try:
        count = job.plan.grid.num_blocks
        if len(job.done.all() | job.failed.all()) < count:
            return False
        finished = job.run / "finished"
        if finished.exists():
            return True
        objects = None
        store = job.store
        if instances:
            store = replace(job.store, path=out, dtype="uint32", _open=[])
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
        finished.write_text(json.dumps({"objects": objects}), encoding="utf-8")
        return True
    finally:
        if lock is not None:
            lock.close()


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
