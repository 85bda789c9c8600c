"""What a prediction will need, before it starts: memory, disk and time."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..configs.errors import InputError
from ..data.block_store import SIDES, BlockStore
from ..data.block_tiff import BlockTiff
from .block_grid import BlockGrid
from .frame import Frame
from .task_weights import Triple

CACHE_BYTES = 32 * 2**20
"""Memory for tiles that a later block needs; more of them wait on disk. Small, so that a volume of
512 voxels a side takes no more than one of 256."""
MEMORY_BYTES = 900 * 10**6
"""The engine's own share, weights and activations of the network aside, is to stay below."""
_PACKED = {"labels": 0.1, "image": 0.8}  # of its size, what a level takes on disk, about
_PYRAMID = 8 / 7  # all levels over the finest
_MOST = 64  # tiles in a batch
_BYTES_PER_SECOND = 10**8  # that a core packs and writes, about


class Trial(NamedTuple):
    """What was found by trying a network.

    batch: tiles that are predicted together.
    channels: of its answers.
    seconds: for each tile.
    """

    batch: int
    channels: int
    seconds: float


@torch.no_grad()
def try_network(
    network: Callable[[Tensor], Tensor], tile: Triple, cell: Triple, most: int
) -> Trial:
    """Find the batch at which a network is fastest; where it answers on a CPU that is 1.

    Args:
        network: [B, 1, z, y, x] -> [B, C, z, y, x], one answer for each cell.
        tile: (z, y, x) answers.
        cell: (z, y, x) voxels behind an answer.
        most: tiles that there are at all.
    """
    sides = [count * side for count, side in zip(tile, cell, strict=True)]
    best: Trial | None = None
    batch = 1
    while best is None or batch <= min(_MOST, most):
        tiles = torch.zeros(batch, 1, *sides)
        try:
            answer, seconds = _timed(network, tiles)
            on_cpu = answer.device.type == "cpu"
            if not on_cpu:  # the first time a GPU also finds out how
                answer, seconds = _timed(network, tiles)
        except torch.OutOfMemoryError:
            if best is None:
                raise
            break
        if best is not None and seconds / batch > 0.95 * best.seconds:
            break
        best = Trial(batch, answer.shape[1], seconds / batch)
        if on_cpu:
            break
        batch *= 2
    return best


def _timed(network: Callable[[Tensor], Tensor], tiles: Tensor) -> tuple[Tensor, float]:
    """An answer where the network gave it, and the seconds until it is on the CPU."""
    began = time.perf_counter()
    answer = network(tiles)
    answer.cpu()
    return answer, time.perf_counter() - began


def memory_bytes(frame: Frame, grid: BlockGrid, itemsize: int, channels: int, batch: int) -> int:
    """Most bytes that a block takes at once: two boxes that were read, sums, tiles, and the store's
    values.

    Args:
        frame: what the network sees.
        grid: of blocks and tiles.
        itemsize: bytes of an acquired voxel.
        channels: of the network's answers.
        batch: tiles that are predicted together.
    """
    stored = [min(pair) for pair in zip(grid.block, grid.shape, strict=True)]
    core = [
        math.ceil(side * tiled / size)
        for side, tiled, size in zip(stored, grid.tiled, grid.span, strict=True)
    ]
    read = math.prod(
        min(have, (side + 2 * (tile - 1)) * have / tiled)
        for have, side, tile, tiled in zip(
            frame.voxels, core, grid.tile_shape, grid.tiled, strict=True
        )
    )
    seen = 1 + channels / math.prod(frame.cell)  # numbers for each voxel of a tile
    tiles = 2 * batch * math.prod(grid.tile_shape) * math.prod(frame.cell) * 4 * seen
    copies = 2 if core == stored else 4  # what is resampled is at hand more often
    sums, values = math.prod(core) * 4 * (channels + 1), copies * math.prod(stored) * 4 * channels
    cached = min(CACHE_BYTES, waiting_bytes(grid, channels))
    return int(2 * read * itemsize + sums + values + tiles + cached)


def waiting_bytes(grid: BlockGrid, channels: int) -> int:
    """About how many bytes of answers wait for a later block, in memory and then on disk."""
    across, whole, of_block = [], [], []  # tiles along each axis: over a face, in all, of a block
    for starts, tile, shared, number in zip(
        grid.starts, grid.tile_shape, grid.overlap, grid.counts, strict=True
    ):
        over_a_face = -(-tile // max(1, tile - shared)) if number > 1 else 0
        across.append(over_a_face)
        whole.append(len(starts))
        of_block.append(len(starts) // number + over_a_face)
    layer = across[0] * whole[1] * whole[2]
    row = of_block[0] * across[1] * whole[2]
    column = of_block[0] * of_block[1] * across[2]
    return (layer + row + column) * math.prod(grid.tile_shape) * 4 * channels


def choose_block(
    frame: Frame, tile: Triple, overlap: Triple, itemsize: int, channels: int, batch: int
) -> Triple:
    """The largest block whose work fits into the engine's share of memory."""
    blocks: list[Triple] = []
    for most in SIDES:
        z, y, x = (max(1, most // side) for side in frame.cell)
        blocks.append((z, y, x))
    for block in blocks:
        grid = frame.grid(block, tile, overlap)
        if memory_bytes(frame, grid, itemsize, channels, batch) <= MEMORY_BYTES:
            return block
    return blocks[-1]


def seconds_for(network: float, store: BlockStore | BlockTiff) -> float:
    """Of a run: blocks are written while the next is predicted, so the slower of the two counts.

    Args:
        network: seconds of all tiles.
        store: what is written.
    """
    return max(network, store.bytes / _BYTES_PER_SECOND)


def disk_bytes(store: BlockStore | BlockTiff, grid: BlockGrid, channels: int) -> int:
    """About what the output takes with its pyramid, and what lies beside it on the way."""
    spilled = max(0, waiting_bytes(grid, channels) - CACHE_BYTES)
    if isinstance(store, BlockTiff):  # neither packed nor a pyramid
        return store.bytes + spilled
    return int(store.bytes * _PYRAMID * _PACKED[store.kind]) + spilled


def need_disk(wanted: int, out: Path) -> None:
    """Refuse what will not fit.

    Raises:
        InputError: less is free where the output goes.
    """
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise InputError(
            f"{out}: needs about {wanted / 2**30:.1f} GiB of disk, {free / 2**30:.1f} GiB are free "
            f"in {folder}; free some, or give another OUT"
        )
