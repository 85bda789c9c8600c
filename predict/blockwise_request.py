"""What is asked of the block engine, from weights and options: network, grids, what is stored."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from ..data.volume import Volume
from ..data.voxel import format_voxel_size
from .block_output import BlockOutput
from .blockwise import Request
from .frame import Frame, choose_frame
from .image import bf16_or_no, has_distance, voxel_size_warning
from .task_network import ClassNetwork, TaskNetwork, weights_hash
from .task_weights import TaskWeights

Ngff = Literal["0.4", "0.5"]


def request_task(
    weights: TaskWeights,
    volume: Volume,
    out: str | Path,
    *,
    threshold: float | None = None,
    probabilities: bool = False,
    instances: bool = False,
    tables: bool = False,
    ngff: Ngff = "0.5",
) -> Request:
    """Ask for what weights of a task give.

    Args:
        weights: of a task.
        volume: of one channel.
        out: see `Request`.
        threshold: of binary segmentation, in place of that of the weights.
        probabilities: in place of labels or classes.
        instances: number the objects of a binary segmentation.
        tables: measure the labels in the end.
        ngff: version of OME-Zarr.

    Returns:
        Segmentation and restoration on the grid of level 0; the classes of a classifier as a map,
        one voxel for each tile.
    """
    task = weights.task
    frame = task_frame(weights, volume)
    size = frame.seen_um(volume.levels[frame.level])
    warning = voxel_size_warning(weights, size)
    if warning is not None:
        print(f"warning: {volume.path}: {warning}", file=sys.stderr)
    precision = bf16_or_no("auto", next(weights.model.parameters()).device)
    recipe = {"weights": weights_hash(weights), "where": Path(weights.where).name}
    place = Path(out).expanduser()
    if task.task == "classify":
        patch = weights.model.encoder.config.patch
        z, y, x = (  # a thin volume is not filled up to a whole tile
            min(side, -(-n // edge) * edge)
            for side, n, edge in zip(task.tile, frame.seen, patch, strict=True)
        )
        names = task.classes if probabilities else ()
        return Request(
            volume, place, ClassNetwork(weights, size, precision),
            BlockOutput(what="class_probabilities" if probabilities else "classes", names=names),
            tile=(1, 1, 1), overlap=(0, 0, 0), frame=frame.in_cells((z, y, x)),
            recipe={**recipe, "classes": list(task.classes)}, version=ngff,
        )  # fmt: skip
    output = output_of(weights, threshold, probabilities)
    depth = instances and has_distance(weights)
    if depth:
        output = output.model_copy(update={"depth": True})
    network = TaskNetwork(weights, size, precision, depth)
    return Request(
        volume, place, network, output, task.tile, instances=instances, frame=frame,
        recipe=recipe, version=ngff, tables=tables, names=structure_names(weights),
    )  # fmt: skip


def structure_names(weights: TaskWeights) -> dict[int, str]:
    """What the labels are called that weights give."""
    task = weights.task
    if len(task.classes) > 1:
        values = task.label_values or range(len(task.classes))
        return dict(zip(values, task.classes, strict=True))
    return {1: task.structure} if task.structure else {}


def output_of(
    weights: TaskWeights, threshold: float | None = None, probabilities: bool = False
) -> BlockOutput:
    """What is stored of weights that segment or restore; arguments as `request_task`."""
    task = weights.task
    if task.task == "restore":
        return BlockOutput(what="restored")
    return BlockOutput(
        what="probabilities" if probabilities else "labels",
        threshold=task.threshold if threshold is None else threshold,
        label_values=task.label_values,
        names=task.classes if probabilities and len(task.classes) > 1 else (),
    )


def task_frame(weights: TaskWeights, volume: Volume) -> Frame:
    """What the weights of a task should see of a volume; a coarser level or a resampled one is
    told to the user."""
    own = weights.task.voxel_size_um
    frame = choose_frame(volume, weights.voxel_range_um if own is None else (own, own))
    say_frame(frame, volume, weights.where)
    return frame


def say_frame(frame: Frame, volume: Volume, where: str) -> None:
    """Tell the user where not the finest level as it is will be seen.

    Args:
        frame: what will be seen.
        volume: of it.
        where: names the weights.
    """
    level = volume.levels[frame.level]
    if frame.seen == frame.voxels and not frame.level:
        return
    how = f"level {frame.level}" + (", resampled" if frame.seen != frame.voxels else "")
    print(
        f"note: {volume.path}: voxels of {format_voxel_size(volume.voxel_size_um)} are read as "
        f"{format_voxel_size(frame.seen_um(level))} ({how}), near what {where} was trained on",
        file=sys.stderr,
    )
