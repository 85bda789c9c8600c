"""What the network sees of a volume: which level, resampled or as it is, and in which cells it
answers. Pure arithmetic; all tuples are (z, y, x).

Answers of segmentation and restoration stand for voxels, and go back onto the grid of the level.
Answers of an encoder stand for patches, those of a classifier for tiles: such maps have a grid of
their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ..data.resample import resample, source_box
from ..data.volume import Level, Volume
from ..data.voxel import VoxelSize
from .block_grid import Box, inside
from .task_weights import Triple

FAR = 2.0
"""Weights understand voxels up to this much finer or coarser than those they were trained on."""
MOST = 4.0
"""Voxels are made this much finer at most: what was not acquired cannot be seen."""


class Frame(BaseModel):
    """Grids between a volume and the answers of a network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: int
    """Of the volume's pyramid."""
    voxels: Triple
    """(Z, Y, X) of the level."""
    seen: Triple
    """(Z, Y, X) that the network sees; another number than that of `voxels` = resampled."""
    cell: Triple = (1, 1, 1)
    """Seen voxels behind one answer."""

    @property
    def answers(self) -> Triple:
        """(Z, Y, X) of the answers; the last cell of an axis is filled up by a mirror image."""
        z, y, x = (-(-n // side) for n, side in zip(self.seen, self.cell, strict=True))
        return z, y, x

    @property
    def stored(self) -> Triple:
        """(Z, Y, X) of what is stored: the level's own, or that of a map."""
        return self.answers if self.is_map else self.voxels

    @property
    def is_map(self) -> bool:
        """Whether answers stand for more than a voxel."""
        return self.cell != (1, 1, 1)

    @property
    def extent(self) -> VoxelSize:
        """(z, y, x) of the volume in units of what is stored; the last cell may be a part."""
        if not self.is_map:
            z, y, x = map(float, self.voxels)
        else:
            z, y, x = (n / side for n, side in zip(self.seen, self.cell, strict=True))
        return z, y, x

    def in_cells(self, cell: Triple) -> Frame:
        """The same voxels seen, with one answer for each cell of them."""
        return self.model_copy(update={"cell": cell})

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

    def stored_um(self, level: Level) -> VoxelSize | None:
        """Size of what is stored; None = not known."""
        size = self.seen_um(level)
        if size is None or not self.is_map:
            return level.voxel_size_um
        z, y, x = (um * side for um, side in zip(size, self.cell, strict=True))
        return z, y, x

    def stored_translation_um(self, level: Level) -> VoxelSize | None:
        """Centre of the first stored voxel: that of a cell lies further in."""
        own, stored = level.voxel_size_um, self.stored_um(level)
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


def native_frame(volume: Volume, level: int = 0) -> Frame:
    """A level as it is."""
    shape = volume.levels[level].shape
    return Frame(level=level, voxels=shape, seen=shape)


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
    return Frame(level=chosen, voxels=level.shape, seen=(z, y, x))


def _as_fine(size: VoxelSize, wanted: list[float]) -> bool:
    # A hundredth is rounding of the sizes in files.
    return all(have <= 1.01 * want for have, want in zip(size, wanted, strict=True))
