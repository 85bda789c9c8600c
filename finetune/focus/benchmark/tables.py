"""The tables of the comparison: every stack, means with intervals, paired differences, in words."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....configs.whole_file import whole_file
from ...benchmark.statistics import estimate
from .cells import read_cells
from .decide import Decision, decide
from .judge import METRICS
from .paired import COLUMNS, Row, differences, grouped
from .plan import METHODS

KEYS = ("condition", "unit", "method", "stack", "group", "slices", "empty_slices")
_SUMMARY = (
    "condition", "unit", "method", "metric", "mean", "low", "high", "median", "p95", "stacks",
    "undefined", "groups",
)  # fmt: skip


def write_tables(out: Path, notes: Sequence[str]) -> None:
    """Write results.csv, summary.csv, paired.csv, decision.json and summary.md from the cells.

    Raises:
        InputError: a cell is damaged.
    """
    rows = _rows(out)
    lines = summary(rows)
    _write_csv(out / "results.csv", (*KEYS, *METRICS), rows)
    _write_csv(out / "summary.csv", _SUMMARY, lines)
    _write_csv(out / "paired.csv", COLUMNS, differences(rows))
    decision = decide(rows)
    text = json.dumps(decision._asdict(), indent=1, allow_nan=False) + "\n"
    (out / "decision.json").write_text(text, encoding="utf-8")
    (out / "summary.md").write_text(in_words(lines, decision, notes), encoding="utf-8")


def _rows(out: Path) -> list[Row]:
    order = {name: place for place, name in enumerate(METHODS)}
    cells = read_cells(out)
    cells.sort(key=lambda cell: (cell["condition"].startswith("stress"), cell["condition"]))
    cells.sort(key=lambda cell: order.get(cell["method"], len(order)))
    return [
        {"condition": cell["condition"], "unit": cell["unit"], "method": cell["method"], **row}
        for cell in cells
        for row in cell["rows"]
    ]


def summary(rows: Sequence[Row]) -> list[Row]:
    """Mean, interval over specimens, median and 95th percentile of each condition and method."""
    lines = []
    for (condition, unit, method), mine in grouped(rows, "condition", "unit", "method").items():
        for metric in METRICS:
            known = [row for row in mine if row[metric] is not None]
            if not known:
                continue
            values = [row[metric] for row in known]
            groups = [row["group"] for row in known]
            found = estimate(values, groups)
            lines.append({
                "condition": condition, "unit": unit, "method": method, "metric": metric,
                "mean": found.mean, "low": found.low, "high": found.high,
                "median": float(np.median(values)), "p95": float(np.quantile(values, 0.95)),
                "stacks": len(mine), "undefined": len(mine) - len(known),
                "groups": len(set(groups)),
            })  # fmt: skip
    return lines


def in_words(lines: Sequence[Row], decision: Decision, notes: Sequence[str]) -> str:
    """summary.md: a table for every condition, the decision, the notes."""
    parts = ["# Focus, compared", "", decision.words, ""]
    for (condition, unit), mine in grouped(lines, "condition", "unit").items():
        there = {line["metric"] for line in mine}
        shown = [name for name in _SHOWN if name in there]
        stacks = max(line["stacks"] for line in mine)
        groups = max(line["groups"] for line in mine)
        parts += [f"## {condition}", "", f"{stacks} stacks of {groups} specimens.", ""]
        header = ["method", *(_SHOWN[name].format(unit=unit) for name in shown)]
        parts += [_line(header), _line(["---"] * len(header))]
        for method, its in grouped(mine, "method").items():
            found = {line["metric"]: line for line in its}
            cells = [_cell(name, found.get(name)) for name in shown]
            parts.append(_line([method[0], *cells]))
        parts.append("")
    if notes:
        parts += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    return "\n".join(parts)


_SHOWN: Mapping[str, str] = {  # unit: of the distances of a condition
    "srcc": "SRCC",
    "best_error": "best slice off: median / p95",
    "mae": "MAE ({unit})",
    "within_1": "within 1 level",
    "monotone": "ordered pairs",
    "auc": "in/out AUC",
    "coverage": "90 % intervals cover",
    "answered": "answered",
    "empty_scored": "empty with a score",
    "ms_per_slice": "ms a slice",
}


def _cell(metric: str, line: Row | None) -> str:
    if line is None:
        return ""
    undefined = f" ({line['undefined']} undefined)" if line["undefined"] else ""
    if metric == "best_error":
        return f"{line['median']:.2f} / {line['p95']:.1f}{undefined}"
    if metric in ("srcc", "mae") and line["low"] is not None:
        interval = f" [{line['low']:.2f}, {line['high']:.2f}]"
        return f"{line['mean']:.3f}{interval}{undefined if metric == 'srcc' else ''}"
    if metric == "ms_per_slice":
        return f"{line['mean']:.1f}"
    if metric in ("answered", "empty_scored"):
        return f"{line['mean']:.1%}"
    return f"{line['mean']:.3f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with whole_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
