"""DIR/benchmark.html of focus methods: one self-contained page from the tables in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..configs.errors import InputError
from .benchmark import Line, read_lines
from .figures import DARK, LIGHT, Theme, new_figure, style_axes, to_png
from .page import Number, Page

_SHOWN: Mapping[str, str] = {
    "srcc": "SRCC",
    "best_error": "best slice off (slices)",
    "mae": "MAE ({unit})",
    "mae_um": "MAE (um)",
    "exact": "level exact",
    "within_1": "within 1",
    "within_dof": "within DOF",
    "monotone": "ordered pairs",
    "auc": "in/out AUC",
    "coverage": "90 % covers",
    "width": "width ({unit})",
    "answered": "answered",
    "empty_scored": "empty scored",
    "ms_per_slice": "ms a slice",
}
_PLOTTED: Mapping[str, str] = {
    "srcc": "SRCC of a stack",
    "best_error": "best slice off (slices)",
    "mae": "error ({unit})",
}
_LOWER = ("best_error", "mae", "mae_um", "width", "empty_scored", "ms_per_slice")


def write_focus_benchmark_page(folder: Path) -> Path:
    """Write the page of a comparison of focus methods.

    Args:
        folder: holds summary.csv, paired.csv, decision.json and summary.md.

    Returns:
        Path of benchmark.html in that folder.

    Raises:
        InputError: no comparison lies there, or one of its files is damaged.
    """
    lines, pairs = read_lines(folder / "summary.csv"), read_lines(folder / "paired.csv")
    decision = _decision(folder / "decision.json")
    conditions = list(dict.fromkeys((line["condition"], line["unit"]) for line in lines))
    methods = list(dict.fromkeys(line["method"] for line in lines))
    page = Page(
        title=f"Focus methods: {folder.resolve().name}",
        lead=f"{len(conditions)} conditions, {len(methods)} methods, the same stacks for all",
    )
    page.heading("The default")
    page.paragraph(f"By the decision rule: {decision[0]}.")
    for reason in decision[1]:
        page.paragraph(reason, soft=True)
    for of in conditions:
        mine = [line for line in lines if (line["condition"], line["unit"]) == of]
        page.heading(of[0])
        most = max(mine, key=lambda line: int(line["stacks"]))
        page.paragraph(f"{most['stacks']} stacks; 95 % intervals are over specimens.")
        _add_plots(page, of[0], mine)
        _add_table(page, mine)
        _add_pairs(page, [line for line in pairs if (line["condition"], line["unit"]) == of])
    page.heading("All of it in words")
    if (folder / "summary.md").is_file():
        page.folded("summary.md", (folder / "summary.md").read_text(encoding="utf-8"))
    page.paragraph("Every stack stands in results.csv beside this page.", soft=True)
    return page.write(folder / "benchmark.html")


def draw_methods(lines: Sequence[Line], metrics: Sequence[str], theme: Theme = LIGHT) -> bytes:
    """Means of methods with their intervals, one panel for each metric.

    Args:
        lines: of summary.csv, of one condition.
        metrics: of `_PLOTTED` that are there.
        theme: colours.

    Returns:
        PNG bytes.
    """
    methods = list(dict.fromkeys(line["method"] for line in lines))
    figure = new_figure(3.6 * len(metrics) + 1.6, 0.24 * len(methods) + 1.2, theme)
    for number, metric in enumerate(metrics, 1):
        axes = figure.add_subplot(1, len(metrics), number)
        found = {line["method"]: line for line in lines if line["metric"] == metric}
        for place, method in enumerate(methods):
            line = found.get(method)
            if line is None:
                continue
            if line["low"]:
                ends = [float(line["low"]), float(line["high"])]
                axes.plot(ends, [place, place], color=theme.soft, lw=1.4)
            axes.plot(float(line["mean"]), place, "o", color=theme.accents[0], markersize=5)
        axes.set_yticks(range(len(methods)), methods if number == 1 else [""] * len(methods))
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_title(_titled(_PLOTTED, metric, lines), loc="left", fontsize=10.5, color=theme.ink)
        style_axes(axes, theme)
        axes.tick_params(labelsize=8.5)
    figure.tight_layout()
    return to_png(figure)


def _add_plots(page: Page, condition: str, lines: Sequence[Line]) -> None:
    there = {line["metric"] for line in lines}
    metrics = [name for name in _PLOTTED if name in there]
    if metrics:
        titles = [_titled(_PLOTTED, name, lines) for name in metrics]
        page.picture(
            *(draw_methods(lines, metrics, theme) for theme in (LIGHT, DARK)),
            alt=f"{', '.join(titles)} of each method: {condition}",
            caption="Means over stacks, 95 % intervals over specimens.",
        )


def _add_table(page: Page, lines: Sequence[Line]) -> None:
    there = {line["metric"] for line in lines}
    shown = [name for name in _SHOWN if name in there]
    leading = {
        name: _best(name, [line for line in lines if line["metric"] == name]) for name in shown
    }
    body: list[list[str | Number]] = []
    for method in dict.fromkeys(line["method"] for line in lines):
        found = {line["metric"]: line for line in lines if line["method"] == method}
        row: list[str | Number] = [method]
        for name in shown:
            line = found.get(name)
            row.append(Number(_cell(name, line), True if line and line is leading[name] else None))
        body.append(row)
    page.table(("method", *(_titled(_SHOWN, name, lines) for name in shown)), body)


def _titled(titles: Mapping[str, str], metric: str, lines: Sequence[Line]) -> str:
    """What a metric is called, with the unit of the distances of `lines`, one for all of them."""
    return titles[metric].format(unit=lines[0]["unit"])


def _best(metric: str, lines: Sequence[Line]) -> Line | None:
    """The leading line; of what is no merit by itself, none."""
    if metric in ("coverage", "answered", "width", "ms_per_slice", "empty_scored"):
        return None
    choose = min if metric in _LOWER else max
    return choose(lines, key=lambda line: float(line["mean"]))


def _cell(metric: str, line: Line | None) -> str:
    if line is None:
        return ""
    undefined = f" ({line['undefined']} undefined)" if line["undefined"] != "0" else ""
    if metric == "best_error":
        said = f"{float(line['median']):.2f}, p95 {float(line['p95']):.1f}"
        return said + undefined
    if metric == "srcc":
        return f"{float(line['mean']):.3f}{undefined}"
    return f"{float(line['mean']):.3f}"


def _add_pairs(page: Page, lines: Sequence[Line]) -> None:
    if not lines:
        return
    page.paragraph("Paired differences, on the same stacks:")
    body: list[list[str | Number]] = []
    for line in lines:
        gain = float(line["difference"])
        sure = bool(line["low"]) and (float(line["low"]) > 0 or float(line["high"]) < 0)
        better = gain < 0 if line["metric"] in _LOWER else gain > 0
        ends = f"{float(line['low']):+.3f} to {float(line['high']):+.3f}" if line["low"] else ""
        body.append(
            [
                _titled(_SHOWN, line["metric"], lines),
                f"{line['method']} - {line['minus']}",
                Number(f"{gain:+.3f}", better if sure else None),
                Number(ends),
                Number(line["stacks"]),
                Number(line["p"] and f"{float(line['p']):.3f}"),
            ]
        )
    page.table(("metric", "methods", "difference", "95 % interval", "stacks", "p"), body)


def _decision(path: Path) -> tuple[str, list[str]]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return str(held["default"]), [str(reason) for reason in held["reasons"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); give the folder that luxvox benchmark wrote"
        ) from None
