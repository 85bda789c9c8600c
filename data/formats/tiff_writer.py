"""OME-TIFF, plane by plane, so that a volume larger than memory can be written."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import tifffile

from ..voxel import VoxelSize
from .planes import Progress, ReadBox, read_planes

_CLASSIC_LIMIT = 2**32 - 2**25  # a classic TIFF holds 4 GiB; the same margin as tifffile's


def write_ome_tiff(
    path: Path,
    shape: tuple[int, int, int, int],
    dtype: np.dtype,
    axes: str,
    read: ReadBox,
    progress: Progress,
    voxel_size_um: VoxelSize | None,
    channel_names: tuple[str, ...],
) -> None:
    """Write an uncompressed OME-TIFF, so that crops of it can be mapped; BigTIFF where it is large.

    Args:
        path: is made; should be a temporary place.
        shape: (C, Z, Y, X).
        dtype: number type of the voxels.
        axes: "zyx" or "czyx".
        read: gives a box [Z, Y, X] of one channel.
        progress: told (voxels written, voxels in all).
        voxel_size_um: PhysicalSizeZ, Y and X; left out where None.
        channel_names: one for each channel, may be empty.
    """
    metadata: dict[str, object] = {"axes": axes.upper()}
    if voxel_size_um is not None:
        for axis, size in zip("ZYX", voxel_size_um, strict=True):
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "\u00b5m"}
    if channel_names and "c" in axes:
        metadata["Channel"] = {"Name": list(channel_names)}
    tifffile.imwrite(
        path,
        read_planes(shape, read, progress),
        shape=shape if "c" in axes else shape[1:],
        dtype=dtype,
        ome=True,
        bigtiff=math.prod(shape) * dtype.itemsize > _CLASSIC_LIMIT,
        photometric="minisblack",
        metadata=metadata,
    )
