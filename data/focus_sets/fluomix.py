"""FluoMix: lists `<file> <level> <stain>`; mosaic, field, z, channel and stain are in the name.

The level is a function of z in every acquisition of the set, so z must not be given to a model that
is tested on it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...configs.errors import InputError
from ..focus_row import FocusRow

_NAME = re.compile(
    r"(?P<prefix>.+?)_(?:Sequence(?P<sequence>\d+)_)?Mosaic(?P<mosaic>\d+)_s(?P<field>\d+)"
    r"_z(?P<z>\d+)_ch(?P<channel>\d+)_SV_(?P<stain>.+)"
)
_SUFFIXES = ("", ".tif", ".tiff", ".png")


def read_fluomix(
    images: str | Path, lists: Sequence[str | Path], missing: bool = False
) -> tuple[FocusRow, ...]:
    """Rows of the lists of FluoMix.

    Fields of a mosaic lie in one group: all channels and z of a field, and its neighbours.

    Args:
        images: the folder of all images.
        lists: text files; the name of each becomes the split.
        missing: let rows pass whose image is not there.

    Raises:
        InputError: a line or a name that does not follow the layout, or an image that is missing.
    """
    folder = Path(images)
    rows = []
    for source in map(Path, lists):
        if not source.is_file():
            raise InputError(f"{source}: no such file; give the lists of FluoMix")
        for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
            words, where = line.split(), f"{source}: line {number}"
            if not words:
                continue
            if len(words) != 3:
                raise InputError(f"{where}: {line!r}, expected '<file> <level> <stain>'")
            rows.append(_row(folder, source.stem, words, where, missing))
    return tuple(rows)


def _row(folder: Path, split: str, words: list[str], where: str, missing: bool) -> FocusRow:
    name, level, stain = words
    stem = Path(name).stem if Path(name).suffix.lower() in _SUFFIXES[1:] else name
    match = _NAME.fullmatch(Path(stem).name)
    if match is None or not level.isdigit():
        raise InputError(
            f"{where}: {name!r} with level {level!r}, expected "
            "PREFIX_Mosaic001_s01_z01_ch01_SV_STAIN and a whole number"
        )
    # Lists of the brain leave the ending out.
    there = [
        folder / (stem + ending) for ending in _SUFFIXES if (folder / (stem + ending)).is_file()
    ]
    if not there and not missing:
        raise InputError(f"{where}: no image {stem} in {folder}; download it, or pass missing")
    mosaic = f"{match['prefix']}/{match['sequence'] or ''}/Mosaic{match['mosaic']}"
    return FocusRow(
        image_path=(there[0] if there else folder / name).absolute(),
        stack_id=f"{mosaic}/s{match['field']}",
        z_index=int(match["z"]),
        channel=f"ch{match['channel']}",
        level=float(level),
        # Spelled in two ways: ALEXA-488 in names, Alexa-488 in the column.
        stain=stain.lower(),
        group=mosaic,
        split=split,
        where=where,
    )
