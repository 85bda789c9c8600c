"""Answers of the network that a later block needs as well, so that no tile is computed twice.

Blocks are small beside tiles: without this, nearly half of all tiles would be computed again. What
does not fit into memory goes to disk, and leaves it with the last block that needs it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .heap import apart


class TileCache:
    """Answers by number of the tile; each is dropped when no block is left that needs it."""

    def __init__(
        self,
        folder: Path,
        blocks: Sequence[int],
        touched: Callable[[int], list[int]],
        shape: tuple[int, int, int, int],
        limit_bytes: int,
    ) -> None:
        """Start empty.

        Args:
            folder: for what does not fit into memory; emptied now.
            blocks: that are to be done, in any order.
            touched: gives the blocks that a tile touches.
            shape: (C, z, y, x) of every answer.
            limit_bytes: of memory.
        """
        shutil.rmtree(folder, ignore_errors=True)
        self._folder, self._touched = folder, touched
        self._left = set(blocks)
        count = limit_bytes // (4 * math.prod(shape))
        self._free = list(apart(count, *shape)) if count else []
        self._held: dict[int, Tensor] = {}
        self._spilled: set[int] = set()

    def __contains__(self, tile: int) -> bool:
        """Whether the answer of a tile is here."""
        return tile in self._held or tile in self._spilled

    def wanted(self, tile: int, block: int) -> bool:
        """Whether a block after this one needs the tile."""
        return any(other in self._left and other != block for other in self._touched(tile))

    def put(self, tile: int, block: int, answer: Tensor) -> None:
        """Keep the answer [C, z, y, x] that a block has computed, if another one needs it."""
        if not self.wanted(tile, block):
            return
        if self._free:
            self._held[tile] = self._free.pop().copy_(answer)
        else:
            self._folder.mkdir(parents=True, exist_ok=True)
            np.save(self._folder / f"{tile}.npy", answer.numpy(), allow_pickle=False)
            self._spilled.add(tile)

    def get(self, tile: int) -> Tensor:
        """The answer of a tile that is here."""
        if tile in self._held:
            return self._held[tile]
        return torch.from_numpy(np.load(self._folder / f"{tile}.npy", allow_pickle=False))

    def finish(self, block: int, tiles: Sequence[int]) -> None:
        """A block is done, or given up: drop those of its tiles that no other block needs."""
        self._left.discard(block)
        for tile in tiles:
            if tile not in self or self.wanted(tile, block):
                continue
            if tile in self._held:
                self._free.append(self._held.pop(tile))
            else:
                self._spilled.discard(tile)
                (self._folder / f"{tile}.npy").unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget everything, on disk too."""
        self._held.clear()
        self._free.clear()
        self._spilled.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
