"""Blocks of a volume and the tiles behind them: pure arithmetic on one grid for the whole volume.

Tiles lie where MONAI's `sliding_window_inference` over the whole volume would put them, so that the
result knows nothing of blocks.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..data.resample import source_box
from ..data.tiles import tile_starts
from .task_weights import Triple

Box = tuple[slice, slice, slice]

GROUP = 256
"""Answers along the side of a group of blocks: where answers are much coarser than what is stored,
a block alone would share nearly all of its tiles with its neighbours."""


@dataclass(frozen=True)
class BlockGrid:
    """Blocks are numbered z-major from 0, and so are tiles. All tuples are (z, y, x) voxels.

    Attributes:
        shape: of what is stored.
        block: sides of a block; the last one of an axis may be shorter.
        tile: answers that the network gives at once.
        overlap: least number of answers that tiles share with their neighbours.
        answers: (Z, Y, X) of the grid of tiles, where answers are resampled before they are stored;
            None = the grid of blocks.
        answered: (Z, Y, X) of what is stored that the answers span, a little more or less than
            `shape` where they are those of a coarser level; None = `shape`.
    """

    shape: Triple
    block: Triple
    tile: Triple
    overlap: Triple
    answers: Triple | None = None
    answered: Triple | None = None

    @property
    def tiled(self) -> Triple:
        """(Z, Y, X) of the grid of tiles."""
        return self.answers or self.shape

    @property
    def span(self) -> Triple:
        """(Z, Y, X) of the grid of tiles, in voxels of the grid of blocks."""
        return self.answered or self.shape

    @functools.cached_property
    def counts(self) -> Triple:
        """Blocks along each axis."""
        z, y, x = (-(-n // side) for n, side in zip(self.shape, self.block, strict=True))
        return z, y, x

    @property
    def num_blocks(self) -> int:
        """How many blocks there are."""
        return math.prod(self.counts)

    @functools.cached_property
    def starts(self) -> tuple[list[int], list[int], list[int]]:
        """Of tiles along each axis."""
        z, y, x = (
            tile_starts(*sides) for sides in zip(self.tiled, self.tile, self.overlap, strict=True)
        )
        return z, y, x

    @functools.cached_property
    def tile_shape(self) -> Triple:
        """No tile is larger than the volume."""
        z, y, x = (min(sides) for sides in zip(self.tiled, self.tile, strict=True))
        return z, y, x

    @functools.cached_property
    def order(self) -> list[int]:
        """All blocks as they are worked on: group by group, z-major within each."""
        groups = [
            max(1, round(GROUP * span / (tiled * side)))
            for span, tiled, side in zip(self.span, self.tiled, self.block, strict=True)
        ]
        axes = [
            [range(first, min(first + many, count)) for first in range(0, count, many)]
            for many, count in zip(groups, self.counts, strict=True)
        ]
        return [
            self.number(place)
            for group in itertools.product(*axes)
            for place in itertools.product(*group)
        ]

    def core(self, block: int) -> Box:
        """The answers that a block is made of: its own voxels, or what they are resampled from."""
        return source_box(self.box(block), self.tiled, self.span)

    def box(self, block: int) -> Box:
        """The voxels that a block answers for."""
        z, y, x = (
            slice(place * side, min((place + 1) * side, size))
            for place, side, size in zip(self.place(block), self.block, self.shape, strict=True)
        )
        return z, y, x

    def place(self, block: int) -> Triple:
        """Where a block stands among the blocks."""
        _, rows, columns = self.counts
        return block // (rows * columns), block // columns % rows, block % columns

    def number(self, place: Sequence[int]) -> int:
        """The opposite of `place`."""
        _, rows, columns = self.counts
        return (place[0] * rows + place[1]) * columns + place[2]

    def tiles(self, block: int) -> list[int]:
        """Tiles that touch a block, ascending."""
        box = self.core(block)
        ranges = []
        for part, starts, side in zip(box, self.starts, self.tile_shape, strict=True):
            # Those that begin before its end and end after its start.
            first = bisect.bisect_right(starts, part.start - side)
            ranges.append(range(first, bisect.bisect_left(starts, part.stop)))
        _, rows, columns = map(len, self.starts)
        return [(z * rows + y) * columns + x for z, y, x in itertools.product(*ranges)]

    def tile_box(self, tile: int) -> Box:
        """Answers of a tile."""
        _, rows, columns = map(len, self.starts)
        places = tile // (rows * columns), tile // columns % rows, tile % columns
        z, y, x = (
            slice(starts[place], starts[place] + side)
            for starts, place, side in zip(self.starts, places, self.tile_shape, strict=True)
        )
        return z, y, x

    def blocks(self, tile: int) -> list[int]:
        """Blocks that a tile touches, ascending."""
        ranges = []
        for part, (starts, stops) in zip(self.tile_box(tile), self._cores, strict=True):
            first = bisect.bisect_right(stops, part.start)
            ranges.append(range(first, bisect.bisect_left(starts, part.stop)))
        return [self.number(place) for place in itertools.product(*ranges)]

    @functools.cached_property
    def _cores(self) -> list[tuple[list[int], list[int]]]:
        """Along each axis, where the cores of blocks start and stop."""
        _, rows, columns = self.counts
        found = []
        for axis, step in enumerate((rows * columns, columns, 1)):
            parts = [self.core(place * step)[axis] for place in range(self.counts[axis])]
            found.append(([part.start for part in parts], [part.stop for part in parts]))
        return found


def bounding_box(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them; there is at least one."""
    z, y, x = (
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*boxes, strict=True)
    )
    return z, y, x


def inside(part: Box, whole: Box) -> Box:
    """A box in the coordinates of another that holds it."""
    z, y, x = (
        slice(inner.start - outer.start, inner.stop - outer.start)
        for inner, outer in zip(part, whole, strict=True)
    )
    return z, y, x


def common(one: Box, other: Box) -> Box:
    """What two boxes share; they touch."""
    z, y, x = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return z, y, x


def share(grid: BlockGrid, work: Sequence[bool], parts: int, part: int) -> list[int]:
    """The blocks of one part: neighbours, with about the same amount of work as the other parts.

    Args:
        grid: of all blocks.
        work: of every block, whether there is any.
        parts: how many.
        part: which, from 0.

    Returns:
        Numbers in the order of work.
    """
    busy = [place for place, number in enumerate(grid.order) if work[number]]
    cuts = [0, *(busy[len(busy) * k // parts] if busy else 0 for k in range(1, parts))]
    return grid.order[cuts[part] : [*cuts, grid.num_blocks][part + 1]]
