"""The plan of a prediction: all that decides its bytes, made once and read by every executor.

Blocks are whole shards of the output, normalisation is that of the whole volume, and batch and
threads are part of the plan, because other batches and threads give other last bits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ..configs.errors import InputError
from ..data.block_store import BlockStore, fit_block
from ..data.normalize import IntensityStats, describe, measure_intensity
from ..data.volume import Volume
from ..data.voxel import VoxelSize
from .block_grid import BlockGrid
from .block_output import BlockOutput
from .plan_estimate import choose_block, disk_bytes, memory_bytes, try_network
from .plan_foreground import empty_blocks
from .task_weights import Triple

Network = Callable[[Tensor], Tensor]
"""[B, 1, z, y, x], normalised -> [B, C, z, y, x], whatever the device; picklable for dask."""

FINER = 2.0
"""A level is passed over while it is this much finer than anything that was trained on."""


class Estimate(BaseModel):
    """What the run will need."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_bytes: int
    """Of the engine; weights and activations of the network come on top."""
    disk_bytes: int
    seconds: float
    """On one device like the one that the plan was made on."""


class BlockPlan(BaseModel):
    """What plan.json holds. All tuples are (z, y, x)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """Hash of weights, recipe and input: another key is another prediction."""
    level: int
    """Of the volume's pyramid."""
    shape: Triple
    voxel_size_um: VoxelSize | None
    translation_um: VoxelSize | None
    stats: IntensityStats
    """Of the whole volume."""
    tile: Triple
    overlap: Triple
    block: Triple
    batch: int
    threads: int
    channels: int
    """Of the network's answers."""
    output: BlockOutput
    ngff: Literal["0.4", "0.5"]
    empty: tuple[int, ...]
    """Blocks that hold nothing."""
    recipe: dict[str, Any]
    """What the user asked for, for people to read."""
    estimate: Estimate

    @property
    def grid(self) -> BlockGrid:
        """Of blocks and tiles."""
        return BlockGrid(self.shape, self.block, self.tile, self.overlap)

    def store(self, path: Path) -> BlockStore:
        """The output at a path; nothing is opened."""
        channels, dtype, kind = self.output.stored(self.channels)
        return BlockStore(
            path, self.shape, self.block, channels, dtype, kind, self.voxel_size_um,
            self.translation_um, self.ngff,
        )  # fmt: skip


