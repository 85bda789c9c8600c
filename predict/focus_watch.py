"""Scores of slices while a microscope writes them: a folder is looked at again and again."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..configs.errors import InputError
from ..data.focus_images import read_slice
from ..data.focus_row import FocusRow
from ..data.voxel import VoxelSize
from .focus import (
    DEFAULT,
    SUPPORT_PX,
    Mode,
    Sample,
    Scorer,
    SliceFocus,
    score_image,
    survey_image,
)
from .focus_stack import FILES, FocusStack, z_number
from .focus_table import COLUMNS

Say = Callable[[str], None]


def watch_folder(
    folder: Path,
    out: Path,
    mode: Mode,
    stain: str | None = None,
    idle_s: float | None = None,
    every_s: float = 0.5,
    say: Say = print,
    scorer: Scorer | None = None,
    voxel_size_um: VoxelSize | None = None,
    support_px: float = SUPPORT_PX,
) -> list[tuple[Path, SliceFocus]]:
    """Score every image that appears in a folder and add a row to the table at once.

    The first image with structure sets level and tiles; scores are comparable from then on. A file
    is read when its size has stopped to change. What lies there at the start is scored, too.

    Args:
        folder: that the microscope writes to; 2D TIFF or PNG.
        out: the table, written anew.
        mode: for the table; in a sweep every line says which is the best so far.
        stain: for the table.
        idle_s: stop when nothing new came for so long; None = never, Ctrl-C ends it.
        every_s: pause between two looks.
        say: told a line of each image.
        scorer: learned scores in place of the classical ones; the gate comes before it. Each image
            is judged as a stack of one slice, on the tiles and the scale of the first image.
        voxel_size_um: (z, y, x), for micrometres of a scorer.
        support_px: of the DCT measure, see `support_of`.

    Returns:
        Files and their scores, in the order in which they came.

    Raises:
        InputError: no such folder, or the table cannot be written.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --watch needs the one that slices come into")
    scored: list[tuple[Path, SliceFocus]] = []
    known: Sample | None = None
    try:
        file = out.open("w", newline="", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); name another") from error
    with file:
        table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        file.flush()
        for path in _arrivals(folder, idle_s, every_s):
            try:
                image = read_slice(FocusRow(path, folder.name, 0))
                if known is None or known.survey.shape != image.shape:
                    first = Sample(torch.from_numpy(image)[None], [0], survey_image(image))
                    found = score_image(image, first.survey, support_px)
                    known = first if not found.reason else None
                else:
                    found = score_image(image, known.survey, support_px)
                classical = found.score
                if scorer is not None and known is not None and not found.reason:
                    stack = _of_one(path, folder, image, voxel_size_um)
                    score = scorer.begin(known, stack, stain, mode)
                    found = score(torch.from_numpy(image)[None], [0])[0]
            except InputError as error:
                say(f"warning: {error}")
                continue
            scored.append((path, found))
            model = DEFAULT if scorer is None else scorer.model_id
            table.writerow(_row(path, folder, mode, stain, found, classical, model))
            file.flush()
            say(_line(path, found, scored if mode == "sweep" else []))
    return scored


def _arrivals(folder: Path, idle_s: float | None, every_s: float) -> Iterator[Path]:
    """Files as they are complete: of the same size at two looks."""
    done: set[Path] = set()
    sizes: dict[Path, int] = {}
    last = time.monotonic()
    while True:
        for path in sorted(folder.iterdir(), key=lambda path: (_time_and_size(path)[0], path.name)):
            if path in done or path.suffix.lower() not in FILES:
                continue
            _, size = _time_and_size(path)
            if size and sizes.get(path) == size:
                done.add(path)
                last = time.monotonic()
                yield path
            sizes[path] = size
        if idle_s is not None and time.monotonic() - last > idle_s:
            return
        time.sleep(every_s)


def _time_and_size(path: Path) -> tuple[int, int]:
    """When a file was written last, in ns, and its bytes; zeros of one that is gone."""
    try:
        found = path.stat()
    except OSError:  # renamed or taken away since the folder was listed
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _of_one(
    path: Path, folder: Path, image: NDArray[np.float32], size: VoxelSize | None
) -> FocusStack:
    """An image as a stack of one slice."""
    return FocusStack(
        image_paths=(str(path),),
        stack_id=folder.name,
        channel="",
        t=0,
        z_index=(0,),
        voxel_size_um=size,
        shape=(image.shape[0], image.shape[1]),
        largest=None,
        notes=(),
        load=lambda place: image,
    )


def _row(
    path: Path,
    folder: Path,
    mode: Mode,
    stain: str | None,
    found: SliceFocus,
    classical: float,
    model: str,
) -> dict[str, str]:
    number = z_number(path)
    told = {"focus_score": found.score, "dcts": classical}
    told |= {name: getattr(found, name) for name in ("level", "defocus_um", "lo", "hi", "p_in_dof")}
    numbers = {
        name: "" if found.reason or value is None or not math.isfinite(value) else f"{value:.6g}"
        for name, value in told.items()
    }
    return {
        "image_path": str(path),
        "stack_id": folder.name,
        "stain": stain or "",
        "t": "0",
        "z_index": "" if number is None else str(number),
        "mode": mode,
        "valid": "false" if found.reason else "true",
        "reason": found.reason,
        "model_id": model,
        **numbers,
    }


def _line(path: Path, found: SliceFocus, sweep: list[tuple[Path, SliceFocus]]) -> str:
    own = f"no score ({found.reason})" if found.reason else f"{found.score:.5f}"
    valid = [(other.score, where.name) for where, other in sweep if not other.reason]
    best = f"; best so far: {max(valid)[1]}" if valid else ""
    return f"{path.name}: {own}{best}"
