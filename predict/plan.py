"""The plan of a prediction: all that decides its bytes, made once and read by every executor.

Blocks are whole shards of the output, normalisation is that of the whole volume, and batch and
threads are part of the plan, because other batches and threads give other last bits.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ..configs.errors import InputError
from ..data.block_store import BlockStore, fit_block
from ..data.block_tiff import BlockTiff, is_tiff
from ..data.normalize import IntensityStats, describe, measure_intensity
from ..data.volume import Volume
from ..data.voxel import VoxelSize
from .block_grid import BlockGrid
from .block_output import BlockOutput, Stored
from .file_state import file_state
from .frame import Frame, native_frame
from .plan_estimate import choose_block, disk_bytes, memory_bytes, seconds_for, try_network
from .plan_foreground import empty_blocks
from .task_weights import Triple

Store = BlockStore | BlockTiff
Network = Callable[[Tensor], Tensor]
"""[B, 1, z, y, x], normalised -> [B, C, z, y, x], whatever the device; picklable for dask. Of a map
one answer for each cell of voxels."""


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
    frame: Frame
    """What the network sees of the volume."""
    shape: Triple
    """Of what is stored."""
    voxel_size_um: VoxelSize | None
    translation_um: VoxelSize | None
    stats: IntensityStats
    """Of the whole volume."""
    tile: Triple
    """In answers, like `overlap`: voxels as the network sees them, or cells of a map."""
    overlap: Triple
    block: Triple
    """In what is stored."""
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
        return self.frame.grid(self.block, self.tile, self.overlap)

    def store(self, path: Path, stored: Stored | None = None) -> Store:
        """The output at a path; nothing is opened.

        Args:
            path: a name in .ome.tif is an OME-TIFF, any other an OME-Zarr.
            stored: how, where it is not the output itself: numbered objects.
        """
        channels, dtype, kind = stored or self.output.stored(self.channels)
        size, at = self.voxel_size_um, self.translation_um
        names = self.output.names if channels else ()
        if is_tiff(path):
            return BlockTiff(path, self.shape, self.block, channels, dtype, size, at, names)
        return BlockStore(
            path, self.shape, self.block, channels, dtype, kind, size, at, self.ngff,
            self.block if self.frame.is_map else None, names,
        )  # fmt: skip

    def voxels(self, block: int) -> int:
        """How many voxels of level 0, or of what is seen for a map, a block stands for."""
        sides = [part.stop - part.start for part in self.grid.box(block)]
        return math.prod(sides) * math.prod(self.frame.cell)

    def values(self, answer: NDArray[np.float32], block: int) -> NDArray:
        """What is stored of a block.

        Args:
            answer: [C, Z, Y, X] of the network, on the block's core.
            block: its number.

        Returns:
            [Z, Y, X], or [C, Z, Y, X] of several channels.
        """
        found, grid = self.output.values(answer, self.stats), self.grid
        core, box, back = grid.core(block), grid.box(block), self.frame.back
        if self.output.depth:  # a mask, and what grades it
            return np.stack([back(found[0], core, box, "nearest"), back(found[1], core, box)])
        return back(found, core, box, "nearest" if self.output.is_labels else "linear")


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
    frame: Frame | None = None,
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
        tile: answers that the network gives at once; of voxels, or of cells of a map.
        overlap: least number of answers that tiles share; None = a quarter of a tile.
        block: sides in what is stored, multiples of 32, of maps any; None = the largest up to 256
            voxels that fits into memory.
        frame: what the network sees, see `choose_frame`; None = level 0 as it is.
        recipe: goes into the key and into plan.json.
        ngff: version of the output.
        skip_empty: leave out blocks that hold nothing.
        threads: of torch on a CPU; None = as many as torch has now.

    Raises:
        InputError: a volume without signal, or blocks that are no multiple of the chunks.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    frame = frame or native_frame(volume)
    shared = overlap or (tile[0] // 4, tile[1] // 4, tile[2] // 4)
    whole = frame.grid(frame.stored, tile, shared)
    tiles = len(whole.tiles(0))
    trial = try_network(network, whole.tile_shape, frame.cell, tiles)
    itemsize = volume.dtype.itemsize
    sides = block or choose_block(frame, tile, shared, itemsize, trial.channels, trial.batch)
    sides = fit_block(frame.stored, sides, sides if frame.is_map else None)
    grid = frame.grid(sides, tile, shared)
    empty = empty_blocks(volume, grid, frame.step) if skip_empty else []
    plan = BlockPlan(
        key=plan_key(volume, output, tile, recipe or {}),
        frame=frame,
        shape=frame.stored,
        voxel_size_um=frame.stored_um(volume),
        translation_um=frame.stored_translation_um(volume),
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
            memory_bytes=memory_bytes(frame, grid, itemsize, trial.channels, trial.batch),
            disk_bytes=0,
            seconds=0.0,
        ),
    )
    store, busy = plan.store(out), 1 - len(empty) / grid.num_blocks
    found = {
        "disk_bytes": disk_bytes(store, grid, trial.channels),
        "seconds": busy * seconds_for(trial.seconds * tiles, store),
    }
    return plan.model_copy(update={"estimate": plan.estimate.model_copy(update=found)})


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
    return [
        Path(volume.path).name, volume.shape, volume.dtype.name, volume.voxel_size_um,
        volume.time, volume.file_channels, file_state(volume.path, len(volume.levels)),
    ]  # fmt: skip
