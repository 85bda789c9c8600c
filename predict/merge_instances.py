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

from .block_grid import BlockGrid, Box, inside
from .instances import split_objects
from .plan import Store
from .union_find import UnionFind

MARGIN = 32
"""Voxels around a block that are split with it: objects up to this size are cut alike from both
sides."""
_SAME = 0.5  # of the smaller one's voxels beyond the face

Progress = Callable[[int, int], None]
"""Told (blocks done, blocks in all), twice for each block."""


def merge_instances(
    mask: Store,
    objects: Store,
    grid: BlockGrid,
    scratch: Path,
    progress: Progress = lambda done, total: None,
) -> int:
    """Number the objects of a mask that is larger than memory.

    Args:
        mask: [Z, Y, X], foreground above 0; or [2, Z, Y, X], the mask and the depth inside each
            object, which then decides where they are split.
        objects: takes uint32, 0 = background, numbers without gaps in the order of the objects'
            first voxels, so that they know nothing of blocks; made already.
        grid: of the blocks of both.
        scratch: a folder for what blocks know of each other.
        progress: told after every step.

    Returns:
        How many objects there are.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    total, found = 2 * grid.num_blocks, UnionFind()
    firsts, deepest = [np.zeros(1, np.int64)], _deepest(mask, grid)
    for block in range(grid.num_blocks):
        firsts.append(_number(mask, deepest, objects, grid, block, found, scratch))
        progress(block + 1, total)
    for block in range(grid.num_blocks):
        _join(objects, grid, block, scratch, found)
    final = _numbered(found.roots(), np.concatenate(firsts))
    for block in range(grid.num_blocks):
        box = grid.box(block)
        numbers = objects.read(box)
        if numbers.any():
            objects.write(box, final[numbers])
        progress(grid.num_blocks + block + 1, total)
    return int(final.max(initial=0))


def _masked(mask: Store, box: Box) -> tuple[NDArray[np.bool_], NDArray[np.float32] | None]:
    """Foreground [Z, Y, X] of a box, and the learnt depth of each voxel where there is one."""
    values = mask.read(box)
    return (values > 0, None) if values.ndim == 3 else (values[0] > 0, values[1])


def _deepest(mask: Store, grid: BlockGrid) -> float | None:
    """The largest learnt depth of the volume: blocks are to be split by one measure."""
    found = [-np.inf]
    for block in range(grid.num_blocks):
        foreground, depth = _masked(mask, grid.box(block))
        if depth is None:
            return None
        found.append(float(depth[foreground].max(initial=-np.inf)))
    return max(found)


def _number(
    mask: Store,
    deepest: float | None,
    objects: Store,
    grid: BlockGrid,
    block: int,
    found: UnionFind,
    scratch: Path,
) -> NDArray[np.int64]:
    """Number the objects of one block; gives the place of the first voxel of each in the volume.

    What its objects cover just beyond its faces is written to a file: positions in the block
    grown by a voxel, and numbers.
    """
    core = grid.box(block)
    around = _grown(core, grid, MARGIN)
    foreground, depth = _masked(mask, around)
    local = np.zeros(foreground.shape, np.uint32)
    if foreground[inside(core, around)].any():
        local = split_objects(foreground, mask.voxel_size_um, depth, deepest)
    own, first = np.unique(local[inside(core, around)], return_index=True)
    own, first = own[own > 0], first[own > 0]
    number = np.zeros(int(local.max(initial=0)) + 1, np.uint32)
    number[own] = found.add(len(own))
    local = number[local]
    objects.write(core, local[inside(core, around)])
    near = _grown(core, grid, 1)
    beyond = local[inside(near, around)].copy()
    beyond[inside(core, near)] = 0
    places = np.flatnonzero(beyond)
    np.savez(scratch / f"{block}.npz", places=places, numbers=beyond.reshape(-1)[places])
    sides = [part.stop - part.start for part in core]
    places_in_volume = [
        part.start + place for part, place in zip(core, np.unravel_index(first, sides), strict=True)
    ]
    return np.asarray(np.ravel_multi_index(places_in_volume, grid.shape), np.int64)


def _numbered(roots: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The final number of each provisional one, by the first voxel of what it is part of."""
    earliest = np.full(len(roots), np.iinfo(np.int64).max)
    np.minimum.at(earliest, roots, first)
    alone = np.flatnonzero(roots == np.arange(len(roots)))[1:]  # the background stays 0
    final = np.zeros(len(roots), np.uint32)
    final[alone[np.argsort(earliest[alone])]] = np.arange(1, len(alone) + 1)
    return final[roots]


def _join(objects: Store, grid: BlockGrid, block: int, scratch: Path, found: UnionFind) -> None:
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
            found.join(int(our), int(other))


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
