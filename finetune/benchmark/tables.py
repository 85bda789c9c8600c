"""From cells to tables: results.csv, summary.csv, paired.csv, summary.md.

The value of a sample is its mean over the draws and seeds in which it judged; means and intervals
are over samples and groups. How much draws matter stands beside them.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...configs.whole_file import whole_file
from ..cell_file import hash_of
from ..examples import Task
from .cells import read_cells
from .markdown import write_markdown
from .plan import METHODS, METRIC, REFERENCE
from .statistics import correlation, estimate, left_out_lines, signed_rank_p

_WORDS = ("class", "found")
_FIRST = (
    "dataset", "task", "method", "shots", "draw", "seed", "sample", "group", "within_volume",
    "transductive",
)  # fmt: skip


class Table(NamedTuple):
    """Columns and lines."""

    columns: tuple[str, ...]
    lines: list[dict[str, Any]]


def write_tables(out: Path, notes: Sequence[str]) -> None:
    """Write all tables of a benchmark from its cells.

    Args:
        out: its folder.
        notes: what was left out, for summary.md.
    """
    cells = read_cells(out)
    results = long_table(cells)
    summary = summarise(results)
    paired = pair(results)
    _write(out / "results.csv", results)
    _write(out / "summary.csv", summary)
    _write(out / "paired.csv", paired)
    told = [*notes, *_warnings(cells, results)]
    write_markdown(out / "summary.md", summary.lines, paired.lines, _agreement(results), told)


def long_table(cells: Iterable[dict[str, Any]]) -> Table:
    """One line for each sample of each cell.

    A sample is transductive if its group was in the pretraining of any weights that the list is
    compared with: it is left out for all methods, or for none.
    """
    cells = list(cells)
    seen = _seen_groups(cells)
    lines: list[dict[str, Any]] = []
    metrics: dict[str, None] = {}
    for cell in sorted(cells, key=_order):
        for sample in cell["samples"]:
            known, unknown = seen[cell["dataset"], cell["task"]]
            state = "yes" if sample["group"] in known else "unknown" if unknown else "no"
            line = {name: cell[name] for name in _FIRST[:6]}
            line |= {"sample": sample["id"], "group": sample["group"], "transductive": state}
            line["within_volume"] = bool(cell["settings"]["within_volume"])
            values = {k: v for k, v in sample.items() if k not in ("id", "group")}
            metrics |= dict.fromkeys(values)
            lines.append({**line, **values, "seconds": cell["seconds"]})
    return Table((*_FIRST, *metrics, "seconds"), lines)


def summarise(results: Table) -> Table:
    """Means with intervals, of every metric, for each list, task, method and K.

    `rows` is "headline" (without transductive samples) or "all", which stands there only where it
    differs. `draw_sd`: standard deviation of the means of single draws.
    """
    columns = (
        "dataset", "task", "method", "shots", "rows", "metric", "mean", "low", "high", "draw_sd",
        "samples", "groups", "draws", "seeds", "within_volume", "transductive",
    )  # fmt: skip
    lines = []
    for (dataset, task, method, shots), of in _grouped(results.lines):
        for rows, kept in _scopes(of):
            known = {"dataset": dataset, "task": task, "method": method, "shots": shots}
            known |= {
                "rows": rows,
                "draws": len({line["draw"] for line in kept}),
                "seeds": len({line["seed"] for line in kept}),
                "within_volume": any(line["within_volume"] for line in kept),
                "transductive": "/".join(sorted({line["transductive"] for line in kept})),
            }
            for metric in _metrics(results):
                with_it = [line for line in kept if line.get(metric) is not None]
                if with_it:
                    lines.append(known | {"metric": metric} | _estimate(with_it, metric, task))
    return Table(columns, lines)


def pair(results: Table) -> Table:
    """The reference method minus every other, on the same draws and samples.

    `p` is Wilcoxon's, over groups, where there are six or more. `better`: share of the samples.
    """
    columns = (
        "dataset", "task", "shots", "rows", "metric", "method", "minus", "difference", "low",
        "high", "better", "samples", "groups", "p",
    )  # fmt: skip
    lines = []
    by_cell = dict(_grouped(results.lines))
    for (dataset, task, method, shots), of in by_cell.items():
        first = REFERENCE[task]
        mine = by_cell.get((dataset, task, first, shots))
        if method == first or mine is None:
            continue
        metric = METRIC[task]
        for rows, kept in _scopes(mine):
            found = _differences(kept, of, metric)
            if not found:
                continue
            values, groups, classes = (list(each) for each in zip(*found, strict=True))
            mean, low, high = estimate(values, groups, classes if task == "classify" else None)
            lines.append(
                {
                    "dataset": dataset, "task": task, "shots": shots, "rows": rows,
                    "metric": metric, "method": first, "minus": method, "difference": mean,
                    "low": low, "high": high, "better": float(np.mean(np.array(values) > 0)),
                    "samples": len(values), "groups": len(set(groups)),
                    "p": signed_rank_p(values, groups),
                }
            )  # fmt: skip
    return Table(columns, lines)


def _differences(
    mine: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], metric: str
) -> list[tuple[float, str, str]]:
    """(difference, group, class) of each sample: the mean over draws (and seeds) both have."""
    values: dict[tuple[int, int, str], float] = {
        (line["draw"], line["seed"], line["sample"]): line[metric] for line in other
    }
    differences: dict[str, list[float]] = defaultdict(list)
    facts: dict[str, tuple[str, str]] = {}
    for line in mine:
        draw, sample = line["draw"], line["sample"]
        # A method without chance has one seed, which stands for all.
        its = values.get((draw, line["seed"], sample), values.get((draw, 0, sample)))
        if its is not None:
            differences[sample].append(line[metric] - its)
            facts[sample] = (line["group"], str(line.get("class")))
    return [(float(np.mean(of)), *facts[sample]) for sample, of in differences.items()]


def _estimate(lines: Sequence[dict[str, Any]], metric: str, task: Task) -> dict[str, Any]:
    by_sample: dict[str, list[dict[str, Any]]] = defaultdict(list)
    by_draw: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        by_sample[line["sample"]].append(line)
        by_draw[line["draw"]].append(line)
    groups = [of[0]["group"] for of in by_sample.values()]
    balanced = task == "classify"
    classes = [str(of[0].get("class")) for of in by_sample.values()] if balanced else None
    values = [float(np.mean([line[metric] for line in of])) for of in by_sample.values()]
    mean, low, high = estimate(values, groups, classes)
    draws = [
        estimate(
            [line[metric] for line in of],
            ["-"] * len(of),
            [str(line.get("class")) for line in of] if balanced else None,
        ).mean
        for of in by_draw.values()
    ]
    spread = float(np.std(draws, ddof=1)) if len(draws) > 1 else None
    return {
        "mean": mean, "low": low, "high": high, "draw_sd": spread, "samples": len(values),
        "groups": len(set(groups)),
    }  # fmt: skip


def _agreement(results: Table) -> list[dict[str, Any]]:
    """How well the Dice that a model expects of itself agrees with the true one."""
    found = []
    for (dataset, task, method, shots), of in _grouped(results.lines):
        given = [line for line in of if line.get("expected_dice") is not None]
        if task != "segment" or not given:
            continue
        raw, truth = ([line[name] for line in given] for name in ("expected_dice", "dice"))
        fitted = left_out_lines(raw, truth, [line["group"] for line in given])
        pairs = [(f, t) for f, t in zip(fitted, truth, strict=True) if f is not None]
        error = float(np.mean([abs(f - t) for f, t in pairs])) if pairs else None
        found.append(
            {
                "dataset": dataset, "method": method, "shots": shots, "n": len(given),
                "correlation": correlation(raw, truth), "calibrated_error": error,
            }
        )  # fmt: skip
    return found


def _scopes(lines: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    honest = [line for line in lines if line["transductive"] != "yes"]
    if len(honest) == len(lines):
        return [("headline", lines)]
    return [("headline", honest), ("all", lines)] if honest else [("all", lines)]


def _grouped(
    lines: Iterable[dict[str, Any]],
) -> list[tuple[tuple[str, Task, str, int], list[dict[str, Any]]]]:
    found: dict[tuple[str, Task, str, int], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        found[line["dataset"], line["task"], line["method"], line["shots"]].append(line)
    return list(found.items())


def _metrics(results: Table) -> list[str]:
    return [name for name in results.columns if name not in (*_FIRST, *_WORDS, "seconds")]


def _seen_groups(cells: Sequence[dict[str, Any]]) -> dict[tuple[str, str], tuple[set[str], bool]]:
    """Of each list: groups that some weights have seen, and whether some do not say."""
    seen: dict[tuple[str, str], tuple[set[str], bool]] = {}
    for cell in cells:
        groups, unknown = seen.get((cell["dataset"], cell["task"]), (set(), False))
        its = cell["weights_groups"]
        seen[cell["dataset"], cell["task"]] = (groups | set(its or ()), unknown or its is None)
    return seen


def _warnings(cells: Sequence[dict[str, Any]], results: Table) -> list[str]:
    """What a reader of the tables has to know."""
    told = []
    for (dataset, task), of in _by(cells, "dataset", "task"):
        # What all trained methods share; where they start from may differ.
        budgets = {
            hash_of({k: v for k, v in cell["settings"]["recipe"].items() if k in _BUDGET})
            for cell in of
            if "recipe" in cell["settings"]
        }
        if len(budgets) > 1:
            told.append(
                f"{dataset}, {task}: trained with {len(budgets)} different budgets or augmentations"
            )
    for (dataset, task), of in _by(results.lines, "dataset", "task"):
        states = {line["transductive"] for line in of}
        if states == {"yes"}:
            told.append(f"{dataset}, {task}: every sample is transductive; no headline")
        if "unknown" in states:
            told.append(
                f"{dataset}, {task}: some weights do not say what they were pretrained on; samples "
                "may be transductive"
            )
        if any(line["within_volume"] for line in of):
            told.append(f"{dataset}, {task}: one group, cut within the volume; no interval")
    return told


_BUDGET = ("steps", "minutes", "batch_size", "crop", "augment", "clip", "warmup", "average")


def _by(lines: Iterable[dict[str, Any]], *keys: str) -> list[tuple[tuple[Any, ...], list[Any]]]:
    found: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for line in lines:
        found[tuple(line[key] for key in keys)].append(line)
    return list(found.items())


def _order(cell: dict[str, Any]) -> tuple[Any, ...]:
    methods = METHODS[cell["task"]]
    place = methods.index(cell["method"]) if cell["method"] in methods else len(methods)
    return cell["dataset"], cell["task"], cell["shots"], place, cell["draw"], cell["seed"]


def _write(path: Path, table: Table) -> None:
    with whole_file(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, table.columns, restval="")
        writer.writeheader()
        for line in table.lines:
            writer.writerow({name: _cell(value) for name, value in line.items()})


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else value
