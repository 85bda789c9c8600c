"""`luxvox evaluate`: the metrics of a task for every row of a list, their means, and pictures.

Rows that were learnt from are marked, and so are rows of the same animal: the means without them
are given too, because the others flatter.
"""

from __future__ import annotations

import functools
import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ..configs.errors import InputError
from ..configs.whole_file import write_whole
from ..data.manifest import read_dataset
from ..data.row import Row
from ..models.metrics.classification import classification_metrics, confusion_matrix
from ..predict.image import classify_image, voxel_size_warning
from ..predict.task_weights import Task, TaskWeights, load_task
from ..predict.volume import choose_device
from ..report.cases import Case, load_cases, save_cases
from ..report.evaluation import MEANS, metric_names, sample_names, shown, write_evaluation_page
from .examples import Example, load_example
from .found import Found, find_in
from .learnt_from import learnt_from
from .pictures import case_of
from .tasks.restore import restore_metrics
from .tasks.segment import segment_metrics

_JUDGE = {"segment": "dice", "restore": "psnr", "classify": "probability_of_truth"}


def evaluate(
    run: str | Path,
    dataset: str | Path,
    json_out: str | Path | None = None,
    task: Task | None = None,
    structure: str | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Judge weights on every row of a list.

    Args:
        run: a fine-tuned RUN; or pretrained weights, with `task`.
        dataset: a list, or a folder in a known layout; rows of every split are used.
        json_out: where the result goes; an HTML page is written beside it.
        task: of pretrained weights.
        structure: what pretrained weights are to find; None = what each row says.
        device: where the model runs.

    Returns:
        "mean": metric -> mean over the samples; "samples": one dict a row with "id", its metrics,
        "in_support" (learnt from) and "group_in_support" (of the same group as one of those);
        "mean_without_support" and "mean_other_groups": means without such rows, where there are
        any such rows and others; "task", "notes"; of classification "classes" and "confusion"
        (row = true class). All numbers are finite: PSNR is cut at 100 dB. Where a voxel size is
        unknown, "nsd" counts in voxels, and "spacing_known" is false.

    Raises:
        InputError: no such weights; or a row lacks what the task needs, or does not fit it.
    """
    place = None if json_out is None else _checked_place(Path(json_out))
    load = functools.cache(lambda name: load_task(run, task, name, device))
    first: TaskWeights = load(structure)
    kind = first.task.task
    rows = read_dataset(dataset, restore=kind == "restore").rows
    support = learnt_from(run)
    untold = bool(first.task.structures) or not first.fine_tuned
    by_row = kind == "segment" and untold and structure is None
    samples: list[dict[str, Any]] = []
    warned = kind != "classify"  # others are resampled, and say so
    # On disk: the pictures of a long list would fill the memory.
    with tempfile.TemporaryDirectory(prefix="luxvox-") as folder:
        for number, row in enumerate(track(rows, f"{kind} {len(rows)} rows", transient=True)):
            weights: TaskWeights = first
            if by_row:
                weights = load(row.structure).asked(row.structure)
            example = load_example(
                row, kind, weights.task.label_values, weights.task.foreground_label
            )
            if not warned and (warning := voxel_size_warning(weights, example.voxel_size_um)):
                print(f"warning: {row.where}: {warning}", file=sys.stderr)
                warned = True
            try:
                found = None if kind == "classify" else find_in(weights, row, example)
                sample = _score(weights, example, found)
            except InputError as error:
                raise InputError(f"{row.where}: {error}") from error
            samples.append({"id": row.id, **sample})
            if place is not None:
                case = case_of(
                    example, kind, None if found is None else found.answer, _note(sample, kind)
                )
                save_cases(Path(folder) / f"{number}.npz", [case])
        _mark_support(samples, rows, support)
        result = {"task": kind, **_means(samples, first), "notes": _notes(samples)}
        result["samples"] = samples
        if place is not None:
            _write_json(place, result)
            title = f"{kind}: {Path(run).resolve().name} on {Path(dataset).name}"
            cases = _extremes(samples, Path(folder), _JUDGE[kind])
            write_evaluation_page(place.with_suffix(".html"), title, result, cases)
    return result


def evaluate_command(
    run: str,
    dataset: str,
    json_out: Path | None = None,
    task: Task | None = None,
    structure: str | None = None,
) -> None:
    """Evaluate and print a table; the body of `luxvox evaluate`. Arguments as `evaluate`."""
    result = evaluate(run, dataset, json_out, task, structure, choose_device("auto"))
    console = Console()
    names = sample_names(result)
    samples = Table("sample", *names)
    for sample in result["samples"]:
        learnt = " *" if sample["in_support"] else ""
        samples.add_row(f"{sample['id']}{learnt}", *(shown(sample.get(name)) for name in names))
    names = metric_names(result)
    means = Table("mean of", *names)
    for key in MEANS:
        if result.get(key):
            means.add_row(key, *(shown(result[key].get(name)) for name in names))
    console.print(samples, means)
    for note in result["notes"]:
        console.print(f"note: {note}", highlight=False)
    if json_out is not None:
        print(f"{json_out}, {json_out.with_suffix('.html')}")


def _score(weights: TaskWeights, example: Example, found: Found | None) -> dict[str, Any]:
    if found is None:
        return _classify(weights, example)
    if weights.task.task == "segment":
        return _segment(weights, example, found)
    return restore_metrics(found.answer, example)


def _segment(weights: TaskWeights, example: Example, found: Found) -> dict[str, Any]:
    if example.counts is not None and not example.counts.any():
        # Nothing to miss would count as perfect.
        raise InputError(
            "every voxel of the labels is ignored, expected some that count; check the column "
            "'ignore_label', or take the row out"
        )
    classes = max(1, len(weights.task.classes) - 1)
    scores = segment_metrics(found.answer, example, classes, found.objects)
    return scores | {"spacing_known": example.voxel_size_um is not None}


def _classify(weights: TaskWeights, example: Example) -> dict[str, Any]:
    names = weights.task.classes
    if example.class_name not in names:
        raise InputError(
            f"class {example.class_name!r}, expected one of those learnt from: "
            f"{', '.join(names)}; correct the column 'class', or take the row out"
        )
    probabilities = classify_image(weights, example.image, example.voxel_size_um)
    return {
        "class": example.class_name,
        "found": names[int(probabilities.argmax())],
        "probabilities": {
            name: float(value) for name, value in zip(names, probabilities, strict=True)
        },
        "probability_of_truth": float(probabilities[names.index(str(example.class_name))]),
    }


def _mark_support(
    samples: Sequence[dict[str, Any]], rows: Sequence[Row], support: tuple[set[str], set[str]]
) -> None:
    """Say of every sample whether it, or another of its group, was learnt from."""
    ids, groups = support
    for sample, row in zip(samples, rows, strict=True):
        sample["in_support"] = row.id in ids
        sample["group_in_support"] = row.group in groups or row.id in ids


def _means(samples: Sequence[dict[str, Any]], weights: TaskWeights) -> dict[str, Any]:
    """Means over all samples, and over those that flatter less; of classes also the confusion."""
    names = weights.task.classes
    summarise: Callable[[Sequence[Mapping[str, Any]]], dict[str, float]] = _mean
    extra: dict[str, Any] = {}
    if weights.task.task == "classify":
        summarise = functools.partial(_class_metrics, names=names)
        matrix = confusion_matrix(*_numbers(samples, names), len(names))
        extra = {"classes": list(names), "confusion": matrix.tolist()}
    found: dict[str, Any] = {"mean": summarise(samples)}
    for key, mark in (
        ("mean_without_support", "in_support"), ("mean_other_groups", "group_in_support")
    ):  # fmt: skip
        rest = [sample for sample in samples if not sample[mark]]
        if 0 < len(rest) < len(samples):
            found[key] = summarise(rest)
    return found | extra


def _mean(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of each metric, over the samples that have it."""
    values: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.items():
            if isinstance(value, float):
                values.setdefault(name, []).append(value)
    return {name: float(np.mean(held)) for name, held in values.items()}


def _class_metrics(
    samples: Sequence[Mapping[str, Any]], names: tuple[str, ...]
) -> dict[str, float]:
    return classification_metrics(*_numbers(samples, names), len(names))


def _numbers(
    samples: Sequence[Mapping[str, Any]], names: tuple[str, ...]
) -> tuple[list[int], list[int]]:
    """Found and true classes as numbers."""
    found = [names.index(sample["found"]) for sample in samples]
    return found, [names.index(sample["class"]) for sample in samples]


def _notes(samples: Sequence[Mapping[str, Any]]) -> list[str]:
    """What has to be known to read the numbers."""
    notes = []
    unknown = sum(sample.get("spacing_known") is False for sample in samples)
    if unknown:
        notes.append(
            f"nsd: {unknown} of {len(samples)} samples have no known voxel size; for them "
            "distances are in voxels, the tolerance is one voxel"
        )
    learnt = sum(sample["in_support"] for sample in samples)
    if learnt:
        notes.append(f"{learnt} of {len(samples)} samples were learnt from (*)")
    return notes


def _note(sample: Mapping[str, Any], task: str) -> str:
    """What stands below the picture of a sample."""
    if task == "classify":
        return f"{sample['class']}, found: {sample['found']}"
    return f"{_JUDGE[task]} {sample[_JUDGE[task]]:.3f}"


def _extremes(samples: Sequence[Mapping[str, Any]], folder: Path, judge: str) -> list[Case]:
    """The best, a middling and the worst sample; fewer where there are fewer."""
    order = sorted(range(len(samples)), key=lambda place: -samples[place][judge])
    chosen = dict.fromkeys((order[0], order[len(order) // 2], order[-1]))
    return [case for place in chosen for case in load_cases(folder / f"{place}.npz")]


def _checked_place(path: Path) -> Path:
    if path.suffix.lower() != ".json":
        raise InputError(f"{path}: expected a name in .json; the page takes the same with .html")
    if path.is_dir():
        raise InputError(f"{path}: a folder, expected the name of a file; give another --json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: its folder cannot be made: {error.strerror}") from error
    return path


def _write_json(path: Path, result: Mapping[str, Any]) -> None:
    strange = [
        f"{sample['id']}: {name}"
        for sample in result["samples"]
        for name, value in sample.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    assert not strange, f"no finite number: {strange}"
    write_whole(path, json.dumps(result, indent=1, allow_nan=False) + "\n")
