"""Planes of samples with what every method found in them, in rows and columns."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError
from .figures import LIGHT, Theme, new_figure, to_png
from .slices import shorten

_SIDE, _GAP, _HEAD = 1.55, 0.06, 0.24  # inches
_TRUTH, _FOUND = "#56b4e9", "#ff8c1a"


@dataclass(frozen=True)
class Planes:
    """What a cell kept for pictures.

    Attributes:
        dataset, task, method, shots, metric: of the cell.
        samples: id -> score, in the order of the arrays.
        arrays: `image_i`, `truth_i`, `found_i`, uint8 [Y, X]; masks where `task` is "segment".
    """

    dataset: str
    task: str
    method: str
    shots: int
    metric: str
    samples: Mapping[str, float]
    arrays: Mapping[str, NDArray[Any]]

    def of(self, sample: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Image, truth and what was found, [Y, X] each."""
        number = list(self.samples).index(sample)
        image, truth, found = (
            self.arrays[f"{what}_{number}"] for what in ("image", "truth", "found")
        )
        return image, truth, found


def read_planes(path: Path) -> Planes:
    """Read one file of DIR/pictures.

    Raises:
        InputError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            facts = json.loads(str(archive["facts"]))
            arrays = {name: archive[name] for name in archive.files if name != "facts"}
        named = {key: facts[key] for key in ("dataset", "task", "method", "shots", "metric")}
        scores = {sample["id"]: float(sample["score"]) for sample in facts["samples"]}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged ({error}); delete it, the page does without") from None
    return Planes(**named, samples=scores, arrays=arrays)


def draw_samples(
    methods: Mapping[str, Planes], samples: Sequence[str], theme: Theme = LIGHT
) -> bytes:
    """Draw samples below each other: the image, then every method.

    Args:
        methods: name -> planes of one draw; at least one.
        samples: ids, at least one.
        theme: colours.

    Returns:
        PNG bytes.
    """
    first = next(iter(methods.values()))
    restore = first.task == "restore"
    columns = (2 if restore else 1) + len(methods)
    heights = [_SIDE * min(2.0, _aspect(first.of(sample)[0])) for sample in samples]
    width = columns * (_SIDE + _GAP)
    height = sum(heights) + len(samples) * 2 * _HEAD
    figure = new_figure(width, height, theme)
    top = height
    for sample, tall in zip(samples, heights, strict=True):
        image, truth, _ = first.of(sample)
        shown: list[tuple[str, NDArray[Any], NDArray[Any] | None]] = [("image", image, None)]
        if restore:
            shown.append(("wanted", truth, None))
        for name, planes in methods.items():
            if sample in planes.samples:
                found = planes.of(sample)[2]
                title = f"{name} {planes.samples[sample]:.2f}"
                shown.append((title, found if restore else image, None if restore else found))
        bottom = top - _HEAD - tall
        for column, (title, grey, mask) in enumerate(shown):
            left = column * (_SIDE + _GAP)
            axes = figure.add_axes((left / width, bottom / height, _SIDE / width, tall / height))
            axes.imshow(grey, cmap="gray", vmin=0, vmax=255, aspect="auto")
            if mask is not None:
                _outline(axes, truth, _TRUTH)
                _outline(axes, mask, _FOUND)
            axes.set_axis_off()
            axes.set_title(title, fontsize=8, color=theme.ink, pad=2)
        figure.text(
            0, (bottom - 0.04) / height, shorten(sample, 90), va="top", fontsize=8, color=theme.soft
        )
        top = bottom - _HEAD
    return to_png(figure, dpi=120)


def _outline(axes: Any, mask: NDArray[Any], colour: str) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask > 0, levels=[0.5], colors=[colour], linewidths=0.7)


def _aspect(plane: NDArray[Any]) -> float:
    return plane.shape[0] / plane.shape[1]
