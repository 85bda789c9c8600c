"""The body of `luxvox benchmark ... --tasks focus`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....configs.load import validate
from ....report.focus_benchmark import write_focus_benchmark_page
from .plan import FocusPlan
from .run import focus_benchmark


def focus_benchmark_command(
    sets: Sequence[str],
    out: str | Path,
    options: Mapping[str, Any],
    methods: Sequence[str] | None = None,
    overwrite: bool = False,
) -> None:
    """Compare focus methods and say where the page lies.

    Args:
        sets: the word "simulated", lists of labelled stacks, folders of published sets.
        out: folder of the comparison; it goes on there, if cells are done.
        options: keys of `FocusPlan`.
        methods: of `plan.METHODS`; None = all whose weights are there.
        overwrite: run again what was made with other settings.

    Raises:
        InputError: anything that the user can mend.
    """
    chosen = None if methods is None else tuple(methods)
    given = {"sets": tuple(sets), "out": str(out), "methods": chosen, **options}
    folder = focus_benchmark(validate(given, FocusPlan, "benchmark"), overwrite)
    print(f"{folder / 'summary.md'}, {write_focus_benchmark_page(folder)}")
