"""Volumes larger than memory: plan, blocks, finish; whatever executor does the blocks.

Beside OUT lies OUT.run: plan.json, a mark for every block, metrics.json. It makes `--resume`
possible, and may be removed once the output is finished.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..configs.errors import InputError
from ..data.block_tiff import is_tiff
from ..data.save import check_out, labels_store
from ..data.volume import Volume
from .beside import beside
from .block_grid import share
from .block_marks import hold, hold_part
from .block_output import BlockOutput
from .finish import Progress as FinishProgress
from .finish import finish, metrics_of, save_metrics, unfinish
from .frame import Frame
from .outcome import Outcome, check_tables
from .plan import BlockPlan, Network, make_plan, plan_key
from .plan_estimate import need_disk
from .plan_file import read_plan, write_plan
from .run import Job, Progress, Tally, run_blocks
from .stop import Stop
from .task_weights import Triple

MASK = "mask.zarr"
"""In the folder of a run: what objects are numbered in."""
INSTANCE_BLOCK = (128, 128, 128)
"""Splitting objects takes some 40 bytes a voxel, so blocks are smaller."""


@dataclass(frozen=True)
class Request:
    """What is asked for; the same in every process that works on it.

    Attributes:
        volume: of one channel.
        out: a name in .zarr or .tif, or STORE.zarr/labels/NAME.
        network: gives the answers of tiles.
        output: what is stored of them.
        tile: (z, y, x) answers that the network gives at once: voxels, or cells of a map.
        overlap: least number of answers that tiles share; None = a quarter of a tile.
        block: sides in what is stored, multiples of 32; None = as memory allows.
        instances: number the objects of a mask.
        frame: what the network sees of the volume; None = its finest level as it is.
        recipe: what else decides the answers, such as the hash of the weights.
        skip_empty: leave out blocks that hold nothing.
        threads: of torch; None = as many as it has.
        version: of OME-Zarr; labels in the store of their image have that of the store.
        tables: measure the labels in the end.
        names: of label values, for tables.
    """

    volume: Volume
    out: Path
    network: Network
    output: BlockOutput
    tile: Triple
    overlap: Triple | None = None
    block: Triple | None = None
    instances: bool = False
    frame: Frame | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    skip_empty: bool = True
    threads: int | None = None
    version: Literal["0.4", "0.5"] = "0.5"
    tables: bool = False
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """What lies at OUT in the end."""
        return Outcome(self.volume, self.out, self.output, self.instances, self.names)

    @property
    def run(self) -> Path:
        """Folder of plan and marks: OUT.run; of labels it lies beside their store."""
        return beside(self.out, ".run")

    @property
    def ngff(self) -> Literal["0.4", "0.5"]:
        """Labels have the version of their image."""
        image = labels_store(self.out)
        if image is None:
            return self.version
        return "0.5" if (image / "zarr.json").exists() else "0.4"

    def plan(self) -> BlockPlan:
        """Make the plan anew; writes nothing. Errors as `make_plan`."""
        block = self.block or (INSTANCE_BLOCK if self.instances else None)
        return make_plan(
            self.volume, self.out, self.network, self.output, tile=self.tile, overlap=self.overlap,
            block=block, frame=self.frame, recipe=self._asked(), ngff=self.ngff,
            skip_empty=self.skip_empty, threads=self.threads,
        )  # fmt: skip

    def key(self) -> str:
        """Hash of all that decides the answers."""
        return plan_key(self.volume, self.output, self.tile, self._asked())

    def job(self, plan: BlockPlan) -> Job:
        """Everything that an executor needs."""
        # The mask of objects is no output: it goes when they are numbered.
        path = self.run / MASK if self.instances else self.out
        return Job(plan, self.volume, self.network, plan.store(path), self.run)

    def _asked(self) -> dict[str, Any]:
        more = {"instances": self.instances, "skip_empty": self.skip_empty, "block": self.block}
        frame = None if self.frame is None else self.frame.model_dump()
        form = "tiff" if is_tiff(self.out) else self.ngff
        return {**self.recipe, **more, "overlap": self.overlap, "frame": frame, "form": form}


Executor = Callable[[Job, Sequence[int], Progress, Stop], Tally]
"""Does some of the blocks, which lie next to each other."""


def predict_blocks(
    request: Request,
    *,
    resume: bool = False,
    overwrite: bool = False,
    parts: int = 1,
    part: int = 0,
    execute: Executor = run_blocks,
    progress: Progress = lambda tally: None,
    finishing: FinishProgress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Predict a volume block by block into a multiscale OME-Zarr.

    Args:
        request: what is asked for.
        resume: go on with what stands at OUT, if it is of the same plan; if nothing stands there,
            start afresh.
        overwrite: replace what stands at OUT.
        parts: processes that share the blocks; each is started by itself, and joins the plan of the
            first. The last of them finishes the output.
        part: which of them this is, from 0.
        execute: does the blocks: `run_blocks` here, or elsewhere.
        progress: told after every block.
        finishing: told while levels and objects are made.

    Returns:
        What stands in metrics.json.

    Raises:
        InputError: something else stands at OUT, another process writes there, the plan is another
            one, the disk is too small, or options that do not go together.
        KeyboardInterrupt: it was asked to stop; finished blocks stay.
    """
    _check(request, parts, part, resume, overwrite)
    with ExitStack() as stack:
        for lock in hold_part(request.run, parts, part):
            stack.callback(lock.close)
        job = _join(request, resume or parts > 1, overwrite)
        grid, empty = job.plan.grid, set(job.plan.empty)
        work = [block not in empty for block in range(grid.num_blocks)]
        mine = share(grid, work, parts, part)
        if set(mine) - job.done.all():
            unfinish(job.run)
        stop = Stop()
        with stop.listening():
            tally = execute(job, mine, progress, stop)
        if tally.stopped:
            save_metrics(request.out, request.run, metrics_of(job, tally, False))
            raise KeyboardInterrupt
        finished = finish(job, request.outcome, request.tables, tally, finishing)
        metrics = metrics_of(job, tally, finished)
        save_metrics(request.out, request.run, metrics)
        return {**metrics, "failed": tally.failed}


