"""What a run writes while it learns: history.jsonl, the tracker, and one progress line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


class History:
    """Appends one JSON object a line to RUN/history.jsonl; a resumed run forgets what it redoes."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        """Keep the entries up to `resumed_step` (0: none)."""
        self.path = path
        kept = [entry for entry in read_history(path) if entry["step"] <= resumed_step]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
        partial.replace(path)

    def append(self, entry: dict[str, float]) -> None:
        """Add one entry; `step` is the number of optimiser steps done."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def read_history(path: Path) -> list[dict[str, float]]:
    """Entries so far; a last line that a killed run left half-written is left out."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            break  # only the last line can be cut short: lines are appended
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            break  # not of this program, and of no use for the curves
        entries.append(entry)
    return entries


@contextmanager
def progress_line(done: int, steps: int, shown: bool) -> Iterator[Progress]:
    """A rich progress line with loss, crops/s, share of time waiting for data, and time left."""
    progress = Progress(
        TextColumn("pretrain"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[rate]:.1f} crops/s"),
        TextColumn("waiting {task.fields[waiting]:.0%}"),
        TimeRemainingColumn(),
        disable=not shown,
    )
    with progress:
        progress.add_task("pretrain", total=steps, completed=done, loss=0.0, rate=0.0, waiting=0.0)
        yield progress
