"""What a run writes down while it learns: history.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

from ..configs.whole_file import write_whole


class History:
    """Appends one JSON object a line to RUN/history.jsonl; a resumed run forgets what it redoes."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        """Keep the entries up to `resumed_step` (0: none)."""
        self.path = path
        kept = [entry for entry in read_history(path) if entry["step"] <= resumed_step]
        write_whole(path, "".join(json.dumps(entry) + "\n" for entry in kept))

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
