"""The page of `luxvox focus`: curves, tile maps and best slices of every stack."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from .figures import DARK, LIGHT
from .focus_figures import FocusCurve, draw_curve, draw_montage, draw_tiles
from .page import Page

_WORDS = {
    "sweep": "The objective moved over the same content: slices are ranked against each other, and "
    "one of them is the best. Scores of different stacks are not comparable.",
    "volume": "Every slice is other tissue: each is judged by itself. There is no best slice: the "
    "highest score belongs to the richest tissue, not to the sharpest image.",
}


def write_focus_page(
    path: Path, mode: Literal["sweep", "volume"], curves: Iterable[FocusCurve]
) -> Path:
    """Write one self-contained HTML page.

    Args:
        path: where it goes; its folder exists.
        mode: what moved.
        curves: of each stack; drawn one after the other, so they may be made when they are needed.

    Returns:
        The same path.
    """
    page = Page(title="Focus, slice by slice", lead=f"mode: {mode}")
    page.paragraph(_WORDS[mode])
    for curve in curves:
        page.heading(curve.name)
        page.table(("what", "value"), [list(fact) for fact in curve.facts])
        if not np.isfinite(curve.scores).any():
            page.paragraph("No slice has a score; the table says why.")
        else:
            page.picture(
                draw_curve(curve, LIGHT), draw_curve(curve, DARK), f"scores over z: {curve.name}",
                "Each curve from 0 to 1 of its own range. A cross is a slice without a score.",
            )  # fmt: skip
            page.picture(
                draw_tiles(curve, LIGHT), draw_tiles(curve, DARK), f"tiles: {curve.name}",
                "Scores of tiles; blank where a tile is empty, saturated or too dim.",
            )  # fmt: skip
        if curve.montage:
            page.picture(
                draw_montage(curve, LIGHT), draw_montage(curve, DARK), f"slices: {curve.name}",
                "All under one grey scale.",
            )  # fmt: skip
    return page.write(path)
