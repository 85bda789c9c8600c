"""Rows of a list as examples in memory, and every way in which a row can be wrong, said plainly."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError
from ..data.manifest import open_labels, open_row
from ..data.normalize import IntensityStats, measure_intensity, normalize
from ..data.open import open_volume
from ..data.row import Row
from ..data.volume import Volume
from ..data.voxel import VoxelSize
from .row_checks import (
    compare_intensities,
    listed,
    need_structure,
    not_swapped,
    read_labels,
    same_shape,
    same_spacing,
    whole_numbers,
)

Task = Literal["segment", "restore", "classify"]

_ARRAYS = ("image", "labels", "counts", "target", "instances")


@dataclass(frozen=True)
class Example:
    """One row, read and normalised. Shapes: Z Y X voxels.

    Attributes:
        id: of the row. group: the animal or parent volume.
        image: [Z, Y, X] float32, normalised.
        stats: by which it was.
        voxel_size_um: (z, y, x); None = unknown.
        labels: [Z, Y, X] int64, 0 = background, then the classes; None where the task has none.
        counts: [Z, Y, X] bool, False = ignored; None where the task has no labels.
        target: [Z, Y, X] float32, normalised by the image's stats; None but for restoration.
        instances: [Z, Y, X] numbers of objects of a binary segmentation, 0 = background; None where
            the labels tell no two apart.
        structure: what the labels are of. class_name: of the whole volume.
    """

    id: str
    group: str
    image: NDArray[np.float32]
    stats: IntensityStats
    voxel_size_um: VoxelSize | None
    labels: NDArray[np.int64] | None = None
    counts: NDArray[np.bool_] | None = None
    target: NDArray[np.float32] | None = None
    structure: str | None = None
    class_name: str | None = None
    instances: NDArray[np.int32] | None = None

    def cut(self, box: tuple[slice, ...]) -> Example:
        """A part, by slices of z, y, x (axes left out stay whole); normalised as the whole was."""
        held = {name: getattr(self, name) for name in _ARRAYS}
        return replace(
            self, **{name: array[box] for name, array in held.items() if array is not None}
        )

    def digest(self) -> str:
        """Another one whenever anything changes that is learnt from it, or judged by it."""
        held = {name: getattr(self, name) for name in _ARRAYS}
        facts = {name: value for name, value in vars(self).items() if name not in held}
        digest = hashlib.sha256(repr(sorted(facts.items())).encode())
        for name, array in held.items():
            digest.update(name.encode())
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


def load_example(
    row: Row,
    task: Task,
    label_values: Sequence[int] = (),
    foreground_label: int | None = None,
) -> Example:
    """Read one row for a task.

    Args:
        row: of a list.
        task: which partner of the image is needed: labels, target or class.
        label_values: value of each class of the labels, background first; empty = binary.
        foreground_label: binary: which value is foreground, where the row does not say;
            None = every value above 0.

    Returns:
        The example. Of several channels the first is taken, and a warning on stderr says so.

    Raises:
        InputError: the partner is missing, of another shape or voxel size than the image, or its
            values are no labels, none of these classes, or no image to restore to.
    """
    _need_partner(row, task)
    if task == "segment":
        return _with_labels(row, label_values, foreground_label)
    volume = open_row(row)
    if task == "classify":
        return _with_image(row, volume, volume.read(channels=[0])[0])
    assert row.target is not None
    same_spacing(row, "target")
    wanted = open_volume(row.target, axes=row.axes, voxel_size_um=row.voxel_size_um)
    same_shape(row, volume, wanted, "target")
    target = _float(wanted.read(channels=[0])[0])
    target_span = need_structure(row, target)
    image = volume.read(channels=[0])[0]
    compare_intensities(row, image, target_span)
    example = _with_image(row, volume, image)
    return replace(example, target=normalize(target, example.stats))


def load_support(rows: Sequence[Row], task: Task, classes: bool = False) -> list[Example]:
    """Read what is learnt from.

    Args:
        rows: the shots.
        task: see `load_example`.
        classes: every value of the labels is a class of its own (see `label_values_of`).

    Raises:
        InputError: as `load_example`; or the support as a whole has no foreground, no background,
            nothing that counts, or (classification) one class only.
    """
    values = label_values_of(rows) if classes and task == "segment" else ()
    examples = [load_example(row, task, values) for row in rows]
    if task == "segment":
        _check_both_sides(rows, examples)
    if task == "classify":
        names = sorted({str(example.class_name) for example in examples})
        if len(names) < 2:
            raise InputError(
                f"the rows to learn from are all of class {names[0]!r}, expected two classes or "
                "more; fill the column 'class' with what tells them apart"
            )
    return examples


def need_objects(rows: Sequence[Row], examples: Sequence[Example]) -> None:
    """Refuse labels that number no objects.

    Raises:
        InputError: no row holds two values of foreground, or one value is the foreground.
    """
    if all(example.instances is None for example in examples):
        where = ", ".join(row.where for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
        raise InputError(
            f"{where}: labels that number no objects, with objects=true expected another value for "
            "each object (and no foreground_label); number them, or leave objects out"
        )


def label_values_of(rows: Sequence[Row]) -> tuple[int, ...]:
    """All values of the labels of these rows, ignored ones left out, background (0) first.

    Raises:
        InputError: a row has no labels, or they hold no whole numbers.
    """
    found: set[int] = {0}
    for row in rows:
        _need_partner(row, "segment")
        values = np.unique(whole_numbers(row, read_labels(row, open_labels(row))))
        found |= {int(value) for value in values} - set(row.ignore_label or ())
    return tuple(sorted(found, key=lambda value: (value != 0, value)))


def _need_partner(row: Row, task: Task) -> None:
    column, cell = {
        "segment": ("labels", row.labels),
        "restore": ("target", row.target),
        "classify": ("class", row.class_name),
    }[task]
    if cell is None:
        raise InputError(
            f"{row.where}: no {column}, which {task} needs; fill the column '{column}', or take "
            "the row out"
        )


def _with_image(row: Row, volume: Volume, raw: NDArray[Any]) -> Example:
    if volume.num_channels > 1:
        print(
            f"warning: {row.where}: {volume.num_channels} channels, only the first is used; "
            "luxvox convert --channel writes another one into a file of its own",
            file=sys.stderr,
        )
    stats = measure_intensity(volume)
    return Example(
        id=row.id,
        group=row.group,
        image=normalize(_float(raw), stats),
        stats=stats,
        voxel_size_um=volume.voxel_size_um,
        structure=row.structure,
        class_name=row.class_name,
    )


def _with_labels(row: Row, label_values: Sequence[int], foreground: int | None) -> Example:
    same_spacing(row, "labels")
    volume, marked = open_row(row), open_labels(row)
    same_shape(row, volume, marked, "labels")
    raw, values = volume.read(channels=[0])[0], read_labels(row, marked)
    not_swapped(row, raw, values)
    values = whole_numbers(row, values)
    counts = ~np.isin(values, row.ignore_label or ())
    instances = None
    if label_values:
        labels = _to_classes(row, values, counts, label_values)
    else:
        wanted = row.foreground_label if row.foreground_label is not None else foreground
        labels = (values == wanted if wanted is not None else values > 0).astype(np.int64)
        labels[~counts] = 0
        numbers, places = np.unique(values * labels, return_inverse=True)
        # Two numbers or more: a mask of 0 and 255 tells nothing apart. Counted anew, as those of
        # some programs are larger than 32 bits hold.
        if wanted is None and np.count_nonzero(numbers) > 1:
            first = 0 if numbers[0] == 0 else 1  # no background at all
            instances = (places.reshape(values.shape) + first).astype(np.int32)
    example = _with_image(row, volume, raw)
    return replace(example, labels=labels, counts=counts, instances=instances)


def _to_classes(
    row: Row, values: NDArray[np.int64], counts: NDArray[np.bool_], label_values: Sequence[int]
) -> NDArray[np.int64]:
    known = np.array(label_values)
    strange = np.setdiff1d(values[counts], known)
    if strange.size:
        raise InputError(
            f"{row.where}: labels hold {listed(strange)}, expected only the classes that were "
            f"learnt from, {listed(known)}; correct the labels, or name what to ignore in the "
            "column 'ignore_label'"
        )
    order = np.argsort(known)
    return np.where(counts, order[np.searchsorted(known[order], np.where(counts, values, 0))], 0)


def _check_both_sides(rows: Sequence[Row], examples: Sequence[Example]) -> None:
    """One empty row is fine; a support without foreground, or without background, is not."""
    where = ", ".join(row.where for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
    counted = [e.labels[e.counts] for e in examples if e.labels is not None]
    if not any(labels.size for labels in counted):
        raise InputError(
            f"{where}: every voxel of the labels is ignored, expected some that count; check the "
            "column 'ignore_label'"
        )
    if not any((labels > 0).any() for labels in counted):
        held = [np.setdiff1d(open_labels(row).read(), row.ignore_label or ()) for row in rows]
        values = np.unique(np.concatenate(held))
        wanted = next((r.foreground_label for r in rows if r.foreground_label is not None), None)
        expected = "a value above 0" if wanted is None else f"the foreground_label {wanted}"
        raise InputError(
            f"{where}: labels without any foreground (values that count: {listed(values)}), "
            f"expected {expected} in at least one of the rows; label some, or correct "
            "'foreground_label' or 'ignore_label'"
        )
    if not any((labels == 0).any() for labels in counted):
        raise InputError(
            f"{where}: labels hold one class only, all that counts is foreground; expected some "
            "background too; label it, or correct 'foreground_label' and 'ignore_label'"
        )


def _float(raw: NDArray[Any]) -> NDArray[Any]:
    """As float32 but for the types that `normalize` reads without loss (or faster) itself."""
    return raw.astype(np.float32) if raw.dtype == np.float64 else raw
