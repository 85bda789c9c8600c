"""The contact sheet of `luxvox simulate --sheet`: simulated volumes beside real ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ..configs.errors import InputError
from ..data.manifest import open_row, read_dataset
from ..data.row import Row
from ..data.synthetic.catalogue import CATALOGUE, says
from ..data.voxel import format_voxel_size
from ..report.contact_sheet import Tile, contact_sheet

_TILES = 4  # simulated, and as many real, of each structure
_SIDE = 96  # voxels shown


def write_sheet(simulated: Path, real: Sequence[str]) -> Path:
    """Draw the volumes of a simulated list beside those of real ones.

    Args:
        simulated: `dataset.csv` of `luxvox simulate`.
        real: dataset lists; may be empty.

    Returns:
        Path of `sheet.png` beside the list.

    Raises:
        InputError: a list or a volume cannot be read, or the picture cannot be written.
    """
    drawn = read_dataset(simulated).rows
    # A volume that stands in several lists is shown once.
    others = list({row.image: row for source in real for row in read_dataset(source)}.values())
    rows = []
    for name, structure in CATALOGUE.items():
        ours = [row for row in drawn if row.class_name == name][:_TILES]
        if ours:
            tiles = [_tile(row, row.id) for row in ours]
            theirs = [_tile(row, row.id) for row in islice(_showing(name, others), _TILES)]
            rows.append((structure.title, tiles, theirs))
    out = simulated.with_name("sheet.png")
    try:
        out.write_bytes(contact_sheet(rows))
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}") from error
    return out


def _showing(name: str, rows: Sequence[Row]) -> Iterator[Row]:
    """Real rows of a structure; of every group one first, then the others."""
    # What the list says of the structure counts before what a caption happens to mention.
    said = [row for row in rows if says(row.structure, name)]
    said = said or [row for row in rows if not row.structure and says(row.caption, name)]
    first: dict[str, Row] = {}
    for row in said:
        first.setdefault(row.group, row)
    yield from first.values()
    yield from (row for row in said if first[row.group] is not row)


def _tile(row: Row, title: str) -> Tile:
    volume = open_row(row)
    shape = [min(_SIDE, n) for n in volume.shape]
    origin = [(n - s) // 2 for n, s in zip(volume.shape, shape, strict=True)]
    size = volume.voxel_size_um
    return Tile(volume.read(origin, shape)[0], size, f"{title[-22:]} {format_voxel_size(size)}")
