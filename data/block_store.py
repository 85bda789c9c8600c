"""A multiscale OME-Zarr that several processes fill block by block.

zarr loses chunks without a word when two writers share a shard, so a block here is one whole shard,
and anything else is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import zarr

from .formats.planes import Progress
from .formats.zarr_writer import ZarrPlan, begin_zarr, finish_zarr, layout_of, open_finest
from .voxel import VoxelSize

Triple = tuple[int, int, int]
Box = tuple[slice, slice, slice]

SIDES = (256, 128, 64)
"""Sides of a block to choose from: whole chunks of the default layout."""


@dataclass(frozen=True)
class BlockStore:
    """What the store is; nothing is open before the first read or write.

    Attributes:
        path: folder, ends in .zarr or lies in the `labels` of one.
        shape: (Z, Y, X) of the finest level.
        block: (z, y, x) voxels of a block: a shard.
        channels: 0 = axes zyx, else czyx.
        dtype: name of the number type.
        kind: images are averaged in coarser levels; labels keep their most frequent value.
        voxel_size_um: (z, y, x); None = unknown.
        translation_um: (z, y, x) of the centre of the first voxel.
        ngff: version of OME-Zarr; 0.4 has no shards: a block is then several files.
        chunks: (z, y, x); None = the usual ones. Maps of few voxels have small ones.
        names: of the channels; () = none.
    """

    path: Path
    shape: Triple
    block: Triple
    channels: int
    dtype: str
    kind: Literal["image", "labels"]
    voxel_size_um: VoxelSize | None
    translation_um: VoxelSize | None = None
    ngff: Literal["0.4", "0.5"] = "0.5"
    chunks: Triple | None = None
    names: tuple[str, ...] = ()
    _open: list[zarr.Array] = field(default_factory=list, repr=False, compare=False)

    def create(self) -> None:
        """Make the store, empty, in one step; nothing may stand in its place.

        Raises:
            InputError: blocks that are no multiple of the chunks.
        """
        draft = self.path.with_name(f".{self.path.name}.making")
        draft.parent.mkdir(parents=True, exist_ok=True)
        begin_zarr(draft, self._plan())
        draft.rename(self.path)

    def write(self, box: Box, values: np.ndarray) -> None:
        """Write one block; it is there whole once this returns.

        Args:
            box: (z, y, x) of a block in the store.
            values: [Z, Y, X], or [C, Z, Y, X] of a store with channels.

        Raises:
            ValueError: the box is not one whole block.
        """
        for axis, (part, side, size) in enumerate(zip(box, self.block, self.shape, strict=True)):
            if part.start % side or part.stop != min(part.start + side, size):
                raise ValueError(
                    f"{self.path}: {part} along {'zyx'[axis]} is no whole block of {side}: another "
                    "writer of the same shard would lose it"
                )
        for channel in range(self.channels or 1):
            lead = (channel,) if self.channels else ()
            if self.ngff == "0.5":
                # zarr reads a shard before it writes it, and one that was cut short is an error.
                place = [part.start // side for part, side in zip(box, self.block, strict=True)]
                shard = Path(self.path, "0", "c", *map(str, (*lead, *place)))
                shard.unlink(missing_ok=True)
            self._level()[(*lead, *box)] = values[channel] if self.channels else values

    def read(self, box: Box) -> np.ndarray:
        """Any box of the finest level: [Z, Y, X] or [C, Z, Y, X]; 0 where nothing was written."""
        lead = (slice(None),) if self.channels else ()
        return np.asarray(self._level()[(*lead, *box)])

    def finish(self, progress: Progress = lambda done, total: None) -> None:
        """Make the coarser levels; may be done again after more blocks were written."""
        for left in self.path.rglob("*.partial"):  # of writers that were killed
            left.unlink(missing_ok=True)
        finish_zarr(self.path, self._plan(), progress)

    @property
    def bytes(self) -> int:
        """Of the finest level, before it is packed."""
        return math.prod(self.shape) * max(1, self.channels) * np.dtype(self.dtype).itemsize

    def _level(self) -> zarr.Array:
        if not self._open:
            self._open.append(open_finest(self.path))
        return self._open[0]

    def _plan(self) -> ZarrPlan:
        return ZarrPlan(
            shape=self.shape,
            channels=self.channels or 1,
            dtype=np.dtype(self.dtype),
            axes="czyx" if self.channels else "zyx",
            kind=self.kind,
            ngff=self.ngff,
            name=self.path.name.removesuffix(".zarr").removesuffix(".ome"),
            voxel_size_um=self.voxel_size_um,
            translation_um=self.translation_um,
            channel_names=self.names,
            chunks=self.chunks or _chunks(self.shape, self.block),
            shards=self.block,
        )


def fit_block(shape: Triple, block: Triple, chunks: Triple | None = None) -> Triple:
    """The shards that a store of this shape gets where blocks of `block` voxels are asked for.

    An axis that is no longer than a block is one block. `chunks` as those of the store. Sides that
    are multiples of 64 give the usual chunks, those of 96 or 32 smaller or larger ones.

    Raises:
        InputError: a block that is no multiple of the chunks.
    """
    return layout_of(shape, chunks or _chunks(shape, block), block)[1]


def _chunks(shape: Triple, block: Triple) -> Triple:
    """The usual chunks, or others where a block is no multiple of them but one of 96 or 32."""
    usual, _ = layout_of(shape, None, None)
    z, y, x = (
        chunk if size == chunk else next((c for c in (chunk, 96, 32) if side % c == 0), chunk)
        for size, chunk, side in zip(shape, usual, block, strict=True)
    )
    return z, y, x
