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
from .block_grid import BlockGrid
from .task_weights import Triple

CACHE_BYTES = 192 * 2**20
"""Memory for tiles that a later block needs; more of them wait on disk."""
MEMORY_BYTES = 900 * 10**6
"""The engine's own share, weights and activations of the network aside, is to stay below."""
_PACKED = {"labels": 0.1, "image": 0.8}  # of its size, what a level takes on disk, about
_PYRAMID = 8 / 7  # all levels over the finest
_MOST = 64  # tiles in a batch


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
def try_network(network: Callable[[Tensor], Tensor], tile: Triple, most: int) -> Trial:
    """Find the batch at which a network is fastest; on a CPU that is 1.

    Args:
        network: [B, 1, z, y, x] -> [B, C, z, y, x].
        tile: (z, y, x).
        most: tiles that there are at all.
    """
    best: Trial | None = None
    batch = 1
    while best is None or batch <= min(_MOST, most):
        tiles = torch.zeros(batch, 1, *tile)
        try:
            answer = network(tiles)
            began = time.perf_counter()
            answer = network(tiles).cpu()  # the first time a GPU also finds out how
            seconds = (time.perf_counter() - began) / batch
        except torch.OutOfMemoryError:
            if best is None:
                raise
            break
        if best is not None and seconds > 0.95 * best.seconds:
            break
        best = Trial(batch, answer.shape[1], seconds)
        if not torch.cuda.is_available():
            break
        batch *= 2
    return best


def memory_bytes(grid: BlockGrid, itemsize: int, channels: int, batch: int) -> int:
    """Most bytes that a block takes at once: two boxes that were read, sums, tiles, and the store's
    values.

    Args:
        grid: of blocks and tiles.
        itemsize: bytes of an acquired voxel.
        channels: of the network's answers.
        batch: tiles that are predicted together.
    """
    core = math.prod(min(pair) for pair in zip(grid.block, grid.shape, strict=True))
    read = math.prod(
        min(size, block + 2 * (tile - 1))
        for size, block, tile in zip(grid.shape, grid.block, grid.tile_shape, strict=True)
    )
    tiles = 2 * batch * math.prod(grid.tile_shape) * 4 * (1 + channels)
    sums, values = core * 4 * (channels + 1), 2 * core * 4 * channels
    cached = min(CACHE_BYTES, waiting_bytes(grid, channels))
    return 2 * read * itemsize + sums + values + tiles + cached


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
    shape: Triple, tile: Triple, overlap: Triple, itemsize: int, channels: int, batch: int
) -> Triple:
    """The largest block whose work fits into the engine's share of memory."""
    grids = [BlockGrid(shape, (side, side, side), tile, overlap) for side in SIDES]
    fitting = (
        grid for grid in grids if memory_bytes(grid, itemsize, channels, batch) <= MEMORY_BYTES
    )
    return next(fitting, grids[-1]).block


def disk_bytes(store: BlockStore, grid: BlockGrid, channels: int) -> int:
    """About what the output takes with its pyramid, and what lies beside it on the way."""
    spilled = max(0, waiting_bytes(grid, channels) - CACHE_BYTES)
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
