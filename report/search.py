"""The page of `luxvox search`: the crops that fit a sentence best, as a grid of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .figures import DARK, LIGHT, Theme, new_figure, to_png
from .page import Page
from .slices import scale_bar

_ACROSS = 4  # pictures in a row
_SIDE, _GAP, _LABEL = 2.2, 0.12, 0.28  # inches
_BLACK, _WHITE = 1.0, 99.8  # percentiles of a crop


@dataclass(frozen=True)
class Found:
    """A crop that fits.

    Attributes:
        title: rank and score, stands above the picture.
        words: which volume, where.
        crop: [Z, Y, X], any units; None where it cannot be read any more.
        voxel_size_um: (z, y, x); None = unknown.
    """

    title: str
    words: str
    crop: NDArray[Any] | None
    voxel_size_um: tuple[float, float, float] | None


def write_search_page(path: Path, sentence: str, total: int, found: Sequence[Found]) -> Path:
    """Write one self-contained HTML page.

    Args:
        path: where it goes; its folder exists.
        sentence: that was looked for.
        total: crops that were looked through.
        found: the best, in order; at least one.

    Returns:
        The same path.
    """
    page = Page(f"“{sentence}”", f"the {len(found)} crops of {total} that fit best")
    page.paragraph(
        "Each picture is the brightest voxel of the middle third of the planes, in a grey scale of "
        "its own. The score is the cosine between crop and sentence; sd counts standard deviations "
        "above the mean of all crops. The best crops are shown even where none fits: look."
    )
    words = "; ".join(f"{one.title} {one.words}" for one in found[:_ACROSS])
    page.picture(picture_grid(found, LIGHT), picture_grid(found, DARK), f"crops: {words}")
    page.table(("crop", "where"), [[one.title, one.words] for one in found])
    return page.write(path)


def picture_grid(found: Sequence[Found], theme: Theme = LIGHT) -> bytes:
    """Draw crops from above, side by side.

    Args:
        found: at least one.
        theme: colours.

    Returns:
        PNG bytes.
    """
    rows = math.ceil(len(found) / _ACROSS)
    width = min(_ACROSS, len(found)) * (_SIDE + _GAP)
    height = rows * (_SIDE + _LABEL + _GAP)
    figure = new_figure(width, height, theme)
    for number, one in enumerate(found):
        row, column = divmod(number, _ACROSS)
        left = column * (_SIDE + _GAP)
        bottom = height - row * (_SIDE + _LABEL + _GAP) - _LABEL - _SIDE
        figure.text(
            left / width, (bottom + _SIDE + 0.06) / height, one.title, color=theme.ink, fontsize=9
        )
        axes = figure.add_axes((left / width, bottom / height, _SIDE / width, _SIDE / height))
        axes.set_axis_off()
        if one.crop is None:
            axes.text(0.5, 0.5, "not there any more", ha="center", color=theme.soft)
            continue
        _, down, across = one.voxel_size_um or (1.0, 1.0, 1.0)
        grey = from_above(one.crop)
        axes.imshow(grey, cmap="gray", vmin=0, vmax=1, aspect=down / across)
        scale_bar(axes, grey.shape[1], math.nan if one.voxel_size_um is None else across)
    return to_png(figure, dpi=100)


def from_above(crop: NDArray[Any]) -> NDArray[np.float32]:
    """[Z, Y, X] -> [Y, X] from 0 to 1: the brightest voxel of the middle third of the planes.

    One plane alone often misses sparse structures; all of them hide them behind each other.
    """
    third = max(1, len(crop) // 3)
    slab = crop[third : 2 * third] if len(crop) > 2 else crop
    values = np.nan_to_num(crop.astype(np.float32))
    low, high = np.percentile(values, [_BLACK, _WHITE])
    seen = np.nan_to_num(slab.astype(np.float32)).max(axis=0)
    return np.clip((seen - low) / max(float(high - low), 1e-6), 0, 1)
