"""One row a structure, and one a structure and region: counts, densities, shares, lengths."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...data.voxel import VoxelSize
from .lengths import Links
from .write import Table

_UM3 = 1e9  # in a cubic millimetre


class StructureSums:
    """Voxels and lengths by structure and region; adds up over boxes."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._voxels: Counter[tuple[int, int]] = Counter()
        self._um: dict[tuple[int, int], float] = {}
        self.regions: Counter[int] = Counter()
        """Voxels of each."""

    def add_voxels(self, labels: NDArray, regions: NDArray) -> None:
        """Count one box: [Z, Y, X] labels, 0 = background, and regions."""
        values, value = np.unique(labels, return_inverse=True)
        areas, area = np.unique(regions, return_inverse=True)
        code = value.reshape(-1) * len(areas) + area.reshape(-1)
        counts = np.bincount(code, minlength=len(values) * len(areas))
        counts = counts.reshape(len(values), len(areas))
        for number, voxels in zip(areas, counts.sum(0), strict=True):
            self.regions[int(number)] += int(voxels)
        for row, column in zip(*np.nonzero(counts), strict=True):
            if values[row]:
                key = int(values[row]), int(areas[column])
                self._voxels[key] += int(counts[row, column])

    def add_lengths(self, label: int, links: Links, regions: NDArray) -> None:
        """Add the centreline of one structure in one box with these regions [Z, Y, X]."""
        areas = regions[tuple(links.place.T)]
        for number in np.unique(areas):
            key = label, int(number)
            self._um[key] = self._um.get(key, 0.0) + math.fsum(links.um[areas == number])

    @property
    def labels(self) -> list[int]:
        """Of the structures that were seen."""
        return sorted({label for label, _ in self._voxels})

    def voxels(self, label: int, region: int | None) -> int:
        """Of a structure in a region; None = in all."""
        return sum(self._of(self._voxels, label, region))

    def um(self, label: int, region: int | None) -> float:
        """Length of a structure in a region; None = in all."""
        return math.fsum(self._of(self._um, label, region))

    def _of(self, sums: Mapping, label: int, region: int | None) -> list:
        if region is not None:
            return [sums.get((label, region), 0)]
        return [found for (owner, _), found in sums.items() if owner == label]


def structure_rows(
    sums: StructureSums,
    regions: Sequence[int | None],
    objects: Mapping[tuple[int, int | None], int],
    names: Mapping[int, str],
    lengths: bool,
    voxel_size_um: VoxelSize | None,
) -> Table:
    """Turn sums into columns; docs/whole-volume.md says what each means.

    Args:
        sums: of the whole volume.
        regions: a row each, for every structure; None = the whole volume.
        objects: how many there are, by structure and region.
        names: of structures, by label; others have none.
        lengths: whether centrelines were measured.
        voxel_size_um: (z, y, x); None = unknown: what is in um or mm stays empty (NaN).

    Returns:
        Columns, a row for each region and structure.
    """
    rows = [(region, label) for region in regions for label in sums.labels]
    voxel = math.prod(voxel_size_um) if voxel_size_um else math.nan
    whole = sum(sums.regions.values())
    space = [whole if region is None else sums.regions[region] for region, _ in rows]
    table: Table = {}
    if None not in regions:
        table["region"] = _whole([region for region, _ in rows])
        table["region_voxels"] = _whole(space)
        table["region_um3"] = np.array(space) * voxel
    table["label"] = _whole([label for _, label in rows])
    table["name"] = np.array([names.get(label, "") for _, label in rows], dtype=np.str_)
    found = np.array([sums.voxels(label, region) for region, label in rows], dtype=np.int64)
    count = np.array([objects.get((label, region), 0) for region, label in rows], dtype=np.int64)
    mm3 = np.array(space) * voxel / _UM3
    table["objects"], table["voxels"] = count, found
    table["volume_um3"] = found * voxel
    table["volume_fraction"] = found / np.array(space)
    table["objects_per_mm3"] = count / mm3
    if lengths:
        um = np.array([sums.um(label, region) for region, label in rows], dtype=np.float64)
        table["length_um"] = um
        table["length_mm_per_mm3"] = um / 1000 / mm3
    return table


def _whole(numbers: list) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)
