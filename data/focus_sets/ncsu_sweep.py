"""The light-sheet sweep of NCSU: `{train,val,test}/<L>/<x_y_z>_<LL>.tiff`, 2 um from L to L + 1."""

from __future__ import annotations

import re
from pathlib import Path

from ...configs.errors import InputError
from ..focus_row import FocusRow

BEST_LEVEL = 26
STEP_UM = 2.0
SPLITS = ("train", "val", "test")

_NAME = re.compile(r"(?P<place>[+-]?\d+_[+-]?\d+_[+-]?\d+)_(?P<level>\d+)")


def read_ncsu_sweep(folder: str | Path) -> tuple[FocusRow, ...]:
    """Rows of the set; places are stacks, and groups as well.

    Folds go by place: nothing says that the splits of the set keep places together.

    Raises:
        InputError: no images, or a name that does not fit its folder.
    """
    rows: list[FocusRow] = []
    for split in SPLITS:
        for path in sorted((Path(folder) / split).glob("*/*.tif*")):
            match = _NAME.fullmatch(path.stem)
            if match is None or not path.parent.name.isdigit():
                raise InputError(f"{path}: expected <level>/<x_y_z>_<level>.tiff; take it out")
            level = int(match["level"])
            if level != int(path.parent.name):
                raise InputError(
                    f"{path}: level {level} in the folder of level {path.parent.name}, expected "
                    "the same; download it again"
                )
            place = match["place"]
            rows.append(
                FocusRow(
                    image_path=path.absolute(),
                    stack_id=place,
                    z_index=level,
                    z_um=(level - BEST_LEVEL) * STEP_UM,
                    best_z=BEST_LEVEL,
                    group=place,
                    split=split,
                    where=str(path),
                )
            )
    if not rows:
        raise InputError(f"{folder}: no images, expected {{train,val,test}}/26/X_Y_Z_26.tiff")
    return tuple(rows)
