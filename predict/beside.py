"""Where lies what belongs to an output: beside it, under its name."""

from __future__ import annotations

from pathlib import Path

from ..data.save import labels_store


def beside(out: Path, ending: str) -> Path:
    """OUT with an ending; of STORE/labels/NAME it is STORE.NAME, beside the store.

    Args:
        out: what the user asked for.
        ending: such as ".run".
    """
    store = labels_store(out)
    if store is not None:
        return store.with_name(f"{store.name}.{out.name}{ending}")
    return out.with_name(f"{out.name}{ending}")
