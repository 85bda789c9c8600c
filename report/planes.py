"""Three planes of volumes: xy, below it xz, beside it yz, in true proportions.

A mistake along z is as visible as one in the plane.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .figures import LIGHT, Theme, new_figure, to_png
from .slices import scale_bar, shorten

HIT, EXTRA, MISSED, IGNORED = (
    (0.0, 0.62, 0.45),
    (0.84, 0.37, 0.0),
    (0.34, 0.71, 0.91),
    (0.4, 0.4, 0.4),
)
"""RGB of voxels that are found and labelled, only found, only labelled, ignored; told apart with
colour-blind eyes too (Okabe and Ito 2008)."""
CLASSES = (HIT, EXTRA, MISSED, (0.8, 0.47, 0.65), (0.94, 0.89, 0.26), (0.0, 0.45, 0.7))
_COVER = 0.6  # opacity of colours
_GAP = 2  # voxels between planes
_DEEPEST = 0.6  # of the longer side of xy; deeper volumes are cut around the plane that is shown
_SIDE, _BETWEEN, _LABEL, _HEAD, _TALLEST = 2.9, 0.1, 0.34, 0.3, 2.0  # inches; the last: of sides


@dataclass(frozen=True)
class Strip:
    """One row of a figure: several views of one volume, cut at the same place.

    Attributes:
        views: (title, [Z, Y, X, 3] RGB from 0 to 1), at least one.
        at: (z, y, x), where the planes cut.
        voxel_size_um: (z, y, x); None = unknown, drawn as cubes.
        words: what stands below.
    """

    views: tuple[tuple[str, NDArray[Any]], ...]
    at: tuple[int, int, int]
    voxel_size_um: tuple[float, float, float] | None
    words: str


def draw_strips(strips: Sequence[Strip], theme: Theme = LIGHT) -> bytes:
    """Draw strips below each other.

    Args:
        strips: at least one.
        theme: colours.

    Returns:
        PNG bytes.
    """
    pictures = [[_planes(view, strip) for _, view in strip.views] for strip in strips]
    # Height of each row, by the proportions of its planes.
    tall = [_SIDE * min(_TALLEST, row[0].shape[0] / row[0].shape[1]) for row in pictures]
    width = max(map(len, pictures)) * (_SIDE + _BETWEEN)
    height = sum(tall) + len(strips) * (_LABEL + _HEAD)
    figure = new_figure(width, height, theme)
    top = height
    for strip, row, high in zip(strips, pictures, tall, strict=True):
        bottom = top - _HEAD - high
        for column, (picture, (title, _)) in enumerate(zip(row, strip.views, strict=True)):
            left = column * (_SIDE + _BETWEEN)
            axes = figure.add_axes((left / width, bottom / height, _SIDE / width, high / height))
            axes.imshow(np.where(np.isnan(picture), _rgb(theme.paper), picture))
            axes.set_axis_off()
            place = (left + _SIDE / 2) / width, (top - _HEAD + 0.06) / height
            figure.text(*place, title, ha="center", fontsize=10, color=theme.ink)
            if column == 0:
                size = strip.voxel_size_um
                columns = strip.views[0][1].shape[2]
                scale_bar(axes, columns, math.nan if size is None else size[2])
        words = shorten(strip.words, 110)
        figure.text(0, (bottom - 0.08) / height, words, va="top", fontsize=9.5, color=theme.soft)
        top = bottom - _LABEL
    return to_png(figure, dpi=100)


def grey_scale(volume: NDArray[Any], like: NDArray[Any] | None = None) -> NDArray[Any]:
    """[Z, Y, X] -> [Z, Y, X, 3] float32; black and white: percentiles 1 and 99.8 of `like`."""
    low, high = np.percentile(volume if like is None else like, [1, 99.8]).astype(np.float32)
    grey = (volume.astype(np.float32) - low) / max(high - low, np.float32(1e-6))
    return np.clip(grey, 0, 1)[..., None].repeat(3, -1)


def coloured(
    grey: NDArray[Any],
    classes: NDArray[Any],
    truth: NDArray[Any] | None = None,
    counts: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Colours over an image.

    Args:
        grey: [Z, Y, X, 3].
        classes: [Z, Y, X], 0 = background; each class in a colour of its own.
        truth: [Z, Y, X]; given, the colours are those of right and wrong.
        counts: [Z, Y, X] bool, False = ignored.
    """
    found = classes > 0
    if truth is None:
        marks = [
            (classes == value, CLASSES[(int(value) - 1) % len(CLASSES)])
            for value in np.unique(classes[found])
        ]
    else:
        right = found & (classes == truth)
        marks = [(right, HIT), (found & ~right, EXTRA), ((truth > 0) & ~found, MISSED)]
    if counts is not None:
        marks.append((~counts, IGNORED))
    shown = grey.copy()
    for mask, colour in marks:
        shown[mask] = (1 - _COVER) * shown[mask] + _COVER * np.array(colour)
    return shown


def fullest_planes(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """(z, y, x) of the planes that hold most of a mask; the middle where it is empty."""
    if not mask.any():
        z, y, x = (side // 2 for side in mask.shape)
        return z, y, x
    z, y, x = (int(mask.sum(axes).argmax()) for axes in ((1, 2), (0, 2), (0, 1)))
    return z, y, x


def _planes(volume: NDArray[Any], strip: Strip) -> NDArray[Any]:
    """[Z, Y, X, 3] -> one picture; NaN between the planes."""
    along, down, across = strip.voxel_size_um or (1.0, 1.0, 1.0)
    z, y, x = strip.at
    rows = _stretch(volume.shape[1], down / across)
    high, wide = len(rows), volume.shape[2]
    deep = _around(_stretch(len(volume), along / across), z, round(_DEEPEST * max(high, wide)))
    depth = len(deep)
    picture = np.full((high + _GAP + depth, wide + _GAP + depth, 3), np.nan)
    picture[:high, :wide] = volume[z][rows]
    picture[high + _GAP :, :wide] = volume[:, y][deep]
    picture[:high, wide + _GAP :] = volume[:, :, x][deep][:, rows].swapaxes(0, 1)
    return picture


def _stretch(count: int, factor: float) -> NDArray[np.intp]:
    """Indices that draw `count` planes as if their pitch were that of x; nothing is invented."""
    wanted = max(1, round(count * factor))
    return np.minimum((np.arange(wanted) / factor).astype(np.intp), count - 1)


def _around(planes: NDArray[np.intp], z: int, most: int) -> NDArray[np.intp]:
    """At most so many of the planes, with plane z in their middle where it can be."""
    first = int(np.searchsorted(planes, z)) - most // 2
    first = max(0, min(first, len(planes) - most))
    return planes[first : first + most]


def _rgb(colour: str) -> NDArray[np.float64]:
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
