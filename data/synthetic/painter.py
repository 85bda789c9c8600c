"""Painting on a fine grid: balls, paths and ellipsoids, each belonging to an object.

What is wider than a voxel is painted by its surface; what is thinner is laid down as an amount of
dye, so that a fibre of a tenth of a voxel is dim and not lost, and its label stays in one piece.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .grid import Grid

_TOUCHED = 0.15  # share of a point that makes a thin object's voxel part of its label


@dataclass(frozen=True)
class Drawing:
    """One drawn structure on the fine grid; Z Y X are its fine planes, rows and columns.

    Attributes:
        density: [Z, Y, X] float32, dye concentration; 1 = filled with dye.
        instances: [Z, Y, X] int32, 0 = none; above 0 the number of an object.
        centreline: [Z, Y, X] bool, the middle of tubes; None for what has none.
        words: what a caption may say of it, such as {"amount": "sparse", "calibre": "fine"}.
    """

    density: np.ndarray
    instances: np.ndarray
    centreline: np.ndarray | None = None
    words: dict[str, str] = field(default_factory=dict)


class Painter:
    """Collects objects on a grid; `drawing` gives what was painted."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._margin = 2 * grid.mean_pitch_um
        self._surface = grid.empty(self._margin)  # um to the nearest surface, negative inside
        self._owner = np.zeros(grid.shape, np.int32)
        self._bright = grid.empty(1.0)
        self._thin = grid.empty()
        self._middle = np.zeros(grid.shape, bool)

    def add_ball(
        self, centre_um: np.ndarray, radius_um: float, number: int, brightness: float = 1.0
    ) -> None:
        """Paint one ball: centre [3] (z, y, x)."""
        box = self.grid.box_around(centre_um, radius_um + self._margin)
        if box is None:
            return
        z, y, x = (
            axis - np.float32(c) for axis, c in zip(self.grid.axes_um(box), centre_um, strict=True)
        )
        self._nearer(
            box, np.sqrt(z * z + y * y + x * x) - np.float32(radius_um), number, brightness
        )

    def add_ellipsoid(
        self,
        centre_um: np.ndarray,
        half_axes_um: np.ndarray,
        turn: np.ndarray,
        number: int,
        brightness: float = 1.0,
    ) -> None:
        """Paint one ellipsoid.

        Args:
            centre_um: [3] (z, y, x).
            half_axes_um: [3], along its own axes.
            turn: [3, 3] rotation; its columns are those axes.
            number: of the object, from 1.
            brightness: its dye concentration.
        """
        reach = float(half_axes_um.max()) + self._margin
        box = self.grid.box_around(centre_um, reach)
        if box is None:
            return
        z, y, x = (
            axis - np.float32(c) for axis, c in zip(self.grid.axes_um(box), centre_um, strict=True)
        )
        own = [(z * c[0] + y * c[1] + x * c[2]) for c in turn.T.astype(np.float32)]
        scaled = np.sqrt(
            sum((u / np.float32(a)) ** 2 for u, a in zip(own, half_axes_um, strict=True))
        )
        slope = np.sqrt(
            sum((u / np.float32(a * a)) ** 2 for u, a in zip(own, half_axes_um, strict=True))
        )
        # First-order distance: the implicit function over the length of its gradient.
        distance = scaled * (scaled - 1) / np.maximum(slope, np.float32(1e-6))
        distance = np.where(scaled > 0.05, distance, -np.float32(half_axes_um.min()))
        self._nearer(box, distance, number, brightness)

    def add_path(
        self, points_um: np.ndarray, radii_um: np.ndarray, number: int, brightness: float = 1.0
    ) -> None:
        """Paint a tube along points close together (half a voxel or a quarter radius apart).

        Args:
            points_um: [N, 3] (z, y, x).
            radii_um: [N]; below 0.7 voxels the point is laid down as an amount of dye.
            number: of the object, from 1.
            brightness: its dye concentration.
        """
        if len(points_um) == 0:
            return
        gaps = np.linalg.norm(np.diff(points_um, axis=0), axis=1)
        lengths = np.concatenate([gaps[:1], gaps]) if len(gaps) else np.ones(1)
        thin = radii_um < 0.7 * self.grid.mean_pitch_um
        for centre, radius in zip(points_um[~thin], radii_um[~thin], strict=True):
            self.add_ball(centre, float(radius), number, brightness)
        amount = brightness * np.pi * radii_um[thin] ** 2 * lengths[thin]
        self.add_dye(points_um[thin], amount, number)
        self._middle[self.grid.voxels_at(points_um)] = True

    def add_dye(self, points_um: np.ndarray, volume_um3: np.ndarray, number: int) -> None:
        """Lay down amounts of dye: each point's is shared by its 8 voxels; the sum is conserved.

        Args:
            points_um: [N, 3] (z, y, x).
            volume_um3: [N], how much filled volume each point stands for.
            number: of the object, from 1; 0 leaves the label alone.
        """
        place = points_um / np.asarray(self.grid.pitch_um) - 0.5
        base = np.floor(place).astype(int)
        share = place - base
        amount = volume_um3 / float(np.prod(self.grid.pitch_um))
        for corner in np.ndindex(2, 2, 2):
            index = base + corner
            weight = np.where(corner, share, 1 - share).prod(axis=1)
            inside = ((index >= 0) & (index < self.grid.shape)).all(axis=1)
            at = tuple(index[inside].T)
            np.add.at(self._thin, at, (weight * amount)[inside].astype(np.float32))
            if number:
                touched = inside & (weight >= _TOUCHED)
                at = tuple(index[touched].T)
                self._owner[at] = np.where(self._surface[at] < 0, self._owner[at], number)
                self._surface[at] = np.minimum(self._surface[at], -1e-3)
                self._bright[at] = np.where(self._surface[at] < -1e-3, self._bright[at], 0.0)

    def drawing(self, texture: np.ndarray | float = 1.0, **words: str) -> Drawing:
        """What was painted.

        Args:
            texture: factor on the dye inside surfaces, [Z, Y, X] or one number.
            words: for the caption.
        """
        filled = np.clip(0.5 - self._surface / self.grid.mean_pitch_um, 0.0, 1.0) * self._bright
        density = np.maximum(filled * texture, 0.0) + self._thin
        inside = self._surface < 0
        instances = np.where(inside, self._owner, 0)
        has_middle = bool(self._middle.any())
        return Drawing(density, instances, self._middle if has_middle else None, dict(words))

    def _nearer(self, box: tuple, distance: np.ndarray, number: int, brightness: float) -> None:
        """Take over the voxels of a box that are nearer to this surface than to any before."""
        nearer = distance < self._surface[box]
        self._surface[box][nearer] = distance[nearer]
        self._owner[box][nearer] = number
        self._bright[box][nearer] = brightness


def by_owner(owners: np.ndarray, count: int) -> list[np.ndarray]:
    """Which points belong to each object: owners [N] from 0 -> `count` index arrays, in order."""
    order = np.argsort(owners, kind="stable")
    return np.split(order, np.searchsorted(owners[order], np.arange(1, count)))[:count]
