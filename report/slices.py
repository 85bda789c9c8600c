"""The picture that shows what a model has learnt: original, visible and rebuilt slices.

Apart from the diagrams because images have rules of their own: one grey scale a row, true
proportions, a scale bar, hidden patches in a colour that no intensity has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .figures import LIGHT, Theme, new_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HIDDEN = (0.20, 0.30, 0.44)  # RGB of a hidden patch: cannot be taken for an intensity


@dataclass(frozen=True)
class Rebuilt:
    """Crops of held-back volumes as they were, and as the model rebuilt them.

    Shapes: S samples, Z Y X voxels. Voxels that are padding are NaN.
    """

    original: np.ndarray  # [S, Z, Y, X] float32, normalised intensity
    rebuilt: np.ndarray  # [S, Z, Y, X] float32
    hidden: np.ndarray  # [S, Z, Y, X] bool, True where the model saw nothing
    names: tuple[str, ...]
    voxel_size_um: np.ndarray  # [S, 3] (z, y, x), NaN where unknown


def slices(crops: Rebuilt, errors: Sequence[float], theme: Theme = LIGHT) -> bytes:
    """Draw original, visible and rebuilt side by side, through the middle in xy and in xz.

    Every row has one grey scale, taken from its original; nothing is stretched in space: the xz
    panels show micrometres as long as the xy panels do.

    Args:
        crops: what to draw, one row per crop.
        errors: [S], error over the hidden voxels divided by the variance, written beside the name.
        theme: colours.

    Returns:
        PNG bytes.
    """
    side, gap, between, label, head = 1.92, 0.06, 0.30, 0.34, 0.62  # inches
    count = len(crops.names)
    width = 6 * side + 4 * gap + between
    height = head + count * (side + label)
    figure = new_figure(width, height, theme)
    lefts = [column * (side + gap) + (between - gap) * (column >= 3) for column in range(6)]
    for column, title in enumerate(("original", "what the model sees", "rebuilt") * 2):
        centre = (lefts[column] + side / 2) / width
        top = 1 - (head - 0.08) / height
        figure.text(centre, top, title, ha="center", va="bottom", fontsize=11, color=theme.ink)
    for first, title in ((0, "xy slice"), (3, "xz slice")):
        centre = (lefts[first + 1] + side / 2) / width
        top = 1 - 0.28 / height
        figure.text(centre, top, title, ha="center", fontsize=12, weight="bold", color=theme.ink)
    for row in range(count):
        bottom = height - head - row * (side + label) - side
        for column, (image, aspect, unit_um) in enumerate(_row_images(crops, row)):
            box = (lefts[column] / width, bottom / height, side / width, side / height)
            axes = figure.add_axes(box)
            axes.imshow(image, aspect=aspect, interpolation="nearest")
            axes.set_axis_off()
            if column in (0, 3):
                scale_bar(axes, image.shape[1], unit_um)
        words = _row_label(crops, row, errors[row])
        figure.text(0.0, (bottom - 0.07) / height, words, va="top", fontsize=10, color=theme.soft)
    # 1.92 inches are 192 pixels at this resolution: a side of 64 voxels is magnified evenly.
    return to_png(figure, dpi=100)


def _row_images(crops: Rebuilt, row: int) -> list[tuple[np.ndarray, float, float]]:
    """Six (RGB image, aspect, micrometres per column or NaN) of one row."""
    real = _real_box(crops.original[row])
    original, hidden = crops.original[row][real], crops.hidden[row][real]
    rebuilt = crops.rebuilt[row][real]
    pitch_z, pitch_y, pitch_x = (float(size) for size in crops.voxel_size_um[row])
    known = math.isfinite(pitch_z * pitch_y * pitch_x)
    low, high = np.percentile(original, (0.5, 99.7))
    images = []
    for cut, pitch in (
        ((len(original) // 2, slice(None), slice(None)), pitch_y),
        ((slice(None), original.shape[1] // 2, slice(None)), pitch_z),
    ):
        aspect = pitch / pitch_x if known else 1.0
        for values, cover in ((original, False), (original, True), (rebuilt, False)):
            grey = np.clip((values[cut] - low) / max(high - low, 1e-6), 0, 1)
            image = np.repeat(grey[..., None], 3, axis=-1)  # [rows, columns, RGB]
            if cover:
                image[hidden[cut]] = _HIDDEN
            images.append((image, aspect, pitch_x if known else math.nan))
    return images


def _real_box(crop: np.ndarray) -> tuple[slice, slice, slice]:
    """Box of [Z, Y, X] that holds everything but the padding (NaN), which stands at the ends."""
    real = np.isfinite(crop)
    depth, height, width = (int(real.any(axis=others).sum()) for others in ((1, 2), (0, 2), (0, 1)))
    return slice(depth), slice(height), slice(width)


def _row_label(crops: Rebuilt, row: int, error: float) -> str:
    sizes = crops.voxel_size_um[row]
    spacing = (
        "voxel " + " x ".join(f"{size:.3g}" for size in sizes) + " µm (z, y, x)"
        if np.isfinite(sizes).all()
        else "voxel size unknown"
    )
    return f"{shorten(crops.names[row], 72)}   ·   {spacing}   ·   error {error:.2f}"


def scale_bar(axes: Axes, columns: int, unit_um: float) -> None:
    """Draw a bar of a round length at the lower left of an image `columns` wide."""
    from matplotlib.patheffects import withStroke

    known = math.isfinite(unit_um)
    pitch = unit_um if known else 1.0
    length = _round_length(0.4 * columns * pitch)
    left, height = 0.06 * columns, 0.06  # columns of the image, share of the panel
    outline = [withStroke(linewidth=4, foreground="black")]
    place = axes.get_xaxis_transform()
    axes.plot(
        [left, left + length / pitch], [height, height], transform=place, color="white", lw=2.5,
        solid_capstyle="butt", path_effects=outline,
    )  # fmt: skip
    axes.annotate(
        f"{length:g} µm" if known else f"{length:g} voxels", (left, height), xycoords=place,
        xytext=(0, 3), textcoords="offset points", color="white", fontsize=9,
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )  # fmt: skip


def _round_length(at_most: float) -> float:
    """The longest of 1, 2, 5, 10, 20 ... that is not above `at_most`."""
    power = 10.0 ** math.floor(math.log10(at_most))
    return max(step * power for step in (1, 2, 5) if step * power <= at_most * (1 + 1e-9))


def shorten(text: str, length: int) -> str:
    """Cut the middle out of a text, so that the ends, which tell names apart, stay."""
    if len(text) <= length:
        return text
    keep = length - 1
    return f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
