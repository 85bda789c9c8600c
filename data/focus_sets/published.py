"""A folder of a published set, known by its layout."""

from __future__ import annotations

from pathlib import Path

from ..focus_row import FocusRow
from .bbbc006 import read_bbbc006
from .fluomix import read_fluomix
from .focuspath import read_focuspath
from .ncsu_sweep import BEST_LEVEL, SPLITS, read_ncsu_sweep
from .tcga_focus import CLASSES, read_tcga_focus


def read_published(folder: Path) -> tuple[FocusRow, ...] | None:
    """Rows of a published set, or None where the folder has the layout of none.

    BBBC006: folders BBBC006_v1_images_z_00. TCGA@Focus: folders named after its classes. NCSU: a
    folder 26 below train, val or test. FluoMix: lists NAME.txt beside images that have Mosaic in
    their name. FocusPath: a CSV beside images called Slide01_Strip01_...

    Raises:
        InputError: the layout is known, and something in it is wrong.
    """
    if any(folder.glob("BBBC006_v1_images_z_*")):
        return read_bbbc006(folder)
    if any((folder / name).is_dir() for name in CLASSES):
        return read_tcga_focus(folder)
    if any((folder / split / str(BEST_LEVEL)).is_dir() for split in SPLITS):
        return read_ncsu_sweep(folder)
    if lists := sorted(folder.glob("*.txt")):
        return read_fluomix(folder, lists) if any(folder.glob("*_Mosaic*_SV_*")) else None
    if any(folder.glob("Slide*_Strip*_Slice*_Position*")):
        tables = sorted(folder.glob("*.csv"))
        return read_focuspath(folder, tables[0]) if len(tables) == 1 else None
    return None
