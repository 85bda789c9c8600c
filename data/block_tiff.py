"""An OME-TIFF that several processes fill block by block, through a map of the file.

For volumes that viewers without OME-Zarr must open: it is not packed and has no coarser levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tifffile

from .formats.planes import Progress
from .formats.tiff_writer import describe_ome, needs_bigtiff
from .voxel import VoxelSize

Triple = tuple[int, int, int]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class BlockTiff:
    """What the file is; the same methods as `BlockStore`. Nothing is open before the first use.

    Attributes:
        path: ends in .tif or .tiff.
        shape: (Z, Y, X).
        block: (z, y, x) voxels that are written together.
        channels: 0 = axes zyx, else czyx.
        dtype: name of the number type.
        voxel_size_um: (z, y, x); None = unknown.
        translation_um: (z, y, x) of the centre of the first voxel.
        names: of the channels; () = none.
    """

    path: Path
    shape: Triple
    block: Triple
    channels: int
    dtype: str
    voxel_size_um: VoxelSize | None
    translation_um: VoxelSize | None = None
    names: tuple[str, ...] = ()
    _open: list[np.memmap] = field(default_factory=list, repr=False, compare=False)

    def create(self) -> None:
        """Make the file, full of 0, in one step; what stood there is replaced."""
        draft = self.path.with_name(f".{self.path.name}.making")
        draft.parent.mkdir(parents=True, exist_ok=True)
        lead = (self.channels,) if self.channels else ()
        axes = "czyx" if self.channels else "zyx"
        tifffile.memmap(
            draft,
            shape=(*lead, *self.shape),
            dtype=np.dtype(self.dtype),
            ome=True,
            bigtiff=needs_bigtiff(self.bytes),
            photometric="minisblack",
            metadata=describe_ome(
                axes, (*lead, *self.shape), self.voxel_size_um, self.translation_um, self.names
            ),
        )
        draft.replace(self.path)

    def write(self, box: Box, values: np.ndarray) -> None:
        """Write a box; it is in the file once this returns.

        Args:
            box: (z, y, x).
            values: [Z, Y, X], or [C, Z, Y, X] of a file with channels.
        """
        mapped = self._map()
        mapped[(..., *box)] = values
        mapped.flush()

    def read(self, box: Box) -> np.ndarray:
        """Any box: [Z, Y, X] or [C, Z, Y, X]; 0 where nothing was written."""
        return np.array(self._map()[(..., *box)])

    def finish(self, progress: Progress = lambda done, total: None) -> None:
        """Say that all is there: this format has no coarser levels to be made."""
        progress(self.bytes, self.bytes)

    @property
    def bytes(self) -> int:
        """Of the file, without its head."""
        return math.prod(self.shape) * max(1, self.channels) * np.dtype(self.dtype).itemsize

    def __getstate__(self) -> dict[str, object]:
        """Leave the map behind: another process opens its own."""
        return {**self.__dict__, "_open": []}

    def _map(self) -> np.memmap:
        if not self._open:
            self._open.append(tifffile.memmap(self.path, mode="r+"))
        return self._open[0]


def is_tiff(path: Path) -> bool:
    """Whether a name asks for a TIFF."""
    return path.name.lower().endswith((".tif", ".tiff"))
