"""The page of a blind rating: the same volumes by several methods, under letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .figures import DARK, LIGHT
from .page import Page
from .planes import Strip, coloured, draw_strips, fullest_planes, grey_scale

_SCALE = "1 (useless), 2 (poor), 3 (usable after much correction), 4 (good), 5 (as an expert's own)"


@dataclass(frozen=True)
class BlindSample:
    """One volume and what the methods made of it, by letter.

    Attributes:
        name: of the volume.
        image: [Z, Y, X].
        results: letter -> [Z, Y, X], labels (integers) or a restored image (floats).
        voxel_size_um: (z, y, x); None = unknown.
    """

    name: str
    image: NDArray[Any]
    results: Mapping[str, NDArray[Any]]
    voxel_size_um: tuple[float, float, float] | None


def write_blind_page(path: Path, samples: Sequence[BlindSample]) -> Path:
    """Write one self-contained HTML page that names no method.

    Args:
        path: where it goes; its folder exists.
        samples: in the order of the page.

    Returns:
        The same path.
    """
    page = Page(title="Blind rating", lead=f"{len(samples)} volumes")
    page.paragraph(
        "Each volume is shown as it was acquired, and as several methods see it, under letters. "
        "Letters are drawn anew for every volume: A is not the same method everywhere."
    )
    page.paragraph(f"Rate every letter of every volume in rating.csv: {_SCALE}.")
    for sample in samples:
        page.heading(sample.name)
        page.picture(
            *(draw_strips([_strip(sample)], theme) for theme in (LIGHT, DARK)),
            alt=f"{sample.name}: image, and the results {', '.join(sample.results)}",
            caption="Planes xy, xz (below) and yz (beside).",
        )
    return page.write(path)


def _strip(sample: BlindSample) -> Strip:
    """All results are cut where most of them, taken together, lies: no method chooses the place."""
    grey = grey_scale(sample.image)
    views = [("image", grey)]
    votes = np.zeros(sample.image.shape, dtype=np.int64)
    for letter, result in sample.results.items():
        if result.dtype.kind == "f":
            views.append((letter, grey_scale(result, sample.image)))
        else:
            views.append((letter, coloured(grey, result)))
            votes += result > 0
    return Strip(
        tuple(views),
        fullest_planes(votes > len(sample.results) / 2),
        sample.voxel_size_um,
        sample.name,
    )
