"""A focus map that was stopped: judged slices as marks in OUT.run, as blocks have them.

A mark holds what was said of a few slices, so that `--resume` judges only the others.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..configs.errors import InputError
from ..configs.whole_file import write_whole
from ..data.save import check_out
from .beside import beside
from .block_marks import BlockMarks, hold_part
from .file_state import file_state
from .focus import JudgedRun, SliceFocus
from .focus_stack import FocusStack

_PLAN = "plan.json"


class JudgedSlices:
    """Runs of slices that are judged, by the place of their first slice."""

    def __init__(self, folder: Path) -> None:
        """Begin with what lies there."""
        self._marks = BlockMarks(folder / "done")
        self.before = len(self._marks.all())
        """Runs that were judged before."""

    def get(self, first: int) -> JudgedRun | None:
        """What was said of the run that begins there; None where it is still to be judged."""
        known = self._marks.read(first)
        if known is None:
            return None
        return JudgedRun(
            slices=[SliceFocus(**_typed(words)) for words in known["slices"]],
            reasons=known["reasons"],
            measures={
                name: np.array(values, np.float32) for name, values in known["measures"].items()
            },
            numbers=np.array(known["numbers"], np.float32),
            tile_scores=np.array(known["tile_scores"], np.float32),
            tile_reasons=known["tile_reasons"],
        )

    def put(self, first: int, run: JudgedRun) -> None:
        """Keep it; there whole or not at all."""
        words = asdict(run)
        for found in words["slices"]:
            found["tiles"] = None if found["tiles"] is None else found["tiles"].tolist()
        arrays = {name: words[name].tolist() for name in ("numbers", "tile_scores")}
        measures = {name: values.tolist() for name, values in run.measures.items()}
        self._marks.set(first, **{**words, **arrays, "measures": measures})


@contextmanager
def judged_slices(
    out: Path, stack: FocusStack, asked: Mapping[str, Any], resume: bool
) -> Iterator[JudgedSlices]:
    """What is known of a map, for as long as it is made; nobody else may make it meanwhile.

    Args:
        out: the map.
        stack: that it is of.
        asked: all that decides the scores.
        resume: go on with what lies there; where nothing does, start afresh.

    Raises:
        InputError: something else stands at `out`, another process makes it, or it was begun with
            other options.
    """
    run = beside(out, ".run")
    if not resume:
        check_out(out)
    key = hashlib.sha256(json.dumps([_identity(stack), asked], sort_keys=True).encode()).hexdigest()
    locks = hold_part(run, 1, 0)
    try:
        known = _known(run) if resume else None
        if known is None:
            check_out(out)
            shutil.rmtree(run / "done", ignore_errors=True)
            write_whole(run / _PLAN, json.dumps({"key": key, "recipe": asked}))
        elif known != key:
            raise InputError(
                f"{run / _PLAN}: made for other weights, options or input than these; give the "
                "same, or leave --resume out and give another --map"
            )
        yield JudgedSlices(run)
    finally:
        for lock in locks:
            lock.close()


def _known(run: Path) -> str | None:
    try:
        return json.loads((run / _PLAN).read_text(encoding="utf-8"))["key"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError):
        raise InputError(
            f"{run / _PLAN}: no plan of a focus map; remove {run}, or give another --map"
        ) from None


def _identity(stack: FocusStack) -> list[Any]:
    """What a stack is, without reading it: its files as they stand."""
    files = {Path(path).name: file_state(path) for path in sorted(set(stack.image_paths))}
    return [stack.stack_id, stack.channel, stack.t, stack.z_index, stack.shape,
            stack.voxel_size_um, files]  # fmt: skip


def _typed(words: dict[str, Any]) -> dict[str, Any]:
    """A slice as it was before it was written down."""
    tiles, levels = words["tiles"], words["level_probs"]
    return {
        **words,
        "tiles": None if tiles is None else np.array(tiles, np.float32),
        "level_probs": None if levels is None else tuple(levels),
    }