def plan_key(volume: Volume, output: BlockOutput, tile: Triple, recipe: Mapping[str, Any]) -> str:
    """Hash of what was asked for, and of whom.

    Args:
        volume: known by its metadata and by the time at which they were written; a chunk that is
            repaired changes nothing.
        output: what is stored.
        tile: what the network sees at once.
        recipe: names weights (by their hash), task and whatever else decides the answers.
    """
    asked = {
        "input": _identity(volume),
        "output": output.model_dump(mode="json"),
        "tile": tile,
        "recipe": recipe,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def make_plan(
    volume: Volume,
    out: Path,
    network: Network,
    output: BlockOutput,
    *,
    tile: Triple,
    overlap: Triple | None = None,
    block: Triple | None = None,
    level: int = 0,
    recipe: Mapping[str, Any] | None = None,
    ngff: Literal["0.4", "0.5"] = "0.5",
    skip_empty: bool = True,
    threads: int | None = None,
) -> BlockPlan:
    """Look at a volume and at a network, and decide everything.

    Args:
        volume: of one channel.
        out: where the output will stand.
        network: tried once or a few times.
        output: what is wanted.
        tile: what the network sees at once.
        overlap: least number of voxels that tiles share; None = a quarter of a tile.
        block: sides, multiples of 64; None = the largest up to 256 that fits into memory.
        level: of the pyramid, see `nearest_level`.
        recipe: goes into the key and into plan.json.
        ngff: version of the output.
        skip_empty: leave out blocks that hold nothing.
        threads: of torch on a CPU; None = as many as torch has now.

    Raises:
        InputError: a volume without signal, or blocks that are no multiple of the chunks.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    chosen = volume.levels[level]
    shared = overlap or (tile[0] // 4, tile[1] // 4, tile[2] // 4)
    whole = BlockGrid(chosen.shape, chosen.shape, tile, shared)
    tiles = len(whole.tiles(0))
    trial = try_network(network, whole.tile_shape, tiles)
    itemsize = volume.dtype.itemsize
    sides = block or choose_block(chosen.shape, tile, shared, itemsize, trial.channels, trial.batch)
    grid = BlockGrid(chosen.shape, fit_block(chosen.shape, sides), tile, shared)
    empty = empty_blocks(volume, grid, level) if skip_empty else []
    plan = BlockPlan(
        key=plan_key(volume, output, tile, recipe or {}),
        level=level,
        shape=chosen.shape,
        voxel_size_um=chosen.voxel_size_um,
        translation_um=chosen.translation_um,
        stats=_measure(volume),
        tile=tile,
        overlap=shared,
        block=grid.block,
        batch=trial.batch,
        threads=torch.get_num_threads(),
        channels=trial.channels,
        output=output,
        ngff=ngff,
        empty=tuple(empty),
        recipe=json.loads(json.dumps(recipe or {})),  # as it will be read back
        estimate=Estimate(
            memory_bytes=memory_bytes(grid, itemsize, trial.channels, trial.batch),
            disk_bytes=0,
            seconds=trial.seconds * tiles * (1 - len(empty) / grid.num_blocks),
        ),
    )
    disk = disk_bytes(plan.store(out), grid, trial.channels)
    return plan.model_copy(
        update={"estimate": plan.estimate.model_copy(update={"disk_bytes": disk})}
    )


def write_plan(run: Path, plan: BlockPlan) -> None:
    """Write RUN/plan.json in one step."""
    draft = run / ".plan.json"
    draft.write_text(plan.model_dump_json(indent=1) + "\n", encoding="utf-8")
    draft.replace(run / "plan.json")


def read_plan(run: Path) -> BlockPlan | None:
    """The plan of a run; None where there is none.

    Raises:
        InputError: a file that is no plan.
    """
    path = run / "plan.json"
    try:
        return BlockPlan.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputError(
            f"{path}: no plan of this version of luxvox ({error.error_count()} fields differ); "
            "start anew with --overwrite"
        ) from None


def nearest_level(volume: Volume, trained_um: VoxelSize | None) -> int:
    """The finest level that weights can be expected to understand.

    Args:
        volume: with a pyramid or without.
        trained_um: finest voxels (z, y, x) that were trained on; None = not known.

    Returns:
        The first level that is not on all axes more than twice as fine.
    """
    if trained_um is None:
        return 0
    for number, level in enumerate(volume.levels):
        size = level.voxel_size_um
        if size is None or any(s * FINER >= t for s, t in zip(size, trained_um, strict=True)):
            return number
    return len(volume.levels) - 1


def _measure(volume: Volume) -> IntensityStats:
    """As `measure_intensity`, but a damaged chunk only takes itself out of the sample."""
    try:
        return measure_intensity(volume)
    except InputError:
        blocks = []
        edge = tuple(min(32, side) for side in volume.shape)
        places = [
            np.unique(np.linspace(0, side - part, 8).astype(int))
            for side, part in zip(volume.shape, edge, strict=True)
        ]
        for origin in np.stack(np.meshgrid(*places, indexing="ij"), -1).reshape(-1, 3):
            try:
                blocks.append(volume.read(origin.tolist(), edge)[0])
            except InputError:
                continue
        if not blocks:
            raise
        return describe(np.stack(blocks), volume.path)


def _identity(volume: Volume) -> list[Any]:
    """What a volume is, without reading it: shape, type, and its metadata files as they stand."""
    files = {}
    for level in range(len(volume.levels)):
        for name in (
            "",
            "zarr.json",
            ".zattrs",
            ".zarray",
            f"{level}/zarr.json",
            f"{level}/.zarray",
        ):
            path = os.path.join(volume.path, name) if name else volume.path
            if os.path.isfile(path):
                state = os.stat(path)
                files[name] = (state.st_size, state.st_mtime_ns)
    return [
        Path(volume.path).name, volume.shape, volume.dtype.name, volume.voxel_size_um,
        volume.time, volume.file_channels, files,
    ]  # fmt: skip
