"""The grid that scenes are drawn on, in micrometres.

A light-sheet stack takes planes out of the specimen; it does not integrate over the z step. Scenes
are therefore drawn on fine planes, nearly as close as the pixels are wide, and the planes of the
volume are picked from them after blurring.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..voxel import VoxelSize

Shape = tuple[int, int, int]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """The fine grid of a volume. All axes are (z, y, x).

    Attributes:
        shape: fine planes, rows and columns.
        pitch_um: sides of a fine voxel.
        z_step: how many fine planes one plane of the volume stands for.
    """

    shape: Shape
    pitch_um: VoxelSize
    z_step: int = 1

    @classmethod
    def of_volume(cls, shape: Shape, voxel_size_um: VoxelSize) -> Grid:
        """The fine grid of a volume of `shape` voxels: voxels as near to cubic as whole steps go.

        Args:
            shape: (Z, Y, X) of the volume.
            voxel_size_um: (z, y, x) of the volume.
        """
        step_um, *across_um = voxel_size_um
        z_step = max(1, round(step_um / max(across_um)))
        pitch_um = (step_um / z_step, voxel_size_um[1], voxel_size_um[2])
        return cls((shape[0] * z_step, shape[1], shape[2]), pitch_um, z_step)

    @property
    def size_um(self) -> np.ndarray:
        """[3], extent along (z, y, x)."""
        return np.asarray(self.shape) * np.asarray(self.pitch_um)

    @property
    def volume_mm3(self) -> float:
        """Volume of the whole grid."""
        return float(np.prod(self.size_um)) * 1e-9

    @property
    def mean_pitch_um(self) -> float:
        """Side of the cube that is as large as a fine voxel."""
        return float(np.prod(self.pitch_um)) ** (1 / 3)

    @property
    def voxel_size_um(self) -> VoxelSize:
        """(z, y, x) of the volume."""
        return (self.pitch_um[0] * self.z_step, self.pitch_um[1], self.pitch_um[2])

    def empty(self, value: float = 0.0) -> np.ndarray:
        """[Z, Y, X] float32 on the fine grid, filled with `value`."""
        return np.full(self.shape, value, np.float32)

    def axes_um(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centres of the voxels along each axis, shaped to broadcast: [Z, 1, 1], [1, Y, 1], [X]."""
        whole = tuple(slice(0, n) for n in self.shape)
        z, y, x = (
            (np.arange(part.start, part.stop, dtype=np.float32) + 0.5) * np.float32(pitch)
            for part, pitch in zip(box or whole, self.pitch_um, strict=True)
        )
        return z[:, None, None], y[None, :, None], x

    def box_around(self, centre_um: np.ndarray, reach_um: float | np.ndarray) -> Box | None:
        """Voxels that hold `centre_um` +- `reach_um` [3 or one]; None where it lies outside."""
        pitch = np.asarray(self.pitch_um)
        low = np.maximum(np.floor((centre_um - reach_um) / pitch).astype(int), 0)
        high = np.minimum(np.ceil((centre_um + reach_um) / pitch).astype(int) + 1, self.shape)
        if (high <= low).any():
            return None
        z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return z, y, x

    def voxels_at(self, points_um: np.ndarray) -> tuple[np.ndarray, ...]:
        """Index arrays (z, y, x) of the voxels that points [N, 3] lie in, without those outside."""
        index = np.floor(points_um / np.asarray(self.pitch_um)).astype(int)
        inside = ((index >= 0) & (index < self.shape)).all(axis=1)
        return tuple(index[inside].T)

    def pick_planes(self, field: np.ndarray) -> np.ndarray:
        """The planes of the volume from [Z * z_step, Y, X]: the middle one of every step."""
        return field[self.z_step // 2 :: self.z_step]
