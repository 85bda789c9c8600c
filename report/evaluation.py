"""The page beside an evaluation: means, every sample, and pictures of the best, a middling and the
worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .cases import Case, draw_cases, legend
from .figures import DARK, LIGHT
from .page import Number, Page

MEANS = {
    "mean": "all samples",
    "mean_without_support": "without those learnt from",
    "mean_other_groups": "other groups than those learnt from",
}


def write_evaluation_page(
    path: Path, title: str, result: Mapping[str, Any], cases: Sequence[Case]
) -> Path:
    """Write one self-contained HTML page.

    Args:
        path: where it goes; its folder exists.
        title: of the page.
        result: what stands in the JSON: means, "samples", "notes".
        cases: best, median and worst sample, in that order.

    Returns:
        The same path.
    """
    page = Page(title=title, lead=f"{len(result['samples'])} samples")
    add_means(page, result)
    for note in result.get("notes", ()):
        page.paragraph(note, soft=True)
    add_cases(page, "Best, median, worst", cases)
    page.heading("Every sample")
    names = sample_names(result)
    page.table(
        ("sample", *names, ""),
        [
            [
                str(sample["id"]),
                *(Number(shown(sample.get(name))) for name in names),
                "learnt from" if sample.get("in_support") else "",
            ]
            for sample in result["samples"]
        ],
    )
    return page.write(path)


def add_means(page: Page, result: Mapping[str, Any]) -> None:
    """Add the table of means."""
    page.heading("How good is it?")
    names = metric_names(result)
    rows = [
        [words, *(Number(shown(result[key].get(name))) for name in names)]
        for key, words in MEANS.items()
        if result.get(key)
    ]
    page.table(("mean of", *names), rows)


def add_cases(page: Page, heading: str, cases: Sequence[Case]) -> None:
    """Add pictures of cases; nothing, where there are none."""
    if not cases:
        return
    page.heading(heading)
    page.picture(
        *(draw_cases(cases, theme) for theme in (LIGHT, DARK)),
        alt="Planes in xy, xz and yz of: " + ", ".join(case.name for case in cases),
        caption=f"Planes xy, xz (below) and yz (beside), where there is most to see. "
        f"{legend(cases)}",
    )


def metric_names(result: Mapping[str, Any]) -> list[str]:
    """Names of the metrics that tables show; those of single classes, and at further thresholds,
    stay in the file."""
    return [name for name in result["mean"] if "/" not in name and "_at_" not in name]


def sample_names(result: Mapping[str, Any]) -> list[str]:
    """What tables say of every sample: its metrics; of a classifier, whose metrics are of all
    samples together, what it answered."""
    if result["task"] == "classify":
        return ["class", "found", "probability_of_truth"]
    return metric_names(result)


def shown(value: Any) -> str:
    """A number as tables show it, or a word; empty where a sample has none."""
    if isinstance(value, str):
        return value
    return f"{value:.3f}" if isinstance(value, (int, float)) else ""
