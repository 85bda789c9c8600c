"""A plan for people: what will be read, computed and written, and what that takes."""

from __future__ import annotations

from collections.abc import Iterator

from ..data.block_tiff import BlockTiff
from ..data.voxel import format_voxel_size
from .blockwise import Request
from .plan import BlockPlan


def plan_rows(request: Request, plan: BlockPlan) -> Iterator[tuple[str, str]]:
    """Lines of the table: what, and how much."""
    store, grid = plan.store(request.out), plan.grid
    tiles = [len(starts) for starts in grid.starts]
    stored = "objects" if request.instances else plan.output.what
    dtype = "uint32" if request.instances else store.dtype
    estimate = plan.estimate
    frame = plan.frame
    level = request.volume.levels[frame.level]
    yield "input", f"{request.volume.path}, level {frame.level}: {_times(frame.voxels)} voxels"
    yield "voxel size", format_voxel_size(level.voxel_size_um)
    if frame.seen != frame.voxels:
        size = format_voxel_size(frame.seen_um(level))
        yield "resampled", f"{_times(frame.seen)} voxels of {size}, which the weights understand"
    if not frame.is_map and frame.level:
        size = format_voxel_size(plan.voxel_size_um)
        yield "stored", f"{_times(plan.shape)} voxels of {size}, the grid of level 0"
    if frame.is_map:
        size = format_voxel_size(plan.voxel_size_um)
        yield "map", f"{_times(plan.shape)} cells of {_times(frame.cell)} voxels, {size}"
    form = "OME-TIFF" if isinstance(store, BlockTiff) else f"OME-Zarr {plan.ngff}"
    yield "output", f"{request.out}: {stored}, {dtype}, {form}"
    yield "blocks", f"{grid.num_blocks} of {_times(plan.block)}, {len(plan.empty)} hold nothing"
    yield "tiles", f"{_times(tiles)} of {_times(plan.tile)}, sharing {_times(plan.overlap)}"
    yield "batch, threads", f"{plan.batch}, {plan.threads}"
    yield "intensity", f"level {plan.stats.level:.5g}, spread {plan.stats.spread:.5g}"
    yield "memory", f"{estimate.memory_bytes / 2**30:.2f} GiB, the network apart"
    yield "disk", f"{estimate.disk_bytes / 2**30:.2f} GiB, about"
    yield "time", f"{_duration(estimate.seconds)} on one device like this one, about"


def print_plan(request: Request, plan: BlockPlan) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for what, found in plan_rows(request, plan):
        table.add_row(escape(what), escape(found))
    Console().print(table)


def _times(sides: tuple[int, ...] | list[int]) -> str:
    return " x ".join(map(str, sides))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
