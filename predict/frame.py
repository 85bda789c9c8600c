"""What the network sees of a volume: which level, resampled or as it is, and in which cells it
answers. Pure arithmetic; all tuples are (z, y, x).

Answers of segmentation and restoration stand for voxels, and go back onto the grid of the finest
level, whichever level was read. Answers of an encoder stand for patches, those of a classifier for
tiles: such maps have a grid of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ..data.resample import How, resample, source_box
from ..data.volume import Level, Volume
from ..data.voxel import VoxelSize
from .block_grid import BlockGrid, Box, inside
from .task_weights import Triple

FAR = 2.0
"""Weights understand voxels up to this much finer or coarser than those they were trained on;
others are worth a warning."""
MOST = 4.0
"""Voxels are made this much finer at most: what was not acquired cannot be seen."""


class Frame(BaseModel):
    """Grids between a volume and the answers of a network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: int
    """Of the volume's pyramid: what is read."""
    voxels: Triple
    """(Z, Y, X) of the level."""
    seen: Triple
    """(Z, Y, X) that the network sees; another number than that of `voxels` = resampled."""
    finest: Triple
    """(Z, Y, X) of level 0, on which answers for voxels are stored."""
    spanned: Triple
    """(Z, Y, X) of level 0 that the level spans, see `spanned_by`."""
    cell: Triple = (1, 1, 1)
    """Seen voxels behind one answer."""

    @property
    def answers(self) -> Triple:
        """(Z, Y, X) of the answers; the last cell of an axis is filled up by a mirror image."""
        z, y, x = (-(-n // side) for n, side in zip(self.seen, self.cell, strict=True))
        return z, y, x

    @property
    def stored(self) -> Triple:
        """(Z, Y, X) of what is stored: that of level 0, or that of a map."""
        return self.answers if self.is_map else self.finest

    @property
    def is_map(self) -> bool:
        """Whether answers stand for more than a voxel."""
        return self.cell != (1, 1, 1)

    @property
    def step(self) -> VoxelSize:
        """(z, y, x) voxels of level 0 from one that is stored to the next."""
        if not self.is_map:
            return 1.0, 1.0, 1.0
        z, y, x = (
            side * whole / seen
            for side, whole, seen in zip(self.cell, self.spanned, self.seen, strict=True)
        )
        return z, y, x

    def in_cells(self, cell: Triple) -> Frame:
        """The same voxels seen, with one answer for each cell of them."""
        return self.model_copy(update={"cell": cell})

    def grid(self, block: Triple, tile: Triple, overlap: Triple) -> BlockGrid:
        """Blocks of what is stored, and the tiles of answers behind them; see `BlockGrid`."""
        if self.is_map:
            return BlockGrid(self.stored, block, tile, overlap)
        return BlockGrid(self.stored, block, tile, overlap, self.answers, self.spanned)

    def back(self, values: NDArray, have: Box, box: Box, how: How = "linear") -> NDArray:
        """What the network said of voxels, on the grid of what is stored.

        Args:
            values: [..., Z, Y, X] of answers.
            have: where they lie; as much as `BlockGrid.core` gives for the box.
            box: of what is stored.
            how: "nearest" for labels.

        Returns:
            [..., z, y, x] of the box, in the same number type.
        """
        if self.is_map or self.answers == self.spanned == self.stored:
            return values
        found = resample(values, have, box, self.answers, self.spanned, how)
        return found.astype(values.dtype, copy=False)

    def needed(self, box: Box) -> Box:
        """Voxels of the level behind a box of answers."""
        return source_box(self._seen(box), self.voxels, self.seen)

    def cut(self, values: NDArray, have: Box, box: Box) -> NDArray:
        """What the network sees of a box of answers; the same whatever else was read with it.

        Args:
            values: [Z, Y, X] voxels of the level.
            have: where they lie; holds at least `needed(box)`.
            box: of answers.

        Returns:
            [z, y, x], whole cells.
        """
        inner = self._seen(box)
        if self.seen == self.voxels:
            found = values[inside(inner, have)]
        else:
            found = resample(values, have, inner, self.voxels, self.seen)
        for axis, (part, side, size, own) in enumerate(
            zip(box, self.cell, self.seen, inner, strict=True)
        ):
            if part.stop * side > size:  # only behind the end of the volume
                found = found.take(_mirrored(part, side, size) - own.start, axis)
        return found

    def seen_um(self, level: Level) -> VoxelSize | None:
        """Size of the voxels that the network sees; None = not known."""
        if level.voxel_size_um is None:
            return None
        z, y, x = (
            size * have / seen
            for size, have, seen in zip(level.voxel_size_um, self.voxels, self.seen, strict=True)
        )
        return z, y, x

    def stored_um(self, volume: Volume) -> VoxelSize | None:
        """Size of what is stored; None = not known."""
        size = self.seen_um(volume.levels[self.level])
        if size is None or not self.is_map:
            return volume.voxel_size_um
        z, y, x = (um * side for um, side in zip(size, self.cell, strict=True))
        return z, y, x

    def stored_translation_um(self, volume: Volume) -> VoxelSize | None:
        """Centre of the first stored voxel: that of a cell lies further in."""
        if not self.is_map:
            return volume.levels[0].translation_um
        level = volume.levels[self.level]
        own, stored = level.voxel_size_um, self.stored_um(volume)
        if level.translation_um is None or own is None or stored is None:
            return level.translation_um
        z, y, x = (
            at + (new - old) / 2
            for at, new, old in zip(level.translation_um, stored, own, strict=True)
        )
        return z, y, x

    def _seen(self, box: Box) -> Box:
        """Seen voxels behind a box of answers, those for mirror images among them."""
        z, y, x = (
            slice(int(places.min()), int(places.max()) + 1)
            for places in (_mirrored(*axis) for axis in zip(box, self.cell, self.seen, strict=True))
        )
        return z, y, x


def _mirrored(part: slice, side: int, size: int) -> NDArray[np.int64]:
    """Places of the voxels of some cells; behind the end of the volume it is mirrored."""
    places = np.arange(part.start * side, part.stop * side) % (2 * size)
    return np.where(places < size, places, 2 * size - 1 - places)


def spanned_by(volume: Volume, level: int) -> Triple:
    """(Z, Y, X) voxels of level 0 that a level spans, from the same corner.

    A little more or less than there are where a side was odd; the ends of the two grids must not be
    taken for one, or all that lies before them would move by up to a voxel of the level.
    """
    own = volume.levels[level]
    z, y, x = (
        # Scales that contradict the shape say nothing of where the level ends.
        round(count * factor) if abs(count * factor - whole) < max(factor, 1) else whole
        for count, factor, whole in zip(own.shape, own.factor, volume.shape, strict=True)
    )
    return z, y, x


def native_frame(volume: Volume, level: int = 0) -> Frame:
    """A level as it is."""
    return _frame(volume, level, volume.levels[level].shape)


def _frame(volume: Volume, level: int, seen: Triple) -> Frame:
    return Frame(
        level=level, voxels=volume.levels[level].shape, seen=seen, finest=volume.shape,
        spanned=spanned_by(volume, level),
    )  # fmt: skip


def choose_frame(volume: Volume, trained_um: tuple[VoxelSize, VoxelSize] | None) -> Frame:
    """The finest level with voxels like those that weights were trained on, else a resampled one.

    Args:
        volume: with a pyramid or without.
        trained_um: smallest and largest voxels (z, y, x) of the training; None = not known.

    Returns:
        A level as it is, if on every axis its voxels are at most twice as fine or as coarse.
        Otherwise axes that are not are brought to the nearest size that was trained on, from the
        coarsest level that has the detail. Voxels are never made more than 4 times finer.
    """
    finest = volume.voxel_size_um
    if trained_um is None or finest is None:
        return native_frame(volume)
    for number, level in enumerate(volume.levels):
        sizes = zip(level.voxel_size_um or finest, *trained_um, strict=True)
        if all(low / FAR <= size <= high * FAR for size, low, high in sizes):
            return native_frame(volume, number)
    wanted = [
        low if size < low / FAR else max(high, size / MOST) if size > high * FAR else size
        for size, low, high in zip(finest, *trained_um, strict=True)
    ]
    chosen = max(
        number
        for number, level in enumerate(volume.levels)
        if number == 0 or _as_fine(level.voxel_size_um or finest, wanted)
    )
    level = volume.levels[chosen]
    z, y, x = (
        max(1, round(n * size / want))
        for n, size, want in zip(level.shape, level.voxel_size_um or finest, wanted, strict=True)
    )
    return _frame(volume, chosen, (z, y, x))


def _as_fine(size: VoxelSize, wanted: list[float]) -> bool:
    # A hundredth is rounding of the sizes in files.
    return all(have <= 1.01 * want for have, want in zip(size, wanted, strict=True))
