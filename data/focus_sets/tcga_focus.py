"""TCGA@Focus: brightfield patches that are in focus or are not; there are no stacks in it."""

from __future__ import annotations

from pathlib import Path

from ...configs.errors import InputError
from ..focus_row import FocusRow

CLASSES = {"In Focus": 0.0, "Out of Focus": 1.0, "Out of Focus (Marker)": 1.0}
"""Folder -> level."""


def read_tcga_focus(folder: str | Path) -> tuple[FocusRow, ...]:
    """Rows of `<class>/<organ>/<slide>/patch_i_*_j_*.png`; slides are groups.

    Every patch is a stack of one slice, so nothing is ever ranked inside one.

    Raises:
        InputError: no such patches.
    """
    root = Path(folder)
    rows = []
    for name, level in CLASSES.items():
        for path in sorted((root / name).glob("*/*/patch_i_*_j_*.png")):
            organ, slide = path.parts[-3:-1]
            rows.append(
                FocusRow(
                    image_path=path.absolute(),
                    stack_id=f"{name}/{organ}/{slide}/{path.stem}",
                    z_index=0,
                    level=level,
                    # A slide may have patches of both classes.
                    group=f"{organ}/{slide}",
                    where=str(path),
                )
            )
    if not rows:
        raise InputError(
            f"{folder}: no patches, expected CLASS/ORGAN/SLIDE/patch_i_*_j_*.png with CLASS one of "
            f"{', '.join(CLASSES)}"
        )
    return tuple(rows)
