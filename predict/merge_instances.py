"""Objects of a whole volume from its mask: numbered block by block, made one across the faces.

Each block is split with a margin around it. What two blocks call an object is one where, just
beyond the face, the object of the one lies on that of the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.block_store import BlockStore
from ..data.voxel import VoxelSize
from .block_grid import BlockGrid, Box, inside
from .instances import split_objects

MARGIN = 32
"""Voxels around a block that are split with it: objects up to this size are cut alike from both
sides."""
_SAME = 0.5  # of the smaller one's voxels beyond the face

Progress = Callable[[int, int], None]
"""Told (blocks done, blocks in all), twice for each block."""


def merge_instances(
    mask: BlockStore,
    objects: BlockStore,
    grid: BlockGrid,
    scratch: Path,
    progress: Progress = lambda done, total: None,
) -> int:
    """Number the objects of a mask that is larger than memory.

    Args:
        mask: [Z, Y, X], foreground above 0.
        objects: takes uint32, 0 = background, numbers without gaps; made already.
        grid: of the blocks of both.
        scratch: a folder for what blocks know of each other.
        progress: told after every step.

    Returns:
        How many objects there are.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    count, total = 0, 2 * grid.num_blocks
    for block in range(grid.num_blocks):
        count = _number(mask, objects, grid, block, count, scratch)
        progress(block + 1, total)
    roots = _Roots(count)
    for block in range(grid.num_blocks):
        _join(objects, grid, block, scratch, roots)
    final = roots.numbers()
    for block in range(grid.num_blocks):
        box = grid.box(block)
        found = objects.read(box)
        if found.any():
            objects.write(box, final[found])
        progress(grid.num_blocks + block + 1, total)
    return int(final.max(initial=0))


def _number(
    mask: BlockStore, objects: BlockStore, grid: BlockGrid, block: int, before: int, scratch: Path
) -> int:
    """Number the objects of one block after those of the blocks before; gives the last number.

    What its objects cover just beyond its faces is written to a file: positions in the block
    grown by a voxel, and numbers.
    """
    core = grid.box(block)
    around = _grown(core, grid, MARGIN)
    foreground = mask.read(around) > 0
    local = np.zeros(foreground.shape, np.uint32)
    if foreground[inside(core, around)].any():
        local = split_objects(foreground, _size(mask))
    own = np.unique(local[inside(core, around)])
    own = own[own > 0]
    number = np.zeros(int(local.max(initial=0)) + 1, np.uint32)
    number[own] = before + 1 + np.arange(len(own), dtype=np.uint32)
    local = number[local]
    objects.write(core, local[inside(core, around)])
    near = _grown(core, grid, 1)
    beyond = local[inside(near, around)].copy()
    beyond[inside(core, near)] = 0
    places = np.flatnonzero(beyond)
    np.savez(scratch / f"{block}.npz", places=places, numbers=beyond.reshape(-1)[places])
    return before + len(own)


def _join(objects: BlockStore, grid: BlockGrid, block: int, scratch: Path, roots: _Roots) -> None:
    """Make one what a block and its neighbours see in the same place."""
    with np.load(scratch / f"{block}.npz", allow_pickle=False) as stored:
        places, ours = stored["places"], stored["numbers"]
    if not len(places):
        return
    core = grid.box(block)
    near = _grown(core, grid, 1)
    theirs = np.zeros([part.stop - part.start for part in near], np.uint32)
    for slab in _shell(core, near):
        theirs[inside(slab, near)] = objects.read(slab)
    theirs = theirs.reshape(-1)
    # Only objects that stand on both sides of a face have a say; the sizes are those on it.
    seen, seen_voxels = np.unique(theirs[theirs > 0], return_counts=True)
    mine, mine_voxels = np.unique(ours, return_counts=True)
    there = theirs[places]
    both = there > 0
    pairs, shared = np.unique(np.stack([ours[both], there[both]]), axis=1, return_counts=True)
    for (our, other), voxels in zip(pairs.T, shared, strict=True):
        least = min(
            mine_voxels[np.searchsorted(mine, our)], seen_voxels[np.searchsorted(seen, other)]
        )
        if voxels >= _SAME * least:
            roots.join(int(our), int(other))


def _grown(box: Box, grid: BlockGrid, by: int) -> Box:
    z, y, x = (
        slice(max(0, part.start - by), min(size, part.stop + by))
        for part, size in zip(box, grid.shape, strict=True)
    )
    return z, y, x


def _shell(core: Box, near: Box) -> Iterator[Box]:
    """Slabs that are in `near` and not in `core`; they may share voxels."""
    for axis, side in itertools.product(range(3), (0, 1)):
        slab = list(near)
        inner, outer = core[axis], near[axis]
        slab[axis] = slice(outer.start, inner.start) if side == 0 else slice(inner.stop, outer.stop)
        if slab[axis].start < slab[axis].stop:
            yield slab[0], slab[1], slab[2]


def _size(mask: BlockStore) -> VoxelSize | None:
    return mask.voxel_size_um


class _Roots:
    """Union-find over the numbers 1 to count."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count + 1, dtype=np.uint32)

    def _find(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = int(self._parent[number])
        return number

    def join(self, one: int, other: int) -> None:
        """Make two one; the smaller number stays."""
        one, other = self._find(one), self._find(other)
        self._parent[max(one, other)] = min(one, other)

    def numbers(self) -> NDArray[np.uint32]:
        """The final number of each, without gaps; that of 0 is 0."""
        roots = np.array([self._find(number) for number in range(len(self._parent))], np.int64)
        _, final = np.unique(roots, return_inverse=True)
        return final.astype(np.uint32)
