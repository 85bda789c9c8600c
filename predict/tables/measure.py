"""All tables of one labels volume, in one pass over its boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError
from ...data.volume import Volume
from ..block_grid import inside
from ..task_weights import Triple
from .boxes import SIDE, boxes, read_box
from .lengths import around, centreline
from .object_sums import ObjectSums, Running, merged, sum_box
from .object_table import centroids, object_table
from .on_grid import ReadBox, on_grid
from .pieces import Pieces
from .structure_table import StructureSums, structure_rows
from .write import Table, write_table

Progress = Callable[[int, int], None]
"""Told (boxes done, boxes in all)."""


class Tables(NamedTuple):
    """What was measured; None where it was not asked for."""

    objects: Table
    structures: Table
    regions: Table | None

    def write(self, folder: Path) -> None:
        """Write each as CSV and Parquet into a folder."""
        for name, table in self._asdict().items():
            if table is not None:
                write_table(folder, name, table)


def measure(
    labels: Volume,
    *,
    instances: bool,
    image: Volume | None = None,
    regions: ReadBox | None = None,
    lengths: bool = False,
    names: Mapping[int, str] | None = None,
    background: int = 0,
    side: int = SIDE,
    progress: Progress = lambda done, total: None,
) -> Tables:
    """Measure labels of any size.

    Args:
        labels: whole numbers, one channel.
        instances: every value is one object, and all are one structure, number 1. False: every
            value is a structure, and its connected pieces are the objects.
        image: where intensity is measured; see `on_grid`.
        regions: see `regions.py`.
        lengths: measure centrelines too, of tubes; needs a voxel size.
        names: of structures, by label.
        background: the value of what is no structure.
        side: of the boxes that are read; decides memory, and nothing else.
        progress: told after every box.

    Raises:
        InputError: labels with fractions or several channels, lengths without a voxel size, an
            image or atlas that does not lie on them, or a damaged file.
    """
    _check(labels, lengths)
    read_image = None if image is None else on_grid(image, labels)
    cubes = list(boxes(labels.shape, side))
    pieces = None if instances else Pieces(labels.shape, side)
    running, sums = Running(), StructureSums()
    for done, box in enumerate(cubes, start=1):
        near = box if pieces is None else pieces.around(box)
        if lengths:
            near = around(box, labels.shape)
        found = read_box(labels, near)
        if background:
            found[found == background] = 0
        if found.min() < 0:
            raise InputError(
                f"{labels.path}: a label of {found.min()}, expected 0 or more; give --background "
                "if that is it"
            )
        core = found[inside(box, near)]
        region = np.zeros(core.shape, np.int64) if regions is None else regions(box)
        structure = core > 0 if instances else core
        sums.add_voxels(structure, region)
        numbers = core
        if pieces is not None:
            wanted = pieces.around(box)
            numbers = pieces.number(box, found[inside(wanted, near)])
        if core.any():
            values = None if read_image is None else read_image(box)
            z, y, x = (part.start for part in box)
            running.add(sum_box(numbers, core, values, (z, y, x), labels.shape))
            if lengths:
                size = labels.voxel_size_um
                assert size is not None
                for label in np.unique(structure[structure > 0]):
                    mask = found > 0 if instances else found == label
                    links = centreline(mask, inside(box, near), size)
                    sums.add_lengths(int(label), links, region)
        progress(done, len(cubes))
    total = running.total() if pieces is None else _joined(running.total(), pieces)
    own = None if regions is None else _region_of(total, regions, labels.shape, side)
    return _tables(labels, total, sums, own, instances, image is not None, lengths, names or {})


def _check(labels: Volume, lengths: bool) -> None:
    if labels.num_channels != 1:
        raise InputError(
            f"{labels.path}: {labels.num_channels} channels, expected labels of one channel"
        )
    if labels.dtype.kind not in "uib":
        raise InputError(
            f"{labels.path}: voxels of type {labels.dtype}, expected labels, which are whole "
            "numbers; is it an image, or are they probabilities?"
        )
    if lengths and labels.voxel_size_um is None:
        raise InputError(
            f"{labels.path}: lengths are measured in um and the voxel size is unknown; give "
            "--voxel-size 'Z Y X'"
        )


def _joined(total: ObjectSums, pieces: Pieces) -> ObjectSums:
    """Pieces that touch across boxes made one, numbered from 1 by their first voxels."""
    total = merged([total._replace(ids=pieces.found.roots()[total.ids])])
    ids = np.empty_like(total.ids)
    ids[np.argsort(total.least[:, 3])] = np.arange(1, len(ids) + 1)
    return merged([total._replace(ids=ids)])


def _region_of(total: ObjectSums, regions: ReadBox, shape: Triple, side: int) -> NDArray[np.int64]:
    """[N], region at the centroid of each object."""
    own = np.zeros(len(total.ids), np.int64)
    if not len(own):
        return own
    at = np.floor(centroids(total) + 0.5).astype(np.int64)
    _, rows, columns = (-(-size // side) for size in shape)
    cube = (at[:, 0] // side * rows + at[:, 1] // side) * columns + at[:, 2] // side
    order = np.argsort(cube, kind="stable")
    wanted, starts = np.unique(cube[order], return_index=True)
    members = dict(zip(wanted.tolist(), np.split(order, starts[1:]), strict=True))
    for number, box in enumerate(boxes(shape, side)):
        if number in members:
            inner = at[members[number]] - [part.start for part in box]
            own[members[number]] = regions(box)[tuple(inner.T)]
    return own


def _tables(
    labels: Volume,
    total: ObjectSums,
    sums: StructureSums,
    own: NDArray[np.int64] | None,
    instances: bool,
    image: bool,
    lengths: bool,
    names: Mapping[int, str],
) -> Tables:
    size, translation = labels.voxel_size_um, labels.levels[0].translation_um
    structure = np.ones(len(total.ids), np.int64) if instances else total.label
    counts: Counter[tuple[int, int | None]] = Counter((int(one), None) for one in structure)
    objects = object_table(total, own, image, size, translation)
    if instances:
        del objects["label"]  # the same as the id
    whole = structure_rows(sums, [None], counts, names, lengths, size)
    if own is None:
        return Tables(objects, whole, None)
    counts += Counter(zip(structure.tolist(), own.tolist(), strict=True))
    parts = structure_rows(sums, sorted(sums.regions), counts, names, lengths, size)
    return Tables(objects, whole, parts)
