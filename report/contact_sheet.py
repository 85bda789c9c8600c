"""One picture of many volumes: a row for each structure, simulated ones beside real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .figures import LIGHT, Theme, new_figure, to_png
from .slices import shorten

_SIDE, _GAP, _BETWEEN, _LABEL, _HEAD = 1.5, 0.05, 0.35, 0.24, 0.45  # inches
_BLACK, _WHITE = 1.0, 99.8  # percentiles of a volume


@dataclass(frozen=True)
class Tile:
    """One volume on the sheet.

    Attributes:
        volume: [Z, Y, X], any units; grey scale by its own percentiles.
        voxel_size_um: (z, y, x); None draws cubic voxels.
        title: what stands below it.
    """

    volume: np.ndarray
    voxel_size_um: tuple[float, float, float] | None
    title: str


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Tile], Sequence[Tile]]], theme: Theme = LIGHT
) -> bytes:
    """Draw every volume from above, with the xz plane below in true proportions.

    From above means the brightest voxel of the middle third of the planes: one plane alone often
    misses sparse structures.

    Args:
        rows: (name, simulated volumes, real volumes) of each structure.
        theme: colours.

    Returns:
        PNG bytes.
    """
    left = max((len(simulated) for _, simulated, _ in rows), default=0)
    right = max((len(real) for _, _, real in rows), default=0)
    tall = 1.6 * _SIDE + _LABEL  # an xz plane of at most 0.6 of the side
    width = (left + right) * (_SIDE + _GAP) + (_BETWEEN if right else 0) + 0.1
    height = _HEAD + len(rows) * (tall + 0.25)
    figure = new_figure(width, height, theme)
    figure.text(0.05 / width, 1 - 0.25 / height, "simulated", color=theme.ink, fontsize=11)
    start = left * (_SIDE + _GAP) + _BETWEEN
    if right:
        figure.text(start / width, 1 - 0.25 / height, "real", color=theme.ink, fontsize=11)
    for number, (name, simulated, real) in enumerate(rows):
        top = height - _HEAD - number * (tall + 0.25)
        figure.text(0.05 / width, (top - 0.02) / height, name, color=theme.ink, fontsize=9)
        for offset, tiles in ((0.05, simulated), (start, real)):
            for column, tile in enumerate(tiles):
                x = offset + column * (_SIDE + _GAP)
                _draw(figure, tile, x / width, top - 0.07, width, height, theme)
    return to_png(figure)


def _draw(
    figure, tile: Tile, x: float, top: float, width: float, height: float, theme: Theme
) -> None:
    volume = tile.volume.astype(np.float32)
    low, high = np.percentile(volume, [_BLACK, _WHITE])
    along, down, across = tile.voxel_size_um or (1.0, 1.0, 1.0)
    row, third = volume.shape[1] // 2, max(1, volume.shape[0] // 3)
    slab = volume[third : 2 * third].max(axis=0) if third > 1 else volume[volume.shape[0] // 2]
    deep = min(0.6, volume.shape[0] * along / (volume.shape[2] * across))
    planes = (
        (slab, _SIDE, 0.0, down / across),
        (volume[:, row], deep * _SIDE, _SIDE + 0.03, along / across),
    )
    for plane, tall, below, aspect in planes:
        axes = figure.add_axes((x, (top - below - tall) / height, _SIDE / width, tall / height))
        # A deep xz plane is cut at its place on the sheet, not squeezed.
        rows = max(1, min(plane.shape[0], round(plane.shape[1] * tall / _SIDE / aspect)))
        white = max(high, float(np.percentile(plane, _WHITE)), low + 1e-6)
        axes.imshow(plane[:rows], cmap="gray", vmin=low, vmax=white, aspect=aspect)
        axes.axis("off")
    figure.text(
        x,
        (top - 1.6 * _SIDE - 0.14) / height,
        shorten(tile.title, 30),
        color=theme.ink,
        fontsize=5.5,
    )
