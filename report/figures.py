"""The diagrams of a report: curves and a map of embeddings. Each returns PNG bytes.

Apart from the page because a picture is also wanted alone (docs, slides). matplotlib is imported
inside the functions, always with its Agg canvas: no display is needed and no global state changes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Theme:
    """Colours of one rendering; `paper` is the background of the page around the picture."""

    paper: str
    ink: str
    soft: str
    line: str
    accents: tuple[str, ...]  # told apart with colour-blind eyes too (Okabe and Ito 2008)


LIGHT = Theme(
    "#ffffff", "#1b2430", "#5b6673", "#d9dfe6",
    ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#5b6673", "#7a3db8"),
)  # fmt: skip
DARK = Theme(
    "#14181d", "#e6e9ee", "#9aa5b1", "#313a45",
    ("#56b4e9", "#ff9248", "#35c99c", "#e79fc6", "#f0e442", "#8fb7ff", "#9aa5b1", "#c39bff"),
)  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One small diagram of `curves`: lines over steps, and level lines to compare them with."""

    title: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]  # name -> (steps, values)
    levels: Mapping[str, float]  # name -> value that does not change with the step
    log: bool = False
    top: float | None = None  # upper end of the axis where there is a natural one


def curves(panels: Sequence[Panel], theme: Theme = LIGHT) -> bytes:
    """Draw small diagrams side by side, two in a row.

    Args:
        panels: what to draw; empty ones should be left out by the caller.
        theme: colours.

    Returns:
        PNG bytes.
    """
    rows = math.ceil(len(panels) / 2)
    last = max(max(steps) for panel in panels for steps, _ in panel.lines.values())
    figure = new_figure(11.0, 3.3 * rows, theme)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, 2, index + 1)
        _draw_panel(axes, panel, last, theme)
    figure.tight_layout(h_pad=2.0, w_pad=2.5)
    return to_png(figure)


def _draw_panel(axes: Axes, panel: Panel, last: float, theme: Theme) -> None:
    from matplotlib.ticker import MaxNLocator

    for (name, (steps, values)), colour in zip(
        panel.lines.items(), _cycle(theme.accents, len(panel.lines)), strict=True
    ):
        if len(steps) <= 40:
            size = 7 if len(steps) == 1 else 3.5
            axes.plot(steps, values, color=colour, label=name, marker="o", markersize=size, lw=1.6)
        else:  # the raw line is noise from crop to crop: keep it faint behind its running mean
            axes.plot(steps, values, color=colour, alpha=0.25, lw=0.8)
            axes.plot(steps, _running_mean(values), color=colour, label=name, lw=1.8)
    for (name, value), style in zip(
        panel.levels.items(), _cycle(("--", ":", "-."), len(panel.levels)), strict=True
    ):
        axes.axhline(value, color=theme.soft, ls=style, lw=1.4, label=f"{name} ({value:.2f})")
    axes.set_title(panel.title, loc="left", fontsize=11.5, fontweight="bold", color=theme.ink)
    axes.set_xlabel("step")
    axes.set_xlim(0, 1.03 * last)  # the same in all panels: a value measured once is at its end
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if panel.log and all(min(values) > 0 for _, values in panel.lines.values()):
        _log_axis(axes)
    else:
        axes.set_ylim(bottom=0, top=panel.top)
    style_axes(axes, theme)
    if len(panel.lines) + len(panel.levels) > 1:  # else the title says it all
        axes.legend(
            frameon=False, fontsize=9, labelcolor=theme.ink,
            loc="upper right" if panel.log else "best", ncols=3 if panel.log else 1,
        )  # fmt: skip


def _log_axis(axes: Axes) -> None:
    """Logarithmic y axis with plain numbers, and room for the legend above the lines."""
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.5)
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")


def embedding_map(
    image: np.ndarray, caption_of: np.ndarray, text: np.ndarray, theme: Theme = LIGHT
) -> bytes:
    """Draw image and caption embeddings on their two main axes (PCA).

    Images and captions lie in two separate clouds of the shared space, so each kind is centred on
    its own mean first; the axes are those of the images.

    Args:
        image: [n, D] embeddings of crops.
        caption_of: [n], row of `text` that belongs to each crop, -1 for none.
        text: [M, D] embeddings of captions; M may be 0.
        theme: colours.

    Returns:
        PNG bytes. Caption m is a star with the number m + 1.
    """
    from matplotlib.patheffects import withStroke

    points, stars, share = _project(image, text)
    figure = new_figure(7.6, 5.6, theme)
    axes = figure.add_subplot()
    colours = _cycle(theme.accents, max(len(text), 1))
    marks = [("o", "s", "^", "D")[(m // len(theme.accents)) % 4] for m in range(len(colours))]
    for m in np.unique(caption_of):
        here = points[caption_of == m]
        colour, mark = (colours[m], marks[m]) if m >= 0 else (theme.soft, ".")
        axes.scatter(here[:, 0], here[:, 1], s=22, c=colour, marker=mark, alpha=0.7, lw=0)
    for m, (x, y) in enumerate(stars):
        axes.scatter([x], [y], s=230, c=colours[m], marker="*", ec=theme.ink, lw=0.9, zorder=3)
        axes.annotate(
            str(m + 1), (x, y), xytext=(7, 5), textcoords="offset points", fontsize=11,
            weight="bold", color=theme.ink, zorder=4,
            path_effects=[withStroke(linewidth=3, foreground=theme.paper)],
        )  # fmt: skip
    axes.set_xlabel(f"first axis ({share[0]:.0%} of the image variance)")
    axes.set_ylabel(f"second axis ({share[1]:.0%})")
    style_axes(axes, theme)
    figure.tight_layout()
    return to_png(figure)


def _project(image: np.ndarray, text: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PCA of the images: points [n, 2], captions on the same axes [M, 2], variance shares [2]."""
    centred = image - image.mean(0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    variance = singular**2
    share = np.zeros(2)
    share[: min(2, len(variance))] = variance[:2] / max(variance.sum(), 1e-12)
    basis = np.zeros((2, image.shape[1]))
    basis[: min(2, len(axes))] = axes[:2]
    stars = (text - text.mean(0)) @ basis.T if len(text) else np.zeros((0, 2))
    return centred @ basis.T, stars, share


def _running_mean(values: Sequence[float]) -> np.ndarray:
    """Exponential mean over about a twentieth of the curve, its start corrected as in Adam."""
    keep = 1 - 1 / max(len(values) / 20, 1)
    mean, smooth = 0.0, np.empty(len(values))
    for index, value in enumerate(values):
        mean = keep * mean + (1 - keep) * value
        smooth[index] = mean / (1 - keep ** (index + 1))
    return smooth


def _cycle(items: Sequence[str], count: int) -> list[str]:
    return [items[index % len(items)] for index in range(count)]


def new_figure(width: float, height: float, theme: Theme) -> Figure:
    """An empty figure of `width` x `height` inches on the paper of the theme."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor=theme.paper)


def style_axes(axes: Axes, theme: Theme) -> None:
    """Set the colours of the theme, a light grid, and only the two spines that carry numbers."""
    axes.set_facecolor(theme.paper)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.soft)
    axes.tick_params(which="both", colors=theme.soft)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(theme.ink)
    axes.grid(True, color=theme.line, lw=0.6)
    axes.set_axisbelow(True)


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """Draw a figure with the Agg canvas and return the PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    return buffer.getvalue()
