"""A metric over the number of labelled crops, one line a method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .figures import LIGHT, Theme, new_figure, style_axes, to_png

_MARKS = "os^Dvph*"
_WIDE = 0.035  # of the axis, between methods at one K


@dataclass(frozen=True)
class KShots:
    """One method.

    Attributes:
        name: of it.
        shots: K, rising.
        means: one each.
        intervals: (low, high) each; None where there is none.
    """

    name: str
    shots: tuple[int, ...]
    means: tuple[float, ...]
    intervals: tuple[tuple[float, float] | None, ...]


def draw_k_shots(curves: Sequence[KShots], label: str, theme: Theme = LIGHT) -> bytes:
    """Draw methods beside each other at every K.

    Args:
        curves: at least one.
        label: of the vertical axis.
        theme: colours.

    Returns:
        PNG bytes.
    """
    ticks = sorted({k for curve in curves for k in curve.shots})
    figure = new_figure(9.0, 4.2, theme)
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        colour = theme.accents[number % len(theme.accents)]
        aside = (number - (len(curves) - 1) / 2) * _WIDE
        places = [ticks.index(k) + aside for k in curve.shots]
        axes.plot(
            places, curve.means, color=colour, marker=_MARKS[number % len(_MARKS)], markersize=6,
            lw=1.5 if len(places) > 1 else 0, label=curve.name,
        )  # fmt: skip
        for place, ends in zip(places, curve.intervals, strict=True):
            if ends is not None:
                axes.plot([place, place], ends, color=colour, lw=1.2, alpha=0.8)
    axes.set_xticks(np.arange(len(ticks)), [f"K = {k}" for k in ticks])
    axes.set_xlim(-0.6, len(ticks) - 0.4)
    axes.set_ylabel(label)
    style_axes(axes, theme)
    axes.grid(False, axis="x")
    axes.legend(
        frameon=False, fontsize=9, labelcolor=theme.ink, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    figure.tight_layout()
    return to_png(figure)
