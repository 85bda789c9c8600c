"""What a pretraining run has written, read back for its report.

Apart from the page because reading has its own cares: a run may still be going or have been killed,
so that files are missing or the last line of its history is cut short.
"""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..configs.errors import InputError
from .slices import Rebuilt


@dataclass(frozen=True)
class Embeddings:
    """Image and caption embeddings of held-back crops in the shared space."""

    image: np.ndarray  # [n, D]
    caption_of: np.ndarray  # [n], row of `text`, -1 for none
    text: np.ndarray  # [M, D]
    captions: tuple[str, ...]  # M


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; what was not written is empty or None."""

    path: Path
    metrics: dict[str, float]  # numbers only
    history: tuple[dict[str, float], ...]  # ordered by step, each step once
    rebuilt: Rebuilt | None
    embeddings: Embeddings | None
    recipe: str
    skipped: tuple[dict[str, str], ...]


def read_run(run: Path) -> RunFolder:
    """Read the files of a pretraining run.

    Args:
        run: the folder that holds `metrics.json` (a finished run) or at least `history.jsonl`.

    Returns:
        What was found.

    Raises:
        InputError: no run lies here, or one of its files cannot be read.
    """
    if not any((run / name).is_file() for name in ("metrics.json", "history.jsonl")):
        raise InputError(
            f"{run}: no run (neither metrics.json nor history.jsonl); "
            "give the folder that luxvox pretrain or finetune wrote"
        )
    recipe = run / "recipe.yaml"
    return RunFolder(
        path=run,
        metrics=_numbers(read_json(run / "metrics.json", {})),
        history=read_history(run / "history.jsonl"),
        rebuilt=_read_rebuilt(run / "reconstructions.npz"),
        embeddings=_read_embeddings(run / "embeddings.npz"),
        recipe=recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
        skipped=tuple(read_json(run / "skipped.json", [])),
    )


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """Only what is a finite number: a missing measurement is left out rather than drawn."""
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def read_json(path: Path, missing: Any) -> Any:
    """What a JSON file holds; `missing` where there is no such file.

    Raises:
        InputError: it is no JSON, or holds another kind of thing than `missing` is.
    """
    if not path.is_file():
        return missing
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error}); delete it or rerun") from None
    if missing is not None and not isinstance(found, type(missing)):
        raise InputError(
            f"{path}: holds a {type(found).__name__}, expected a {type(missing).__name__}; "
            "delete it or rerun"
        )
    return found


def read_history(path: Path) -> tuple[dict[str, float], ...]:
    """Lines by step; a step that was run again after a resume counts in its last form.

    Raises:
        InputError: a line but the last is no JSON object.
    """
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8").splitlines()
    steps: dict[float, dict[str, float]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = _numbers(json.loads(line))
        except (ValueError, AttributeError):  # AttributeError: JSON, but no mapping
            if number == len(lines):  # the run was killed while it wrote, or is writing now
                break
            raise InputError(f"{path}: line {number} is no JSON object; delete that line") from None
        if "step" in entry:
            steps.setdefault(entry["step"], {}).update(entry)
    return tuple(steps[step] for step in sorted(steps))


def _read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: damaged or not of a luxvox run ({error}); delete it and run the report again"
        ) from None


def _read_rebuilt(path: Path) -> Rebuilt | None:
    arrays = _read_arrays(path, ("original", "rebuilt", "mask", "names", "voxel_size_um"))
    if arrays is None or not len(arrays["original"]):
        return None
    return Rebuilt(
        original=arrays["original"].astype(np.float32),
        rebuilt=arrays["rebuilt"].astype(np.float32),
        hidden=arrays["mask"].astype(bool),
        names=tuple(str(name) for name in arrays["names"]),
        voxel_size_um=arrays["voxel_size_um"].astype(np.float64),
    )


def _read_embeddings(path: Path) -> Embeddings | None:
    arrays = _read_arrays(path, ("image", "image_caption", "text", "captions"))
    if arrays is None or len(arrays["image"]) < 2:
        return None
    return Embeddings(
        image=arrays["image"].astype(np.float64),
        caption_of=arrays["image_caption"].astype(np.int64),
        text=arrays["text"].astype(np.float64),
        captions=tuple(str(caption) for caption in arrays["captions"]),
    )
