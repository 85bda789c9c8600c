"""One block: its tiles are read, predicted, blended and cut to the block.

What a tile's answer is, and the order in which tiles are added, depend on the plan alone: so do the
bits of the result, whoever computes it and whatever was computed before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..configs.errors import InputError
from ..data.normalize import normalize
from ..data.tiles import gaussian_weights
from ..data.volume import Volume
from .block_grid import BlockGrid, Box, bounding_box, common, inside
from .heap import apart
from .plan import BlockPlan, Network
from .tile_cache import TileCache


class RawTiles:
    """The voxels of some tiles, read as one box; tile by tile where something in it is damaged."""

    def __init__(self, volume: Volume, plan: BlockPlan, tiles: Sequence[int]) -> None:
        """Read the box around the tiles, if there are any."""
        self._volume, self._plan, self._grid = volume, plan, plan.grid
        self._around: Box | None = None
        if tiles:
            frame = plan.frame
            around = bounding_box([frame.needed(self._grid.tile_box(tile)) for tile in tiles])
            try:
                self._voxels, self._around = self.read(around), around
            except (InputError, OSError):
                pass  # perhaps no tile needs the damaged part: each is read when its turn comes

    def read(self, box: Box) -> NDArray:
        """A box [Z, Y, X] of the level, as it was acquired.

        Raises:
            InputError: the file is damaged there.
        """
        origin, shape = [part.start for part in box], [part.stop - part.start for part in box]
        return self._volume.read(origin, shape, self._plan.frame.level)[0]

    def tile(self, number: int) -> NDArray:
        """What the network sees of one tile [z, y, x], foreseen or not. Errors as `read`."""
        frame, box, around = self._plan.frame, self._grid.tile_box(number), self._around
        needed = frame.needed(box)
        if around is None or any(
            part.start < whole.start or part.stop > whole.stop
            for part, whole in zip(needed, around, strict=True)
        ):
            return frame.cut(self.read(needed), needed, box)
        return frame.cut(self._voxels, around, box)


@torch.no_grad()
def predict_block(
    plan: BlockPlan, block: int, network: Network, raw: RawTiles, cache: TileCache
) -> NDArray[np.float32]:
    """Blended answers [C, Z, Y, X] of one block, on its core.

    Args:
        plan: of the whole prediction.
        block: its number.
        network: gives the answers of tiles.
        raw: their voxels.
        cache: of answers; takes what later blocks need as well.

    Raises:
        InputError: voxels of a tile cannot be read.
    """
    grid = plan.grid
    tiles = grid.tiles(block)
    core = grid.core(block)
    shape = [part.stop - part.start for part in core]
    total, weight_sum = apart(plan.channels, *shape), apart(*shape)
    weight = gaussian_weights(grid.tile_shape)
    # Tiles are added in their own order, so one that is at hand waits for those before it.
    waiting: deque[tuple[int, Tensor | None]] = deque()
    missing: list[int] = []

    def settle() -> None:
        fresh = iter(_answers(plan, network, [raw.tile(tile) for tile in missing]))
        missing.clear()
        while waiting:
            tile, answer = waiting.popleft()
            if answer is None:
                answer = next(fresh)
                cache.put(tile, block, answer)
            _add(grid, tile, core, answer, weight, total, weight_sum)

    for tile in tiles:
        held = cache.get(tile) if tile in cache else None
        waiting.append((tile, held))
        if held is None:
            missing.append(tile)
        if len(missing) == plan.batch or not missing:
            settle()
    settle()
    return total.div_(weight_sum).numpy()


def _answers(plan: BlockPlan, network: Network, raw: Sequence[NDArray]) -> Sequence[Tensor]:
    """Answers [C, z, y, x] on the CPU, from one full batch: other sizes give other last bits."""
    if not raw:
        return []
    images = [np.asarray(normalize(voxels, plan.stats), np.float32) for voxels in raw]
    tiles = torch.from_numpy(np.stack([*images, *[images[-1]] * (plan.batch - len(images))]))
    answers = network(tiles[:, None]).float().cpu()
    expected = (plan.batch, plan.channels, *plan.grid.tile_shape)
    if tuple(answers.shape) != expected:
        raise ValueError(f"the network gave {tuple(answers.shape)}, expected {expected}")
    return list(answers[: len(raw)])


def _add(
    grid: BlockGrid,
    tile: int,
    core: Box,
    answer: Tensor,
    weight: Tensor,
    total: Tensor,
    weight_sum: Tensor,
) -> None:
    """Add one tile to what it shares with the block."""
    place = grid.tile_box(tile)
    shared = common(place, core)
    z, y, x = inside(shared, place)
    there = inside(shared, core)
    part = weight[z, y, x]
    total[(slice(None), *there)].addcmul_(answer[:, z, y, x], part)
    weight_sum[there] += part


def foreseen(grid: BlockGrid, block: int, cache: TileCache, before: Sequence[int]) -> list[int]:
    """Tiles of a block that will have to be computed.

    Args:
        grid: of blocks and tiles.
        block: that comes next.
        cache: of answers as they are now.
        before: tiles of the block that is being computed; they will be at hand.
    """
    at_hand = set(before)
    return [tile for tile in grid.tiles(block) if tile not in cache and tile not in at_hand]
