"""Voxel sizes: any unit in, micrometres out, always in the order (z, y, x).

Apart from the doors, because every format spells its units in its own way and all of them must end
in the same numbers. An unknown unit is `None` here, never a guess.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

from ..configs.errors import InputError

VoxelSize = tuple[float, float, float]
"""Size of one voxel along (z, y, x) in micrometres."""

# Micrometres in one unit. Names of OME-NGFF (UDUNITS-2), OME-XML, ImageJ and NIfTI; compared after
# Unicode NFKC and in lower case, so that the micro sign U+00B5 and Greek mu U+03BC are one letter.
_UM_PER_UNIT = {
    "km": 1e9,
    "kilometer": 1e9,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "dm": 1e5,
    "decimeter": 1e5,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "um": 1.0,
    "\u03bcm": 1.0,
    "\u03bc": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "angstrom": 1e-4,
    "\u00e5": 1e-4,
    "pm": 1e-6,
    "picometer": 1e-6,
    "picometre": 1e-6,
    "inch": 25400.0,
    "in": 25400.0,
    "foot": 304800.0,
    "yard": 914400.0,
}


def unit_to_um(unit: str | None) -> float | None:
    """Give the micrometres in one unit of length, or None where the unit is no known length.

    Args:
        unit: as a file spells it: "micrometer", "microns", "mm", with a micro sign or a Greek mu,
            or ImageJ's escape for it; "pixel" and the empty string are no lengths.
    """
    if unit is None:
        return None
    # ImageJ writes the micro sign as the six characters \u00B5 into its ASCII header.
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), unit)
    name = unicodedata.normalize("NFKC", text.strip("\x00 \t\r\n")).lower()
    factor = _UM_PER_UNIT.get(name)
    return _UM_PER_UNIT.get(name.removesuffix("s")) if factor is None else factor


def check_voxel_size(values: Sequence[float], where: str = "voxel size") -> VoxelSize:
    """Check that three numbers can be a voxel size: finite and above zero.

    Args:
        values: (z, y, x) in micrometres.
        where: what the numbers belong to, for the message.

    Raises:
        InputError: there are not three of them, or one is not a positive number.
    """
    sizes = tuple(float(value) for value in values)
    if len(sizes) != 3 or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise InputError(
            f"{where}: found {' '.join(f'{size:g}' for size in sizes)!r}, expected three positive"
            " numbers z y x in micrometres, such as '6 1.62 1.62'"
        )
    return sizes


def parse_voxel_size(text: str, where: str = "voxel size") -> VoxelSize:
    """Read a voxel size from text: "6 1.62 1.62", "6,1.62,1.62" or "0.006 0.00162 0.00162 mm".

    Args:
        text: z, y and x, separated by spaces or commas; micrometres where no unit follows.
        where: what the text belongs to, for the message.

    Raises:
        InputError: the text is not three positive numbers and at most one known unit.
    """
    words = re.split(r"[\s,;]+", text.strip())
    factor: float | None = 1.0
    if len(words) == 4:
        factor = unit_to_um(words.pop())
    try:
        sizes = [float(word) for word in words]
    except ValueError:
        sizes = []
    if factor is None or len(sizes) != 3:
        raise InputError(
            f"{where}: found {text!r}, expected three numbers z y x in micrometres,"
            " such as '6 1.62 1.62'"
        )
    return check_voxel_size([size * factor for size in sizes], where)


def format_voxel_size(size: VoxelSize | None) -> str:
    """Write a voxel size for people: "6 x 1.62 x 1.62 um", or "unknown"."""
    return "unknown" if size is None else " x ".join(f"{axis:.4g}" for axis in size) + " um"
