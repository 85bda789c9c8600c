"""The pictures of a focus report: scores over z, a map of the tiles, the best slices themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .figures import LIGHT, Theme, new_figure, style_axes, to_png
from .slices import shorten

_COLUMNS = 5  # of the montage
_SIDE = 2.1  # inches


@dataclass(frozen=True)
class FocusCurve:
    """Scores of one stack. S slices, Ty by Tx tiles.

    Attributes:
        name: of the stack and channel.
        z: [S] places.
        scores: [S], nan = not valid.
        low, high: [S] around the scores, or None.
        measures: [S] each of the classical measures, by name.
        tiles: [S, Ty, Tx], nan = not valid.
        best_z: where the best slice lies; None = nowhere.
        montage: (title, [Y, X] counts) of a few slices.
        facts: (what, value) of the stack.
    """

    name: str
    z: NDArray[np.floating]
    scores: NDArray[np.floating]
    low: NDArray[np.floating] | None
    high: NDArray[np.floating] | None
    measures: dict[str, NDArray[np.floating]]
    tiles: NDArray[np.floating]
    best_z: float | None
    montage: Sequence[tuple[str, NDArray[np.floating]]]
    facts: Sequence[tuple[str, str]]


def draw_curve(curve: FocusCurve, theme: Theme = LIGHT) -> bytes:
    """Score and classical measures over z, each from 0 to 1 of its own range.

    Args:
        curve: at least one valid slice.
        theme: colours.

    Returns:
        PNG bytes.
    """
    figure = new_figure(9.0, 3.4, theme)
    axes = figure.add_subplot()
    for (name, values), colour in zip(curve.measures.items(), theme.accents[1:], strict=False):
        axes.plot(curve.z, _unit(values)[0], color=colour, lw=1, alpha=0.8, label=name)
    drawn, low, span = _unit(curve.scores)
    if curve.low is not None and curve.high is not None:
        band = [(bound - low) / span for bound in (curve.low, curve.high)]
        axes.fill_between(curve.z, band[0], band[1], color=theme.accents[0], alpha=0.2, lw=0)
    axes.plot(
        curve.z, drawn, color=theme.accents[0], lw=2, marker="o", markersize=3, label="focus score"
    )
    missing = ~np.isfinite(curve.scores)
    if missing.any():
        axes.plot(
            curve.z[missing], np.zeros(missing.sum()), ls="", marker="x", color=theme.soft,
            label="no score",
        )  # fmt: skip
    if curve.best_z is not None:
        axes.axvline(curve.best_z, color=theme.ink, ls=":", lw=1.2, label="best")
    axes.set_xlabel("z index")
    axes.set_ylim(-0.05, 1.1)
    style_axes(axes, theme)
    axes.tick_params(labelsize=8)
    axes.legend(
        frameon=False, fontsize=9, labelcolor=theme.ink, loc="upper left", bbox_to_anchor=(1, 1)
    )
    figure.tight_layout()
    return to_png(figure)


def draw_tiles(curve: FocusCurve, theme: Theme = LIGHT) -> bytes:
    """Scores of tiles: best over z from above, and over (z, x) and (z, y) from the sides.

    Args:
        curve: with tiles.
        theme: colours.

    Returns:
        PNG bytes. Blank = no valid tile.
    """
    from matplotlib.ticker import MaxNLocator

    views = (
        ("y, x: highest over z", _highest(curve.tiles, 0), "x tile", "y tile"),
        ("z, x: mean over y", _mean(curve.tiles, 1), "x tile", "z slice"),
        ("z, y: mean over x", _mean(curve.tiles, 2), "y tile", "z slice"),
    )
    figure = new_figure(9.0, 3.2, theme)
    for number, (title, picture, across, down) in enumerate(views, 1):
        axes = figure.add_subplot(1, 3, number)
        shown = axes.imshow(picture, aspect="auto", interpolation="nearest", cmap="viridis")
        axes.set_title(title, loc="left", fontsize=10, color=theme.ink)
        axes.set_xlabel(across)
        axes.set_ylabel(down)
        for side in (axes.xaxis, axes.yaxis):
            side.set_major_locator(MaxNLocator(6, integer=True))
        style_axes(axes, theme)
        axes.tick_params(labelsize=8)
        axes.grid(False)
        bar = figure.colorbar(shown, ax=axes, fraction=0.05)
        bar.ax.tick_params(colors=theme.soft, labelsize=8)
    figure.tight_layout()
    return to_png(figure)


def draw_montage(curve: FocusCurve, theme: Theme = LIGHT) -> bytes:
    """A few slices under one grey scale, so that a dim one looks dim.

    Args:
        curve: with at least one picture.
        theme: colours.

    Returns:
        PNG bytes.
    """
    pictures = list(curve.montage)
    pool = np.concatenate([picture.ravel() for _, picture in pictures])
    low, high = np.nanpercentile(pool, [1, 99.8])
    columns = min(_COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    aspect = pictures[0][1].shape[0] / pictures[0][1].shape[1]
    figure = new_figure(_SIDE * columns, (_SIDE * min(2.0, aspect) + 0.3) * rows, theme)
    for number, (title, picture) in enumerate(pictures, 1):
        axes = figure.add_subplot(rows, columns, number)
        axes.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
        axes.set_axis_off()
        axes.set_title(shorten(title, 28), fontsize=9, color=theme.ink)
    figure.tight_layout(pad=0.8)
    return to_png(figure)


def _unit(values: NDArray[np.floating]) -> tuple[NDArray[np.floating], float, float]:
    """Values from 0 to 1 of their own range, its lower end and its span."""
    known = values[np.isfinite(values)]
    if not known.size:
        return values, 0.0, 1.0
    low, span = float(known.min()), float(np.ptp(known)) or 1.0
    return (values - low) / span, low, span


def _highest(tiles: NDArray[np.floating], axis: int) -> NDArray[np.floating]:
    found = np.where(np.isnan(tiles), -np.inf, tiles).max(axis)
    return np.where(np.isfinite(found), found, np.nan)


def _mean(tiles: NDArray[np.floating], axis: int) -> NDArray[np.floating]:
    known = np.isfinite(tiles)
    total, count = np.where(known, tiles, 0).sum(axis), known.sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
