"""One plane of every sample of a cell, small, for the page: image, truth and what was found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...configs.whole_file import whole_file
from ..examples import Example
from .plan import METRIC, Cell
from .scoring import Answer

_SIDE = 256  # voxels of a picture at most


def keep_planes(
    path: Path,
    cell: Cell,
    examples: Sequence[Example],
    answers: Sequence[Answer],
    samples: Sequence[dict[str, Any]],
) -> None:
    """Write DIR/pictures/NAME.npz: `facts` (JSON) and uint8 planes `image_i`, `truth_i`, `found_i`.

    Args:
        path: of the file.
        cell: whose.
        examples: judged. answers: to them. samples: their metrics.
    """
    arrays: dict[str, NDArray[np.uint8]] = {}
    metric = METRIC[cell.task]
    facts = {**vars(cell), "metric": metric, "samples": []}
    for number, (example, answer, sample) in enumerate(
        zip(examples, answers, samples, strict=True)
    ):
        assert answer.found is not None
        facts["samples"].append({"id": sample["id"], "score": sample[metric]})
        plane = _fullest(example)
        truth = example.labels if example.target is None else example.target
        assert truth is not None
        grey = _grey(example.image if example.target is None else example.target)
        arrays[f"image_{number}"] = grey(_cut(example.image, plane))
        if example.target is None:
            arrays[f"truth_{number}"] = (_cut(truth, plane) > 0).astype(np.uint8)
            arrays[f"found_{number}"] = (_cut(answer.found, plane) > 0).astype(np.uint8)
        else:
            arrays[f"truth_{number}"] = grey(_cut(truth, plane))
            arrays[f"found_{number}"] = grey(_cut(answer.found, plane))
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft:
        np.savez_compressed(draft, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]


def _fullest(example: Example) -> int:
    """The plane with most foreground, of pairs the middle one."""
    if example.labels is None or not example.labels.any():
        return len(example.image) // 2
    return int((example.labels > 0).sum((1, 2)).argmax())


def _cut(volume: NDArray[Any], plane: int) -> NDArray[Any]:
    return volume[plane, :_SIDE, :_SIDE]


def _grey(like: NDArray[Any]) -> Any:
    low, high = np.percentile(like, [1, 99.8])
    scale = 255 / max(float(high - low), 1e-6)
    return lambda plane: np.clip((plane - low) * scale, 0, 255).astype(np.uint8)
