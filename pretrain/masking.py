"""Which tokens are hidden, and which hidden ones are rebuilt.

Every sample's choice is a pure function of (seed, global sample index), so it does not depend on
the number of ranks or on where a run was resumed. The numbers of kept tokens and of queries are
fixed by the crop's shape alone, so that tensor shapes never change; samples with padding fill up
with slots that are marked as not real.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from ..data.draws import keyed_rng
from .recipe import MaskingRecipe

KINDS = ("random", "blocks", "slabs")
BLOCK = 2  # edge of a hidden block, in tokens


@dataclass(frozen=True)
class Masks:
    """Visible and queried tokens of a batch, as z-major token indices.

    Shapes: B batch, K kept tokens, Q queries. `keep_real` and `query_real` are False on slots that
    only fill up the shape; both are None when every slot is real.
    """

    keep: Tensor  # [B, K] int64
    keep_real: Tensor | None  # [B, K] bool
    query: Tensor  # [B, Q] int64
    query_real: Tensor | None  # [B, Q] bool

    def to(self, device: torch.device | str) -> Masks:
        """The same masks on another device."""
        return Masks(*(None if t is None else t.to(device) for t in self._fields()))  # type: ignore[arg-type]

    def rows(self, start: int, stop: int) -> Masks:
        """The masks of samples start..stop-1."""
        return Masks(*(None if t is None else t[start:stop] for t in self._fields()))  # type: ignore[arg-type]

    def _fields(self) -> tuple[Tensor | None, ...]:
        return self.keep, self.keep_real, self.query, self.query_real


def draw_masks(
    indices: Tensor,
    extent: Tensor,
    grid: tuple[int, int, int],
    patch: tuple[int, int, int],
    recipe: MaskingRecipe,
    seed: int,
    *,
    every_hidden: bool = False,
) -> Masks:
    """Draw masks for a batch.

    Args:
        indices: [B] int64, global sample indices.
        extent: [B, 3] int64, real voxels along (z, y, x); multiples of the patch.
        grid: tokens along (z, y, x) of the padded crop.
        patch: voxels of one token along (z, y, x).
        recipe: ratio and kinds.
        seed: of the run.
        every_hidden: query every hidden token instead of the recipe's share (evaluation).

    Returns:
        Masks on the CPU.
    """
    total = int(np.prod(grid))
    num_keep = max(1, round((1 - recipe.ratio) * total))
    num_query = total - num_keep if every_hidden else max(1, round(recipe.queries * total))
    num_query = min(num_query, total - num_keep)
    rows = [
        _draw_one(int(index), tuple(sides), grid, patch, recipe, seed, num_keep, num_query)
        for index, sides in zip(indices.tolist(), extent.tolist(), strict=True)
    ]
    keep, keep_real, query, query_real = (
        torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True)
    )
    return Masks(
        keep,
        None if keep_real.all() else keep_real,
        query,
        None if query_real.all() else query_real,
    )


def _draw_one(
    index: int,
    extent: tuple[int, ...],
    grid: tuple[int, int, int],
    patch: tuple[int, int, int],
    recipe: MaskingRecipe,
    seed: int,
    num_keep: int,
    num_query: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64], NDArray[np.bool_]]:
    """One sample: kept indices and queries, both padded to their fixed numbers."""
    rng = keyed_rng("mask", seed, index)
    real_grid = tuple(side // edge for side, edge in zip(extent, patch, strict=True))
    real = np.zeros(grid, dtype=bool)
    real[: real_grid[0], : real_grid[1], : real_grid[2]] = True
    order = _hiding_order(rng, grid, recipe)
    order[~real] = np.inf  # padding is last: neither kept nor queried
    ranked = np.argsort(rearrange(order, "z y x -> (z y x)"), kind="stable")

    count = int(real.sum())
    kept = min(max(1, round((1 - recipe.ratio) * count)), num_keep)
    hidden = rng.permutation(ranked[kept:count])[:num_query]
    return *_fill(np.sort(ranked[:kept]), num_keep), *_fill(hidden, num_query)


def _hiding_order(
    rng: np.random.Generator, grid: tuple[int, int, int], recipe: MaskingRecipe
) -> NDArray[np.float64]:
    """[z, y, x] scores; the lowest are kept. Tokens of one block or slab share a score, with a tie-
    break."""
    shares = np.array([recipe.random, recipe.blocks, recipe.slabs])
    kind = KINDS[rng.choice(len(KINDS), p=shares / shares.sum())]
    fine = rng.random(grid)
    if kind == "random":
        return fine
    if kind == "slabs":
        return rng.permutation(grid[0])[:, None, None] + fine
    # Blocks start at a random phase, so that their borders do not always fall on even tokens.
    phase = rng.integers(0, BLOCK, size=3)
    coarse = rng.permutation(np.prod([side // BLOCK + 1 for side in grid])).reshape(
        [side // BLOCK + 1 for side in grid]
    )
    z, y, x = ((np.arange(side) + start) // BLOCK for side, start in zip(grid, phase, strict=True))
    return coarse[np.ix_(z, y, x)] + fine


def _fill(values: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pad with index 0 to a fixed length; the second array says which slots are real."""
    padded = np.zeros(length, dtype=np.int64)
    padded[: len(values)] = values
    return padded, np.arange(length) < len(values)
