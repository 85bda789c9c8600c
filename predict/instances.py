"""From a mask to single objects: those that touch are cut at their necks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..data.voxel import VoxelSize

NECK_VOXELS = 1.0
"""A neck is a cut if it is narrower than both sides by this radius, in the shortest voxel side."""
_NECK_SHARE = 0.25  # of the largest depth found, which is 1 in the labels; 0.1 cuts at its noise


def split_objects(
    mask: NDArray[np.bool_],
    voxel_size_um: VoxelSize | None = None,
    distance: NDArray[np.float32] | None = None,
    deepest: float | None = None,
) -> NDArray[np.uint32]:
    """Number the objects of a mask, each connected piece at least once.

    A watershed of the distance to the background, from its maxima; a maximum that rises less than
    a neck's depth over the next one belongs to it, so that a tube of uneven width stays whole.

    Args:
        mask: [Z, Y, X] bool.
        voxel_size_um: (z, y, x); None = cubes.
        distance: [Z, Y, X] of a head that has learnt it; None = measured in the mask.
        deepest: largest learnt distance of the whole volume, where the mask is a part of it; None =
            that in the mask.

    Returns:
        [Z, Y, X] uint32, 0 = background, numbers without gaps.
    """
    from scipy.ndimage import distance_transform_edt, generate_binary_structure, label
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    if not mask.any():
        return np.zeros(mask.shape, dtype=np.uint32)
    if distance is None:
        size = voxel_size_um or (1.0, 1.0, 1.0)
        depth = np.asarray(distance_transform_edt(mask, sampling=size), dtype=np.float32)
        neck = NECK_VOXELS * min(size)
    else:
        depth = distance.astype(np.float32)
        neck = max(_NECK_SHARE * float(depth[mask].max() if deepest is None else deepest), 1e-6)
    # Far below every object, so that each keeps a maximum of its own however thin it is.
    depth = np.where(mask, depth, depth[mask].min() - 10 * neck)
    floor = reconstruction(depth - neck, depth, method="dilation")
    peaks = np.asarray(local_maxima(floor, connectivity=3, allow_borders=True), dtype=bool) & mask
    seeds = np.zeros(mask.shape, dtype=np.int32)
    label(peaks, generate_binary_structure(3, 3), output=seeds)
    objects = watershed(-depth, seeds, mask=mask, connectivity=3)
    return np.asarray(objects, dtype=np.uint32)
