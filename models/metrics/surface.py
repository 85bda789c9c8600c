"""Distances between the surfaces of two masks, in micrometres.

A surface voxel is a voxel of the mask with a face neighbour outside it or outside the crop (MONAI's
rule without subvoxels); each weighs the same, whatever the area of its faces. Ignored voxels are
cut away from both masks first, and the cut is a surface too: otherwise an object whose rim is
ignored (the edge class of axon labels) could be lost for nothing. On single labelled slices every
voxel of an object is therefore surface.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError
from .counted import BoolArray, counted_labels

VoxelSize = tuple[float, float, float]


def normalised_surface_distance(
    found: BoolArray,
    truth: BoolArray,
    voxel_size_um: VoxelSize,
    tolerance_um: float,
    counts: BoolArray | None = None,
) -> float:
    """Share of both surfaces that lies within a tolerance of the other one; 1 is best.

    Nikolov et al., arXiv 1809.04430 (there: surface Dice). 1 where both masks are empty, 0 where
    one is.

    Args:
        found: [Z, Y, X] bool. truth: the same.
        voxel_size_um: (z, y, x) in um.
        tolerance_um: a distance of exactly this much is within.
        counts: [Z, Y, X] bool, True = counts; None = all.

    Raises:
        InputError: shapes differ; a voxel size is not above 0; a tolerance is below 0.
    """
    if not tolerance_um >= 0:
        raise InputError(f"tolerance of {tolerance_um} um, expected 0 or more; give it in um")
    distances = surface_distances_um(found, truth, voxel_size_um, counts)
    if distances is None:
        return 1.0
    both = np.concatenate(distances)
    # A tolerance given as a multiple of the voxel size must not fail by the last bit.
    return float((both <= tolerance_um * (1 + 1e-6)).mean())


def surface_distances_um(
    found: BoolArray,
    truth: BoolArray,
    voxel_size_um: VoxelSize,
    counts: BoolArray | None = None,
) -> tuple[NDArray[np.floating], NDArray[np.floating]] | None:
    """Distance of each surface voxel to the nearest one of the other mask, in um.

    Returns:
        [surface voxels of found], [surface voxels of truth]; inf where the other mask is empty;
        None where both are.
    """
    if len(voxel_size_um) != np.ndim(truth) or not all(side > 0 for side in voxel_size_um):
        raise InputError(
            f"voxel size {tuple(voxel_size_um)}, expected one size above 0 um "
            f"for each of {np.ndim(truth)} axes; surfaces are measured in um"
        )
    found_labels, truth_labels, _ = counted_labels(found, truth, counts, classes=1)
    found_mask, truth_mask = found_labels > 0, truth_labels > 0
    if not found_mask.any() and not truth_mask.any():
        return None
    found_surface, truth_surface = _surface(found_mask), _surface(truth_mask)
    return (
        _distances(found_surface, truth_surface, voxel_size_um),
        _distances(truth_surface, found_surface, voxel_size_um),
    )


def _surface(mask: BoolArray) -> BoolArray:
    from scipy.ndimage import binary_erosion

    return mask & np.logical_not(binary_erosion(mask))


def _distances(at: BoolArray, to: BoolArray, voxel_size_um: VoxelSize) -> NDArray[np.floating]:
    from scipy.ndimage import distance_transform_edt

    if not to.any():
        return np.full(int(at.sum()), np.inf)
    field = np.asarray(distance_transform_edt(np.logical_not(to), sampling=voxel_size_um))
    return field[at]
