"""summary.md: the tables as documentation shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...configs.whole_file import write_whole
from ..examples import Task
from .plan import LABELS, METRIC

Line = dict[str, Any]


def write_markdown(
    path: Path,
    summary: Sequence[Line],
    paired: Sequence[Line],
    agreement: Sequence[Line],
    notes: Sequence[str],
) -> None:
    """Write the headline metric of every list, paired differences, and what has to be known.

    Args:
        path: of the file.
        summary, paired: lines of the tables.
        agreement: of expected with true Dice.
        notes: one a line.
    """
    parts = ["# Benchmark", ""]
    lists = dict.fromkeys((line["dataset"], line["task"]) for line in summary)
    for dataset, task in lists:
        parts += [f"## {dataset}, {task}", ""]
        of = [
            line
            for line in summary
            if (line["dataset"], line["task"], line["metric"]) == (dataset, task, METRIC[task])
        ]
        for rows in ("headline", "all"):
            lines = [line for line in of if line["rows"] == rows]
            if lines:
                parts += _means(lines, rows, task)
        lines = [line for line in paired if (line["dataset"], line["task"]) == (dataset, task)]
        if lines:
            parts += _paired(lines, task)
    if agreement:
        parts += _agreement(agreement)
    if notes:
        parts += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    write_whole(path, "\n".join(parts))


def interval(line: Line, name: str = "mean") -> str:
    """A mean with its interval: 0.412 [0.310, 0.520]."""
    digits = 2 if line["metric"] == "psnr" else 3
    if line["low"] is None:
        return f"{line[name]:.{digits}f}"
    return f"{line[name]:.{digits}f} [{line['low']:.{digits}f}, {line['high']:.{digits}f}]"


def _means(lines: Sequence[Line], rows: str, task: Task) -> list[str]:
    shots = sorted({line["shots"] for line in lines})
    found = {(line["method"], line["shots"]): line for line in lines}
    first = lines[0]
    within = ", within one volume" if first["within_volume"] else ""
    kind = "all samples, transductive ones too" if rows == "all" else "no transductive samples"
    if "unknown" in first["transductive"]:
        kind = "samples may be transductive: some weights do not say what they have seen"
    words = (
        f"{LABELS[METRIC[task]]}: mean and 95 % interval over groups, then the standard deviation "
        f"over draws ({kind}{within})."
    )
    header = ["method", *(f"K = {k}" for k in shots)]
    body = []
    for method in dict.fromkeys(line["method"] for line in lines):
        cells = [method]
        for k in shots:
            line = found.get((method, k))
            spread = None if line is None else line["draw_sd"]
            said = "" if spread is None else f" ± {spread:.3f}"
            cells.append("" if line is None else interval(line) + said)
        body.append(cells)
    for word in ("samples", "groups", "draws", "seeds"):
        most = [max(line[word] for line in lines if line["shots"] == k) for k in shots]
        body.append([word, *map(str, most)])
    return [words, "", *_table(header, body), ""]


def _paired(lines: Sequence[Line], task: Task) -> list[str]:
    header = ["K", "difference", LABELS[METRIC[task]], "better in", "groups", "p (Wilcoxon)"]
    body = []
    for line in lines:
        if line["rows"] == "all" and any(
            other["rows"] == "headline" and other["minus"] == line["minus"] for other in lines
        ):
            continue
        p = "" if line["p"] is None else f"{line['p']:.3f}"
        body.append(
            [
                str(line["shots"]),
                f"{line['method']} - {line['minus']}",
                interval(line, "difference"),
                f"{line['better']:.0%}",
                str(line["groups"]),
                p,
            ]
        )
    return ["Paired on the same draws and samples:", "", *_table(header, body), ""]


def _agreement(lines: Sequence[Line]) -> list[str]:
    header = ["list", "method", "K", "n", "correlation", "error after calibration"]
    body = [
        [
            line["dataset"],
            line["method"],
            str(line["shots"]),
            str(line["n"]),
            *("" if line[key] is None else f"{line[key]:.3f}" for key in _AGREEMENT),
        ]
        for line in lines
    ]
    words = (
        "What a model expects of its own Dice, from its probabilities alone, against the true one: "
        "correlation, and mean absolute error of a line fitted on the other groups."
    )
    return ["## Expected without labels", "", words, "", *_table(header, body), ""]


_AGREEMENT = ("correlation", "calibrated_error")


def _table(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *body]
    return [f"| {' | '.join(line)} |" for line in lines]
