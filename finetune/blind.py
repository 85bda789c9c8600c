"""`luxvox report --blind`: what several runs make of the same volumes, for experts to rate.

Which letter is which run is drawn anew for every volume and stands in a file of its own, outside
the folder that experts are given.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from ..configs.errors import InputError
from ..data.draws import keyed_rng
from ..data.manifest import open_row, read_dataset
from ..data.normalize import measure_intensity, normalize
from ..data.row import Row
from ..data.voxel import VoxelSize
from ..predict.image import predict_image
from ..predict.task_weights import TaskWeights, open_dense
from ..predict.volume import found_labels
from ..report.blind import BlindSample, write_blind_page
from .learnt_from import learnt_from

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def blind_rating(
    runs: Sequence[str | Path], dataset: str | Path, out: Path, count: int = 12, seed: int = 0
) -> Path:
    """Predict volumes with every run, and write what experts need to rate them blindly.

    Args:
        runs: two or more fine-tuned RUNs of one task, which gives an image.
        dataset: a list; neither labels nor targets are needed.
        out: a folder; receives rate.html and rating.csv (sample, letter, rating). The key
            (sample, letter, run) is written beside the folder, as OUT_key.csv.
        count: of volumes, at most; those that a run has learnt from are left out.
        seed: draws volumes and letters.

    Returns:
        Path of rate.html.

    Raises:
        InputError: fewer than two runs, other tasks, no volume left, or ratings stand there.
    """
    names = [str(run) for run in runs]
    key = out.with_name(f"{out.name}_key.csv")
    places = {Path(name).resolve() for name in names}
    if not 2 <= len(places) == len(names) <= len(_LETTERS):
        raise InputError(
            f"{len(names)} runs to compare ({', '.join(names)}), expected 2 to {len(_LETTERS)} "
            "different ones; name the others with --against"
        )
    for path in (out / "rating.csv", key):
        if path.exists():
            raise InputError(f"{path}: exists already, it may hold ratings; move it away first")
    models = [_fine_tuned(name) for name in names]
    tasks = {model.task.task for model in models}
    if len(tasks) > 1 or "classify" in tasks:
        raise InputError(
            f"tasks {', '.join(sorted(tasks))} of {', '.join(names)}, expected one for all: "
            "segment or restore"
        )
    rows = _chosen(dataset, names, tasks == {"restore"}, count, seed)
    samples, key_lines = [], []
    for number, row in enumerate(track(rows, f"{len(rows)} volumes", transient=True)):
        volume = open_row(row)
        raw = volume.read(channels=[0])[0]
        image = normalize(raw, measure_intensity(volume)).astype(np.float32, copy=False)
        order = keyed_rng("blind letters", seed, number).permutation(len(models))
        results = {
            _LETTERS[place]: _result(
                models[model].asked(row.structure), image, volume.voxel_size_um
            )
            for place, model in enumerate(order)
        }
        samples.append(BlindSample(row.id, image, results, volume.voxel_size_um))
        key_lines += [(row.id, _LETTERS[p], names[model]) for p, model in enumerate(order)]
    out.mkdir(parents=True, exist_ok=True)
    _write(key, ("sample", "letter", "run"), key_lines)
    _write(out / "rating.csv", ("sample", "letter", "rating"), [(*k[:2], "") for k in key_lines])
    return write_blind_page(out / "rate.html", samples)


def _fine_tuned(name: str) -> TaskWeights:
    dense = open_dense(name)
    if dense.task is None:
        raise InputError(f"{name}: pretrained weights, expected runs of luxvox finetune")
    return dense.told()


def _chosen(
    dataset: str | Path, runs: Sequence[str], restore: bool, count: int, seed: int
) -> list[Row]:
    """Volumes that no run has learnt from, drawn and then in the order of the list."""
    learnt = {row for run in runs for row in learnt_from(run)[0]}
    rows = [row for row in read_dataset(dataset, restore=restore).rows if row.id not in learnt]
    if not rows:
        raise InputError(
            f"{dataset}: the runs have learnt from every row, so nothing is left to rate; give a "
            "list with other volumes"
        )
    drawn = keyed_rng("blind volumes", seed, 0).permutation(len(rows))[:count]
    return [rows[place] for place in sorted(drawn)]


def _result(
    weights: TaskWeights, image: NDArray[np.float32], voxel_size_um: VoxelSize | None
) -> NDArray[Any]:
    found = predict_image(weights, image, voxel_size_um)
    return found[0] if weights.task.task == "restore" else found_labels(weights, found)


def _write(path: Path, header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(lines)
