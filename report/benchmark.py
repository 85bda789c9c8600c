"""DIR/benchmark.html: a benchmark on one self-contained page, from the files in its folder."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..configs.errors import InputError
from .benchmark_figures import KShots, draw_k_shots
from .benchmark_pictures import draw_samples, read_planes
from .figures import DARK, LIGHT
from .page import Number, Page

Line = dict[str, str]

_LABELS = {"dice": "Dice", "psnr": "PSNR (dB)", "correct": "balanced accuracy"}
_MOST_METRICS = 10


def write_benchmark_page(folder: Path) -> Path:
    """Write the page of a benchmark.

    Args:
        folder: holds summary.csv, paired.csv, summary.md, and pictures/*.npz.

    Returns:
        Path of benchmark.html in that folder.

    Raises:
        InputError: no benchmark lies there, or one of its files is damaged.
    """
    summary, paired = read_lines(folder / "summary.csv"), read_lines(folder / "paired.csv")
    lists = list(dict.fromkeys((line["dataset"], line["task"]) for line in summary))
    methods = list(dict.fromkeys(line["method"] for line in summary))
    page = Page(
        title=f"Benchmark: {folder.resolve().name}",
        lead=f"{len(lists)} lists, {len(methods)} methods, the same draws for all of them",
    )
    for dataset, task in lists:
        mine = [line for line in summary if (line["dataset"], line["task"]) == (dataset, task)]
        page.heading(f"{dataset}: {task}")
        rows = "headline" if any(line["rows"] == "headline" for line in mine) else "all"
        if rows == "all":
            page.paragraph(
                "Every group that judges was in the pretraining of some weights (transductive): "
                "there is no headline, these are all samples."
            )
        if any(line["within_volume"] == "true" for line in mine):
            page.paragraph("One volume, cut along z with a gap: results are within that volume.")
        shown = [line for line in mine if line["rows"] == rows]
        _add_plot(page, dataset, task, shown)
        _add_tables(page, shown)
        same = [line for line in paired if (line["dataset"], line["task"]) == (dataset, task)]
        _add_paired(page, [line for line in same if line["rows"] == rows])
        if rows == "headline" and any(line["rows"] == "all" for line in mine):
            page.paragraph("With transductive samples too:", soft=True)
            _add_tables(page, [line for line in mine if line["rows"] == "all"])
        _add_pictures(page, folder, dataset, task, methods)
    page.heading("All of it in words")
    if (folder / "summary.md").is_file():
        page.folded("summary.md", (folder / "summary.md").read_text(encoding="utf-8"))
    page.paragraph("Every sample, draw and seed stands in results.csv beside this page.", soft=True)
    return page.write(folder / "benchmark.html")


def _add_plot(page: Page, dataset: str, task: str, lines: Sequence[Line]) -> None:
    metric = _headline(lines)
    curves = [_curve(method, of) for method, of in _by(lines, "method", metric)]
    label = _LABELS[metric]
    page.picture(
        *(draw_k_shots(curves, label, theme) for theme in (LIGHT, DARK)),
        alt=f"{label} over the number of labelled crops, for each method on {dataset}",
        caption=f"{label} over K, with 95 % intervals over groups where there are several.",
    )


def _add_tables(page: Page, lines: Sequence[Line]) -> None:
    metrics = list(dict.fromkeys(line["metric"] for line in lines))[:_MOST_METRICS]
    for shots in sorted({int(line["shots"]) for line in lines}):
        mine = [line for line in lines if int(line["shots"]) == shots]
        found = {(line["method"], line["metric"]): line for line in mine}
        best = {
            metric: max(float(line["mean"]) for line in mine if line["metric"] == metric)
            for metric in (_headline(mine),)
        }
        body = []
        for method in dict.fromkeys(line["method"] for line in mine):
            row: list[str | Number] = [method]
            for metric in metrics:
                line = found.get((method, metric))
                mean = "" if line is None else f"{float(line['mean']):.3f}"
                leads = line is not None and float(line["mean"]) == best.get(metric)
                row.append(Number(mean, True if leads else None))
            row.append(Number(_interval(found.get((method, _headline(mine))))))
            body.append(row)
        counts = mine[0]
        page.paragraph(
            f"K = {shots}: {max(int(line['samples']) for line in mine)} samples of "
            f"{max(int(line['groups']) for line in mine)} groups, {counts['draws']} draws."
        )
        page.table(("method", *metrics, f"interval of {_headline(mine)}"), body)


def _add_paired(page: Page, lines: Sequence[Line]) -> None:
    if not lines:
        return
    page.paragraph("Paired differences, on the same draws and samples:")
    body: list[list[str | Number]] = []
    for line in lines:
        sure = None if not line["low"] else float(line["low"]) > 0 or float(line["high"]) < 0
        gain = float(line["difference"])
        body.append(
            [
                line["shots"],
                f"{line['method']} - {line['minus']}",
                Number(f"{gain:+.3f}", gain > 0 if sure else None),
                Number(_interval(line)),
                Number(f"{float(line['better']):.0%}"),
                Number(line["groups"]),
                Number(line["p"] and f"{float(line['p']):.3f}"),
            ]
        )
    header = ("K", "methods", lines[0]["metric"], "95 % interval", "better in", "groups", "p")
    page.table(header, body)


def _add_pictures(
    page: Page, folder: Path, dataset: str, task: str, methods: Sequence[str]
) -> None:
    """Best, median and worst sample at the fewest shots, with what every method made of it."""
    planes = [
        kept
        for kept in map(read_planes, sorted((folder / "pictures").glob(f"{dataset}__{task}__*")))
        if (kept.dataset, kept.task) == (dataset, task)
    ]
    if not planes:
        return
    fewest = min(kept.shots for kept in planes)
    mine = {kept.method: kept for kept in planes if kept.shots == fewest}
    chosen = {name: mine[name] for name in methods if name in mine}
    judge = chosen.get("pretrained") or next(iter(chosen.values()))
    order = sorted(judge.samples, key=lambda name: -judge.samples[name])
    shown = list(dict.fromkeys((order[0], order[len(order) // 2], order[-1])))
    words = "Restored images." if task == "restore" else "Blue: labelled; orange: found."
    page.picture(
        *(draw_samples(chosen, shown, theme) for theme in (LIGHT, DARK)),
        alt=f"Planes of {', '.join(shown)} with what each method found",
        caption=f"Best, median and worst sample of {judge.method} at K = {fewest}, first draw. "
        f"{words} The number is that sample's {_LABELS.get(judge.metric, judge.metric)}.",
    )


def _curve(method: str, lines: Sequence[Line]) -> KShots:
    ordered = sorted(lines, key=lambda line: int(line["shots"]))
    ends = [(float(line["low"]), float(line["high"])) if line["low"] else None for line in ordered]
    return KShots(
        method,
        tuple(int(line["shots"]) for line in ordered),
        tuple(float(line["mean"]) for line in ordered),
        tuple(ends),
    )


def _interval(line: Line | None) -> str:
    if line is None or not line["low"]:
        return ""
    return f"{float(line['low']):.3f} to {float(line['high']):.3f}"


def _headline(lines: Sequence[Line]) -> str:
    """The metric that is plotted: the first that has a name of its own."""
    return next(line["metric"] for line in lines if line["metric"] in _LABELS)


def _by(lines: Iterable[Line], key: str, metric: str) -> list[tuple[str, list[Line]]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        if line["metric"] == metric:
            found.setdefault(line[key], []).append(line)
    return list(found.items())


def read_lines(path: Path) -> list[Line]:
    """Rows of a table that a benchmark wrote.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); give the folder that luxvox benchmark wrote"
        ) from None
