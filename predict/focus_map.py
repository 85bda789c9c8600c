"""A focus map of a whole volume: one voxel for every tile of every slice, as an image that opens
over the volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..configs.errors import InputError
from ..data.save import save_volume
from ..data.sharpness import tile_sides
from .focus import FocusResult


def write_focus_map(path: Path, result: FocusResult, overwrite: bool = False) -> Path:
    """Write the tile scores of a volume, where their tiles lie.

    Args:
        path: a name in .ome.zarr, .ome.tif or .nii.gz.
        result: of `score_stack` in volume mode; S slices, Ty by Tx tiles.
        overwrite: replace what stands there.

    Returns:
        The path; it holds [S, Ty, Tx] float32, nan where a tile is empty, saturated or too dark.
        Slices that are missing in the stack are nan too.

    Raises:
        InputError: a sweep, whose slices are no volume; fewer than two slices; or a place that
            cannot be written.
    """
    if result.mode != "volume":
        raise InputError(
            f"{path}: a map of a sweep, whose slices show the same place; give --mode volume"
        )
    stack = result.stack
    steps = np.diff(stack.z_index)
    if not len(steps):
        raise InputError(f"{path}: a map of one slice, expected a volume; leave --map out")
    step = int(np.gcd.reduce(steps))
    places = (np.array(stack.z_index) - stack.z_index[0]) // step
    values = np.full((int(places[-1]) + 1, *result.tile_scores.shape[1:]), np.nan, np.float32)
    values[places] = result.tile_scores
    size = offset = None
    if stack.voxel_size_um is not None:
        rows, columns, high, wide = tile_sides(stack.shape)
        # Tiles lie in the middle of the slice, which loses a few pixels at its edges.
        z, y, x = stack.voxel_size_um
        top, left = (stack.shape[0] - rows * high) // 2, (stack.shape[1] - columns * wide) // 2
        size = z * step, y * high, x * wide
        offset = z * stack.z_index[0], y * (top + (high - 1) / 2), x * (left + (wide - 1) / 2)
    return save_volume(values, path, voxel_size_um=size, translation_um=offset, overwrite=overwrite)
