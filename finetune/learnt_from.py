"""What a run has learnt from, as its metrics.json says: such rows must not flatter it."""

from __future__ import annotations

import json
from pathlib import Path

from ..configs.errors import InputError


def learnt_from(run: str | Path) -> tuple[set[str], set[str]]:
    """Ids of the rows that a RUN has learnt from, and their groups; empty where nothing says it.

    Raises:
        InputError: RUN/metrics.json is damaged.
    """
    path = Path(run) / "metrics.json"
    if not path.is_file():
        return set(), set()
    try:
        learnt = json.loads(path.read_text(encoding="utf-8"))
        return set(learnt.get("support", ())), set(learnt.get("support_groups", ()))
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path}: damaged ({error}), and it says what was learnt from; restore it, or give "
            f"{Path(run) / 'weights'}"
        ) from error
