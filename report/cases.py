"""Single volumes with what was found in them: kept as arrays, drawn where there is most to see."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError
from .figures import LIGHT, Theme
from .planes import Strip, coloured, draw_strips, fullest_planes, grey_scale

_ARRAYS = ("image", "labels", "found", "counts", "target", "restored")


@dataclass(frozen=True)
class Case:
    """One volume and what is known of it. Shapes: all [Z, Y, X].

    Attributes:
        name: of the volume.
        image: normalised.
        voxel_size_um: (z, y, x); None = unknown, drawn as cubes.
        labels: true classes, 0 = background. found: those that were found. counts: False = ignored.
        target: wanted image. restored: what came of it; both normalised like the image.
        note: what is to be said of it, such as its score.
    """

    name: str
    image: NDArray[Any]
    voxel_size_um: tuple[float, float, float] | None = None
    labels: NDArray[Any] | None = None
    found: NDArray[Any] | None = None
    counts: NDArray[np.bool_] | None = None
    target: NDArray[Any] | None = None
    restored: NDArray[Any] | None = None
    note: str = ""


def draw_cases(cases: Sequence[Case], theme: Theme = LIGHT) -> bytes:
    """Draw cases below each other, with all that they hold; at least one. PNG bytes."""
    return draw_strips([_strip(case) for case in cases], theme)


def legend(cases: Sequence[Case]) -> str:
    """What the colours mean, in words for a caption."""
    if any(case.found is not None and case.labels is not None for case in cases):
        return "Green: found and labelled; orange: only found; blue: only labelled; grey: ignored."
    return ""


def save_cases(path: Path, cases: Sequence[Case]) -> None:
    """Write cases as one .npz, images in half precision."""
    arrays: dict[str, NDArray[Any]] = {}
    facts = []
    for number, case in enumerate(cases):
        facts.append({"name": case.name, "size": case.voxel_size_um, "note": case.note})
        for name in _ARRAYS:
            array = getattr(case, name)
            if array is not None:
                small = np.float16 if array.dtype.kind == "f" else array.dtype
                arrays[f"{name}_{number}"] = array.astype(small)
    np.savez_compressed(path, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]


def load_cases(path: Path) -> list[Case]:
    """Read what `save_cases` wrote; nothing, where there is no such file.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file():
        return []
    try:
        with np.load(path, allow_pickle=False) as archive:
            facts = json.loads(str(archive["facts"]))
            return [_read_case(number, fact, archive) for number, fact in enumerate(facts)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: damaged or not of a luxvox run ({error}); delete it and run the report again"
        ) from None


def _read_case(number: int, fact: dict[str, Any], archive: Any) -> Case:
    held = {name: f"{name}_{number}" for name in _ARRAYS if f"{name}_{number}" in archive.files}
    arrays = {
        name: array.astype(np.float32) if array.dtype.kind == "f" else array
        for name, array in ((name, archive[key]) for name, key in held.items())
    }
    size = None
    if fact["size"] is not None:
        z, y, x = fact["size"]
        size = (z, y, x)
    return Case(name=fact["name"], voxel_size_um=size, note=fact["note"], **arrays)


def _strip(case: Case) -> Strip:
    """Image, labels and what was found; or image, what came of it and what was wanted."""
    classes = case.labels if case.labels is not None else case.found
    views = [("image", grey_scale(case.image, case.target))]
    if case.restored is not None:
        views.append(("restored", grey_scale(case.restored, case.target)))
    if case.target is not None:
        views.append(("wanted", grey_scale(case.target)))
    grey = views[0][1]
    if case.labels is not None:
        views.append(("labels", coloured(grey, case.labels, counts=case.counts)))
    if case.found is not None:
        views.append(("found", coloured(grey, case.found, case.labels, case.counts)))
    return Strip(
        tuple(views),
        fullest_planes(np.zeros(case.image.shape, bool) if classes is None else classes > 0),
        case.voxel_size_um,
        " · ".join(filter(None, (case.name, case.note))),
    )
