"""What is summed up of each object while its voxels pass by; sums of boxes add up to the whole.

Places are whole numbers, whose sums are exact up to 2^53, so that the boxes leave no trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..task_weights import Triple

PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Axes of the second moments, in the order of their sums."""


class ObjectSums(NamedTuple):
    """Of N objects, ascending. Places are voxels (z, y, x) of the whole volume.

    Attributes:
        ids: [N] their numbers.
        added: [N, 12] float64: voxels, sums of z, y, x, of the products of `PAIRS`, of intensity
            and of its square.
        least: [N, 4] int64: smallest z, y, x, and the first voxel, counted z-major.
        most: [N, 3] int64: largest z, y, x.
        brightest: [N] float64: largest intensity.
        label: [N] int64: the value in the file.
    """

    ids: NDArray[np.int64]
    added: NDArray[np.float64]
    least: NDArray[np.int64]
    most: NDArray[np.int64]
    brightest: NDArray[np.float64]
    label: NDArray[np.int64]


def sum_box(
    ids: NDArray, labels: NDArray, image: NDArray | None, origin: Triple, shape: Triple
) -> ObjectSums:
    """Sum up one box.

    Args:
        ids: [Z, Y, X] number of the object of every voxel, 0 = none.
        labels: [Z, Y, X] values in the file.
        image: [Z, Y, X] intensity; None = 0 everywhere.
        origin: (z, y, x) of the box in the volume.
        shape: (Z, Y, X) of the volume.
    """
    flat = np.flatnonzero(ids)
    numbers = ids.reshape(-1)[flat].astype(np.int64)
    order = np.argsort(numbers, kind="stable")
    flat, numbers = flat[order], numbers[order]
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    places = np.stack(np.unravel_index(flat, ids.shape)) + np.array(origin)[:, None]
    values = np.zeros(len(flat)) if image is None else image.reshape(-1)[flat].astype(np.float64)
    # Whole numbers of one box fit into 64 bits: sides below 2^21, boxes below 2^21 voxels.
    sums = [np.ones_like(flat), *places, *(places[a] * places[b] for a, b in PAIRS)]
    sums = [np.add.reduceat(each, starts).astype(np.float64) for each in sums]
    sums += [np.add.reduceat(each, starts) for each in (values, values**2)]
    first = np.ravel_multi_index([*places], shape)
    return ObjectSums(
        numbers[starts],
        np.stack(sums, 1),
        np.stack([np.minimum.reduceat(each, starts) for each in (*places, first)], 1),
        np.stack([np.maximum.reduceat(each, starts) for each in places], 1),
        np.maximum.reduceat(values, starts),
        labels.reshape(-1)[flat[starts]].astype(np.int64),
    )


def merged(parts: Sequence[ObjectSums]) -> ObjectSums:
    """Sums over what several boxes say; objects with the same number are one."""
    if not parts:
        return ObjectSums(
            np.zeros(0, np.int64), np.zeros((0, 12)), np.zeros((0, 4), np.int64),
            np.zeros((0, 3), np.int64), np.zeros(0), np.zeros(0, np.int64),
        )  # fmt: skip
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    return ObjectSums(
        ids[starts],
        np.add.reduceat(np.concatenate([part.added for part in parts])[order], starts),
        np.minimum.reduceat(np.concatenate([part.least for part in parts])[order], starts),
        np.maximum.reduceat(np.concatenate([part.most for part in parts])[order], starts),
        np.maximum.reduceat(np.concatenate([part.brightest for part in parts])[order], starts),
        np.concatenate([part.label for part in parts])[order][starts],
    )


class Running:
    """Sums of all boxes so far; what is kept grows with the objects, not with the boxes."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._parts: list[ObjectSums] = []
        self._rows = 0

    def add(self, part: ObjectSums) -> None:
        """Take the sums of one more box."""
        self._parts.append(part)
        self._rows += len(part.ids)
        if self._rows > 2 * len(self._parts[0].ids) + 100_000:
            self._parts = [merged(self._parts)]
            self._rows = len(self._parts[0].ids)

    def total(self) -> ObjectSums:
        """Sums of everything."""
        return merged(self._parts)
