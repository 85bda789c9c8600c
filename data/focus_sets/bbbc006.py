"""BBBC006: 34 folders, one for each z, of the same wells; z 16 is used as focus."""

from __future__ import annotations

import re
from pathlib import Path

from ...configs.errors import InputError
from ..focus_row import FocusRow

BEST_Z = 16
STAINS = {"w1": "hoechst 33342", "w2": "phalloidin"}

_FOLDER = re.compile(r"BBBC006_v1_images_z_(\d\d)")
_NAME = re.compile(
    r"mcf-z-stacks-\d+_(?P<well>[a-p]\d\d)_s(?P<site>\d)_(?P<channel>w[12])[0-9a-f-]*"
)


def read_bbbc006(folder: str | Path) -> tuple[FocusRow, ...]:
    """Rows of the set; wells are groups, sites stacks.

    The number behind the channel differs from z to z, so slices meet by well, site and channel.

    Raises:
        InputError: no folder of a z in it, or a TIFF whose name says no well.
    """
    rows = []
    for plane in sorted(Path(folder).glob("BBBC006_v1_images_z_*")):
        match = _FOLDER.fullmatch(plane.name)
        if match is None:
            continue
        z = int(match[1])
        for path in sorted(plane.glob("*.tif")):
            name = _NAME.fullmatch(path.stem)
            if name is None:
                raise InputError(
                    f"{path}: expected mcf-z-stacks-DATE_WELL_sSITE_wCHANNEL...; take it out"
                )
            rows.append(
                FocusRow(
                    image_path=path.absolute(),
                    stack_id=f"{name['well']}/s{name['site']}",
                    z_index=z,
                    channel=name["channel"],
                    best_z=BEST_Z,
                    level=float(z - BEST_Z),
                    stain=STAINS[name["channel"]],
                    group=name["well"],
                    where=str(path),
                )
            )
    if not rows:
        raise InputError(f"{folder}: no BBBC006_v1_images_z_00 to _33 with images in it")
    return tuple(rows)
