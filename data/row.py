"""One row of a dataset list, and the list; apart so that CSV and folder readers both build them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .voxel import VoxelSize

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Row:
    """One volume of a list with what is known about it; None where the cell is empty.

    Attributes:
        id: unique name inside the list.
        image: absolute path of the volume.
        labels: absolute path of its labels (semantic or instances).
        target: absolute path of the volume to restore to.
        class_name: the `class` column.
        group: the animal or parent volume; splits never cut through it. Never empty: where the
            list says nothing, every file is its own group and `group_stated` is False.
        split: "train", "val" or "test".
        axes: order in which the array lies in the file, such as "xyz" or "czyx".
        voxel_size_um: (z, y, x) in um.
        ignore_label: label values that count neither as foreground nor as background.
        foreground_label: the label value of the structure, where it is a single one.
        best_z: index of the sharpest plane.
        z_um: position along z in um.
        na: numerical aperture of the detection objective.
        wavelength_nm: emission wavelength in nm.
        list_row: row number as a spreadsheet counts it (header = 1); 0 where there is no table.
    """

    id: str
    image: Path
    labels: Path | None = None
    target: Path | None = None
    class_name: str | None = None
    group: str = ""
    split: str | None = None
    stain: str | None = None
    structure: str | None = None
    caption: str | None = None
    voxel_size_um: VoxelSize | None = None
    axes: str | None = None
    ignore_label: tuple[int, ...] | None = None
    foreground_label: int | None = None
    best_z: float | None = None
    z_um: float | None = None
    na: float | None = None
    wavelength_nm: float | None = None
    refractive_index: float | None = None
    group_stated: bool = False
    list_row: int = 0

    @property
    def where(self) -> str:
        """How messages name the row: its number in the table and its id."""
        return f"row {self.list_row} ({self.id})" if self.list_row else self.id


@dataclass(frozen=True)
class DatasetList:
    """Rows in the order of the list, and where they come from."""

    source: Path
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        """Give the number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        """Go through the rows in the order of the list."""
        return iter(self.rows)
