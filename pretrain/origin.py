"""Names in place of paths: nobody has to know on which machine weights were made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def name_of(path: str | Path) -> str:
    """The last part of a path; of a run's `weights/` the name of the run."""
    whole = Path(path).absolute()
    return whole.parent.name if whole.name == "weights" else whole.name


def without_folders(recipe: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """A recipe as it travels with weights: paths are cut down to names.

    Args:
        recipe: plain values, as `model_dump(mode="json")` gives them.
        paths: dotted keys that hold a path, a list of paths, or None.

    Returns:
        A copy; folders of sentence encoders stay as they are, because loading looks there.
    """
    changed = dict(recipe)
    for dotted in paths:
        key, _, rest = dotted.partition(".")
        value = changed[key]
        if rest:
            changed[key] = without_folders(value, [rest])
        elif isinstance(value, list):
            changed[key] = [name_of(path) for path in value]
        elif value is not None:
            changed[key] = name_of(value)
    return changed
