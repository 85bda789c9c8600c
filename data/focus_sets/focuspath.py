"""FocusPath: brightfield patches, and a CSV without header that tells their level.

Columns: file, slide, strip, slice, position, value, signed level. The list says .tif, the files are
.png.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...configs.errors import InputError
from ..focus_row import FocusRow
from ..manifest_csv import table_records

_NAME = re.compile(r"Slide(\d+)_Strip(\d+)_Slice(\d+)_Position(\d+)")


def read_focuspath(images: str | Path, table: str | Path) -> tuple[FocusRow, ...]:
    """Rows of the table; slides are groups, positions of a strip are stacks.

    Args:
        images: folder of the patches.
        table: the CSV.

    Raises:
        InputError: a row of another shape, or a patch that is missing.
    """
    rows = []
    for number, cells in table_records(Path(table)):
        where = f"{table}: row {number}"
        match = _NAME.fullmatch(Path(cells[0].strip()).stem)
        if match is None or len(cells) != 7:
            raise InputError(
                f"{where}: {','.join(cells)!r}, expected seven cells: "
                "Slide01_Strip01_Slice01_Position01.tif, four numbers, a value, a level"
            )
        try:
            level = float(cells[6])
        except ValueError:
            raise InputError(f"{where}: level {cells[6]!r}, expected a number") from None
        path = Path(images) / f"{Path(cells[0].strip()).stem}.png"
        if not path.is_file():
            path = path.with_suffix(".tif")
        if not path.is_file():
            raise InputError(f"{where}: no image {path.stem}.png in {images}; download it again")
        slide, strip, plane, position = match.groups()
        rows.append(
            FocusRow(
                image_path=path.absolute(),
                stack_id=f"Slide{slide}/Strip{strip}/Position{position}",
                z_index=int(plane),
                level=level,
                group=f"Slide{slide}",
                where=where,
            )
        )
    if not rows:
        raise InputError(f"{table}: no rows in it")
    return tuple(rows)
