"""A whole volume at a glance: the brightest along z, y and x, in true proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .figures import LIGHT, Theme, new_figure, to_png
from .slices import scale_bar

_WIDE, _TALLEST, _GAP, _HEAD = 9.6, 3.6, 0.14, 0.3  # inches: of a row, of a panel, between


@dataclass(frozen=True)
class Projections:
    """One row of pictures.

    Attributes:
        title: stands above.
        planes: [Y, X, 3] along z, [Z, X, 3] along y, [Z, Y, 3] along x; RGB from 0 to 1.
    """

    title: str
    planes: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def draw_projections(
    rows: Sequence[Projections],
    voxel_size_um: tuple[float, float, float] | None,
    theme: Theme = LIGHT,
) -> bytes:
    """Draw rows of three panels, all at one scale.

    Args:
        rows: of one volume; at least one.
        voxel_size_um: (z, y, x) of its voxels; None = unknown, drawn as cubes.
        theme: colours.

    Returns:
        PNG bytes.
    """
    z_um, y_um, x_um = voxel_size_um or (1.0, 1.0, 1.0)
    pitches = ((y_um, x_um), (z_um, x_um), (z_um, y_um))  # of rows and columns of each panel
    sides = [
        (plane.shape[0] * down, plane.shape[1] * across)
        for plane, (down, across) in zip(rows[0].planes, pitches, strict=True)
    ]
    tallest, widest = max(high for high, _ in sides), sum(wide for _, wide in sides)
    scale = min(_TALLEST / tallest, (_WIDE - 2 * _GAP) / widest)  # inches in a micrometre
    width = widest * scale + 2 * _GAP
    each = tallest * scale + _HEAD
    figure = new_figure(width, each * len(rows), theme)
    for number, row in enumerate(rows):
        top = each * (len(rows) - number) - _HEAD
        left = 0.0
        titles = (row.title, "along y", "along x")
        for column, (plane, title) in enumerate(zip(row.planes, titles, strict=True)):
            high, wide = (side * scale for side in sides[column])
            box = (left / width, (top - high) / (each * len(rows)), wide / width)
            axes = figure.add_axes((*box, high / (each * len(rows))))
            axes.imshow(plane, aspect="auto", interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(title, fontsize=9.5, color=theme.ink, loc="left", pad=3)
            if column == 0:
                scale_bar(axes, plane.shape[1], math.nan if voxel_size_um is None else x_um)
            left += wide + _GAP
    return to_png(figure, dpi=100)


def brightest(volume: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The largest values of [Z, Y, X] along z, y and x: [Y, X], [Z, X], [Z, Y]."""
    return volume.max(0), volume.max(1), volume.max(2)


def grey_rgb(planes: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Planes as RGB from 0 to 1, all in one grey scale."""
    values = np.concatenate([plane.reshape(-1) for plane in planes])
    low, high = np.percentile(values, [1, 99.8])
    return [
        np.clip((plane - low) / max(float(high - low), 1e-6), 0, 1)[..., None].repeat(3, -1)
        for plane in planes
    ]
