"""Paired differences between methods, on the stacks where both say something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...benchmark.statistics import estimate, signed_rank_p
from .plan import REFERENCE

Row = dict[str, Any]
"""One stack, condition and method, or what is said of several."""
METRICS = ("srcc", "best_error", "mae")
"""Whose differences are tested."""
COLUMNS = (
    "condition", "unit", "metric", "method", "minus", "difference", "low", "high", "stacks",
    "groups", "p",
)  # fmt: skip


def differences(rows: Sequence[Row]) -> list[Row]:
    """Each method minus the gated DCT measure, in every condition, with Wilcoxon's p."""
    lines = []
    for (condition, unit), mine in grouped(rows, "condition", "unit").items():
        methods = list(dict.fromkeys(row["method"] for row in mine))
        for metric in METRICS:
            for method in methods:
                line = difference(mine, metric, method, REFERENCE)
                if method != REFERENCE and line is not None:
                    p = signed_rank_p(*_shared(mine, metric, method, REFERENCE))
                    lines.append({"condition": condition, "unit": unit, **line, "p": p})
    return lines


def difference(rows: Sequence[Row], metric: str, method: str, minus: str) -> Row | None:
    """Mean paired difference of two methods with its interval over specimens.

    Returns:
        None where they share no stack for which the metric is defined.
    """
    values, groups = _shared(rows, metric, method, minus)
    if not values:
        return None
    found = estimate(values, groups)
    return {
        "metric": metric, "method": method, "minus": minus, "difference": found.mean,
        "low": found.low, "high": found.high, "stacks": len(values), "groups": len(set(groups)),
    }  # fmt: skip


def _shared(
    rows: Sequence[Row], metric: str, method: str, minus: str
) -> tuple[list[float], list[str]]:
    """Differences and specimens of the stacks for which both are defined."""
    first, second = (
        {(row["condition"], row["stack"]): row for row in rows if row["method"] == name}
        for name in (method, minus)
    )
    both = [
        (row[metric] - second[key][metric], row["group"])
        for key, row in first.items()
        if key in second and row[metric] is not None and second[key][metric] is not None
    ]
    return [value for value, _ in both], [group for _, group in both]


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows of equal values under some keys, in the order in which they come."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found
