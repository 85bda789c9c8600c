"""The body of `luxvox benchmark`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ...configs.load import validate
from ...report.benchmark import write_benchmark_page
from .plan import BenchmarkPlan, numbers, words
from .run import benchmark


def benchmark_command(
    datasets: Sequence[str],
    out: str | Path,
    *,
    tasks: str = "segment",
    shots: str = "1,3,5",
    draws: int = 3,
    seeds: int = 1,
    methods: str | None = None,
    weights: str | None = None,
    weights_a: str | None = None,
    weights_unet: str | None = None,
    recipe: str | None = None,
    only: str | None = None,
    overwrite: bool = False,
) -> None:
    """Run a benchmark and say where its page lies.

    Args:
        datasets: lists; words with "=" among them are options: keys of `BenchmarkPlan` (noise=0.01
            keep_weights=true rates.unet=3e-3), else of the fine-tuning recipe (steps=60).
        out: its folder.
        tasks: "segment,restore,classify". methods: "pretrained,unet"; None = see `BenchmarkPlan`.
        shots: "1,3,5".
        draws: of the support, for each K. seeds: of every trained method.
        weights: pretrained. weights_a: after stage A only. weights_unet: the U-Net after stage B.
        recipe: of fine-tuning; None = that of the task.
        only: name of one cell, which is run again.
        overwrite: run again what was made with other settings.

    Raises:
        InputError: anything that the user can mend.
    """
    given: dict[str, Any] = {
        "datasets": [word for word in datasets if not _is_option(word)],
        "out": str(out),
        "tasks": ["restore" if task == "deblur" else task for task in words(tasks)],
        "shots": numbers(shots, "--shots"),
        "draws": draws,
        "seeds": seeds,
        "methods": None if methods is None else words(methods),
        "weights": weights,
        "weights_a": weights_a,
        "weights_unet": weights_unet,
        "recipe": recipe,
    }
    own, others = _split(word for word in datasets if _is_option(word))
    plan = validate({**given, **own, "overrides": others}, BenchmarkPlan, "benchmark")
    folder = benchmark(plan, only, overwrite)
    print(f"{folder / 'summary.md'}, {write_benchmark_page(folder)}")


def _is_option(word: str) -> bool:
    return "=" in word and not Path(word).exists()


def _split(options: Any) -> tuple[dict[str, Any], list[str]]:
    """Options of the benchmark itself, and those of the fine-tuning recipe."""
    own: dict[str, Any] = {}
    others: list[str] = []
    for option in options:
        key, _, text = option.partition("=")
        first, _, second = key.partition(".")
        if first not in BenchmarkPlan.model_fields:
            others.append(option)
        elif second:
            own.setdefault(first, {})[second] = _value(text)
        else:
            own[first] = _value(text)
    return own, others


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
