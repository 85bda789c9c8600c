"""Answers of the network that a later block needs as well, so that no tile is computed twice.

Blocks are small beside tiles: without this, nearly half of all tiles would be computed again. What
does not fit into memory goes to disk, and leaves it with the last block that needs it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class TileCache:
    """Answers by number of the tile; each is dropped when no block is left that needs it."""

    def __init__(
        self,
        folder: Path,
        blocks: Sequence[int],
        touched: Callable[[int], list[int]],
        limit_bytes: int,
    ) -> None:
        """Start empty.

        Args:
            folder: for what does not fit into memory; emptied now.
            blocks: that are to be done, in any order.
            touched: gives the blocks that a tile touches.
            limit_bytes: of memory.
        """
        shutil.rmtree(folder, ignore_errors=True)
        self._folder, self._touched = folder, touched
        self._left = set(blocks)
        self._room = limit_bytes
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
        size = answer.nbytes
        if size <= self._room:
            self._room -= size
            alone = answer.untyped_storage().nbytes() == size
            self._held[tile] = answer if alone else answer.clone()  # not the batch around it
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
            held = self._held.pop(tile, None)
            if held is not None:
                self._room += held.nbytes
            else:
                self._spilled.discard(tile)
                (self._folder / f"{tile}.npy").unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget everything, on disk too."""
        self._held.clear()
        self._spilled.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
