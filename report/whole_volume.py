"""The page of a whole-volume prediction: what it looks like, how it went, what was counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .figures import DARK, LIGHT, Theme, new_figure, style_axes, to_png
from .page import Number, Page
from .planes import CLASSES, Strip, coloured, draw_strips, fullest_planes, grey_scale
from .projections import Projections, brightest, draw_projections, grey_rgb

Columns = Mapping[str, NDArray[Any]]
"""A table: columns of equal length."""

_MOST_ROWS = 20  # of a table on the page
_BINS = 40


@dataclass(frozen=True)
class Preview:
    """A volume and what was predicted of it, both small, on one grid.

    Attributes:
        image: [Z, Y, X] as acquired.
        result: [Z, Y, X]; or [Z, Y, X, 3], RGB from 0 to 1.
        kind: what `result` holds: labels and objects go over the image, others beside it.
        voxel_size_um: (z, y, x) of this grid; None = unknown.
    """

    image: NDArray[Any]
    result: NDArray[Any]
    kind: Literal["labels", "objects", "image", "rgb"]
    voxel_size_um: tuple[float, float, float] | None


@dataclass(frozen=True)
class WholeVolume:
    """What the page says.

    Attributes:
        title: heading.
        lead: one line below it.
        preview: pictures are drawn of it.
        facts: (what, how much) of the run.
        warning: what is wrong with the output; "" = nothing.
        objects: columns with `volume_um3` and `voxels`; None = not measured.
        structures: columns; the same.
        regions: columns; the same.
    """

    title: str
    lead: str
    preview: Preview
    facts: Sequence[tuple[str, str]]
    warning: str = ""
    objects: Columns | None = None
    structures: Columns | None = None
    regions: Columns | None = None


def write_whole_volume_report(path: Path, whole: WholeVolume) -> Path:
    """Write one self-contained HTML page.

    Args:
        path: where it goes; its folder exists.
        whole: what it says.

    Returns:
        The same path.
    """
    page = Page(whole.title, whole.lead)
    if whole.warning:
        page.paragraph(whole.warning)
    size = whole.preview.voxel_size_um
    pitch = "" if size is None else f" of {' x '.join(f'{side:.3g}' for side in size)} µm (z, y, x)"
    sides = " x ".join(map(str, whole.preview.image.shape))
    page.paragraph(
        f"Pictures are made of {sides} voxels{pitch}, thinned out from the whole volume: what is "
        "smaller than these may be missing in them.",
        soft=True,
    )
    page.heading("Three planes")
    page.picture(
        *(draw_planes(whole.preview, theme) for theme in (LIGHT, DARK)),
        alt="xy, xz and yz planes of the volume and of what was predicted",
        caption=_caption(whole.preview.kind) + " Cut where most was found.",
    )
    page.heading("Maximum projections")
    page.picture(
        *(draw_whole(whole.preview, theme) for theme in (LIGHT, DARK)),
        alt="largest values along z, y and x of the volume and of what was predicted",
        caption="The largest value along each axis.",
    )
    page.heading("The run")
    page.table(("", ""), [[what, Number(much)] for what, much in whole.facts])
    if whole.structures is not None:
        page.heading("Structures")
        _add_table(page, _largest(whole.structures), "structures")
    if whole.objects is not None and len(whole.objects["voxels"]):
        page.heading("Objects")
        page.picture(
            *(object_histogram(whole.objects, theme) for theme in (LIGHT, DARK)),
            alt="histogram of object volumes",
            caption="How large they are; the line is the median.",
        )
    if whole.regions is not None:
        page.heading("Regions")
        _add_table(page, _largest(whole.regions), "regions")
    return page.write(path)


def draw_planes(preview: Preview, theme: Theme = LIGHT) -> bytes:
    """Three planes of image and result side by side, as PNG bytes."""
    grey = grey_scale(preview.image.astype(np.float32))
    if preview.kind in ("labels", "objects"):
        found, shown = preview.result > 0, coloured(grey, _classes(preview))
    elif preview.kind == "image":
        result = preview.result.astype(np.float32)
        found, shown = result > np.percentile(result, 95), grey_scale(result)
    else:
        found, shown = np.zeros(preview.image.shape, bool), preview.result
    strip = Strip((("volume", grey), ("found", shown)), fullest_planes(found),
                  preview.voxel_size_um, "")  # fmt: skip
    return draw_strips([strip], theme)


def draw_whole(preview: Preview, theme: Theme = LIGHT) -> bytes:
    """Maximum projections of image and result below each other, as PNG bytes."""
    xy, xz, yz = grey_rgb(brightest(preview.image.astype(np.float32)))
    rows = [Projections("volume, along z", (xy, xz, yz))]
    if preview.kind in ("labels", "objects"):
        over = (
            coloured(grey[None], labels[None])[0]
            for grey, labels in zip((xy, xz, yz), brightest(_classes(preview)), strict=True)
        )
        rows.append(Projections("found, along z", (next(over), next(over), next(over))))
    elif preview.kind == "image":
        a, b, c = grey_rgb(brightest(preview.result.astype(np.float32)))
        rows.append(Projections("found, along z", (a, b, c)))
    return draw_projections(rows, preview.voxel_size_um, theme)


def object_histogram(objects: Columns, theme: Theme = LIGHT) -> bytes:
    """How many objects have which volume, on a logarithmic axis, as PNG bytes.

    Args:
        objects: `volume_um3`, or where it is unknown (NaN) `voxels`; at least one object.
        theme: colours.
    """
    known = bool(np.isfinite(objects["volume_um3"]).all())
    volume = np.asarray(objects["volume_um3" if known else "voxels"], np.float64)
    low, high = volume.min(), max(volume.max(), volume.min() * 1.5)
    figure = new_figure(7.6, 3.2, theme)
    axes = figure.add_subplot()
    edges = np.geomspace(low * 0.95, high * 1.05, _BINS + 1)
    axes.hist(volume, edges.tolist(), color=theme.accents[0])
    median = float(np.median(volume))
    axes.axvline(median, color=theme.accents[1], lw=1.6, ls="--")
    axes.set_xscale("log")
    unit = "µm³" if known else "voxels"
    axes.set_xlabel(f"volume of an object ({unit}); median {median:.4g}")
    axes.set_ylabel(f"objects, of {len(volume)}")
    style_axes(axes, theme)
    figure.tight_layout()
    return to_png(figure)


def _classes(preview: Preview) -> NDArray[np.int64]:
    """Labels that `coloured` has a colour for; neighbouring numbers get different ones."""
    result = preview.result.astype(np.int64)
    if preview.kind == "objects":
        return np.where(result > 0, 1 + result % len(CLASSES), 0)
    values = np.unique(result[result > 0])
    return np.where(result > 0, 1 + np.searchsorted(values, result), 0)


def _caption(kind: str) -> str:
    return {
        "labels": "Left the volume, right the same with what was found in colour.",
        "objects": "Left the volume, right the same; each object in one of a few colours.",
        "image": "Left the volume, right the result, each in a grey scale of its own.",
        "rgb": "Left the volume, right its embeddings: three main components as colours.",
    }[kind]


def _add_table(page: Page, table: Columns, name: str) -> None:
    rows = len(next(iter(table.values())))
    if rows > _MOST_ROWS:
        page.paragraph(f"The {_MOST_ROWS} with most; all {rows} stand in {name}.csv.", soft=True)
    lines = [
        [_cell(column[row]) for column in table.values()] for row in range(min(rows, _MOST_ROWS))
    ]
    page.table([title.replace("_", " ") for title in table], lines)


def _largest(table: Columns) -> Columns:
    """The same with the rows that hold most first."""
    order = np.argsort(-np.asarray(table["voxels"]), kind="stable")
    return {title: column[order] for title, column in table.items()}


def _cell(value: Any) -> str | Number:
    if isinstance(value, str):
        return value
    if isinstance(value, (float, np.floating)):
        return Number("" if np.isnan(value) else f"{value:.4g}")
    return Number(f"{value}")