def _check(request: Request, parts: int, part: int, resume: bool, overwrite: bool) -> None:
    if parts < 1 or not 0 <= part < parts:
        raise InputError(
            f"--parts {parts} --part {part}: expected parts of at least 1, and a part from 0 to "
            f"{parts - 1}"
        )
    if overwrite and (resume or parts > 1):
        other = "--resume" if resume else "--parts"
        raise InputError(
            f"--overwrite with {other}: the one removes what the other goes on with; choose one"
        )
    if request.tables:
        check_tables(request.output)
    if request.volume.num_channels != 1:
        raise InputError(
            f"{request.volume.path}: {request.volume.num_channels} channels, expected one; choose "
            "it with --channel"
        )
    zarr = request.out.suffix.lower() == ".zarr" or labels_store(request.out) is not None
    if not zarr and not is_tiff(request.out):
        raise InputError(
            f"{request.out}: block by block only OME-Zarr and OME-TIFF can be written; give a name "
            "in .ome.zarr or .ome.tif, and luxvox convert it afterwards"
        )
    go_on = resume or parts > 1
    if go_on and request.out.exists() and not (request.run / "plan.json").exists():
        raise InputError(
            f"{request.out}: was not made block by block, so there is nothing to go on with; give "
            "--overwrite in place of --resume, or another name"
        )
    check_out(request.out, overwrite=overwrite or go_on, source=request.volume)


def _join(request: Request, go_on: bool, overwrite: bool) -> Job:
    """The job of the plan that lies there, or of a new one."""
    lock = hold(request.run / ".plan-lock", wait=True)
    try:
        known = read_plan(request.run) if go_on else None
        there = request.out.exists() or (request.run / MASK).exists()
        if known is not None and there and known.key != request.key():
            raise InputError(
                f"{request.run / 'plan.json'}: made for other weights, options or input than "
                "these; give the same, or start anew with --overwrite"
            )
        if known is not None and (job := request.job(known)).store.path.exists():
            return job
        check_out(request.out, overwrite=overwrite, source=request.volume)
        plan = request.plan()
        need_disk(plan.estimate.disk_bytes, request.out)
        job = request.job(plan)
        _empty(request)
        write_plan(request.run, plan)
        job.store.create()  # last: a plan without a store is no run to go on with
        return job
    finally:
        if lock is not None:
            lock.close()


def _empty(request: Request) -> None:
    """Remove what an earlier run has left; the locks stay."""
    if request.out.is_dir():
        shutil.rmtree(request.out)
    request.out.unlink(missing_ok=True)
    (request.run / "plan.json").unlink(missing_ok=True)
    unfinish(request.run)
    for name in ("done", "failed", "scratch", MASK):
        shutil.rmtree(request.run / name, ignore_errors=True)
