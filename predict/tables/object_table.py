"""One row an object: where it lies, how large and bright it is, what shape it has."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...data.voxel import VoxelSize
from .object_sums import PAIRS, ObjectSums
from .write import Table

_AXIS = math.sqrt(20)  # full axis of an ellipsoid over the spread of its voxels along it


def object_table(
    sums: ObjectSums,
    region: NDArray[np.int64] | None,
    image: bool,
    voxel_size_um: VoxelSize | None,
    translation_um: VoxelSize | None,
) -> Table:
    """Turn sums into columns; docs/whole-volume.md says what each means.

    Args:
        sums: of N objects.
        region: [N], the one that the centroid lies in; None = no such column.
        image: whether there was one to measure intensity in.
        voxel_size_um: (z, y, x); None = unknown: what is in um stays empty (NaN).
        translation_um: (z, y, x) of the centre of the first voxel.

    Returns:
        Columns of N values.
    """
    voxels = sums.added[:, 0]
    centroid = centroids(sums)
    size = np.array(voxel_size_um or (math.nan,) * 3)
    sides = sums.most - sums.least[:, :3] + 1
    table: Table = {"id": sums.ids, "label": sums.label, "voxels": voxels.astype(np.int64)}
    table["volume_um3"] = voxels * size.prod()
    if region is not None:
        table["region"] = region
    place_um = centroid * size + np.array(translation_um or (0.0, 0.0, 0.0))
    for axis, name in enumerate("zyx"):
        table[name] = centroid[:, axis]
    for axis, name in enumerate("zyx"):
        table[f"{name}_um"] = place_um[:, axis]
    for axis, name in enumerate("zyx"):
        table[f"{name}_first"] = sums.least[:, axis]
        table[f"{name}_last"] = sums.most[:, axis]
    if image:
        total, squares = sums.added[:, 10], sums.added[:, 11]
        table["intensity_mean"] = total / voxels
        spread = np.maximum(squares / voxels - (total / voxels) ** 2, 0)
        table["intensity_sd"] = np.sqrt(spread)
        table["intensity_max"] = sums.brightest
    table["diameter_um"] = np.cbrt(6 / math.pi * voxels * size.prod())
    table["extent"] = voxels / sides.prod(1)
    # Ratios are the same in voxels where nothing says how long those are.
    axes = principal_axes(sums, voxel_size_um or (1.0, 1.0, 1.0))
    for name, length in zip(("long", "middle", "short"), axes.T, strict=True):
        table[f"{name}_axis_um"] = length if voxel_size_um else np.full(len(length), math.nan)
    table["elongation"] = axes[:, 0] / axes[:, 1]
    table["flatness"] = axes[:, 1] / axes[:, 2]
    return table


def centroids(sums: ObjectSums) -> NDArray[np.float64]:
    """[N, 3], mean place (z, y, x) in voxels; 0 is the centre of the first voxel."""
    return sums.added[:, 1:4] / sums.added[:, :1]


def principal_axes(sums: ObjectSums, voxel_size_um: VoxelSize) -> NDArray[np.float64]:
    """[N, 3], longest first: axes in um of the ellipsoids with the second moments of the objects.

    A voxel counts as a box, so that no axis is 0.
    """
    voxels, size = sums.added[:, 0], np.array(voxel_size_um)
    # From the corner of the object: far from the origin the difference below would lose digits.
    corner = sums.least[:, :3].astype(np.float64)
    mean = (sums.added[:, 1:4] - voxels[:, None] * corner) / voxels[:, None]
    moments = np.zeros((len(voxels), 3, 3))
    for column, (a, b) in enumerate(PAIRS, start=4):
        from_corner = (
            sums.added[:, column]
            - corner[:, a] * sums.added[:, 1 + b]
            - corner[:, b] * sums.added[:, 1 + a]
            + voxels * corner[:, a] * corner[:, b]
        )
        spread = from_corner / voxels - mean[:, a] * mean[:, b]
        moments[:, a, b] = moments[:, b, a] = (spread + (a == b) / 12) * size[a] * size[b]
    variances = np.linalg.eigvalsh(moments)[:, ::-1] if len(moments) else np.zeros((0, 3))
    least = (size**2 / 12).min()  # of a voxel's own shortest side; rounding may go below
    return _AXIS * np.sqrt(np.maximum(variances, least))
