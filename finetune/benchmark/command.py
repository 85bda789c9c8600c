"""The body of `luxvox benchmark`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...configs.errors import InputError
from ...configs.load import validate
from ...report.benchmark import write_benchmark_page
from .options import is_option, split_options
from .plan import BenchmarkPlan, numbers, words
from .run import benchmark

SHOTS, DRAWS, SEEDS = "1,3,5", 3, 1
"""What the command line gives where nobody says anything."""


def benchmark_command(
    datasets: Sequence[str],
    out: str | Path,
    *,
    tasks: str = "segment",
    shots: str = SHOTS,
    draws: int = DRAWS,
    seeds: int = SEEDS,
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
        tasks: "segment,restore,classify"; or "focus" alone, see `finetune.focus.benchmark`.
        methods: "pretrained,unet"; None = see `BenchmarkPlan`.
        shots: "1,3,5".
        draws: of the support, for each K. seeds: of every trained method.
        weights: pretrained. weights_a: after stage A only. weights_unet: the U-Net after stage B.
        recipe: of fine-tuning; None = that of the task.
        only: name of one cell, which is run again.
        overwrite: run again what was made with other settings.

    Raises:
        InputError: anything that the user can mend.
    """
    if "focus" in words(tasks):
        if len(words(tasks)) > 1:
            raise InputError(
                f"--tasks {tasks}: focus is compared on stacks of its own; run it alone"
            )
        refused = {
            "shots": shots if shots != SHOTS else None,
            "draws": draws if draws != DRAWS else None,
            "seeds": seeds if seeds != SEEDS else None,
            "weights-a": weights_a,
            "weights-unet": weights_unet,
            "recipe": recipe,
            "only": only,
        }
        _focus(datasets, out, methods, weights, overwrite, refused)
        return
    given: dict[str, Any] = {
        "datasets": [word for word in datasets if not is_option(word)],
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
    own, others = split_options(filter(is_option, datasets), BenchmarkPlan.model_fields)
    plan = validate({**given, **own, "overrides": others}, BenchmarkPlan, "benchmark")
    folder = benchmark(plan, only, overwrite)
    print(f"{folder / 'summary.md'}, {write_benchmark_page(folder)}")


def _focus(
    datasets: Sequence[str],
    out: str | Path,
    methods: str | None,
    weights: str | None,
    overwrite: bool,
    refused: dict[str, Any],
) -> None:
    """The comparison of focus methods, which has no shots and draws.

    Args:
        datasets, out, methods, overwrite: as in `benchmark_command`.
        weights: of the frozen encoder.
        refused: options that mean nothing there, by name; None = not given.
    """
    from ..focus.benchmark.command import focus_benchmark_command
    from ..focus.benchmark.plan import FocusPlan

    for name, value in refused.items():
        if value is not None:
            raise InputError(
                f"--{name} {value}: the comparison of focus methods has no {name}; leave it out"
            )
    options, others = split_options(filter(is_option, datasets), FocusPlan.model_fields)
    if others:
        key = others[0].partition("=")[0]
        raise InputError(
            f"benchmark: unknown key {key!r} of --tasks focus, expected some of "
            f"{', '.join(FocusPlan.model_fields)}; such as simulated.specimens=8"
        )
    if weights is not None:
        options["encoder"] = weights
    sets = [word for word in datasets if not is_option(word)]
    chosen = None if methods is None else words(methods)
    focus_benchmark_command(sets, out, options, chosen, overwrite)
