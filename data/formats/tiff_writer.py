"""OME-TIFF, plane by plane, so that a volume larger than memory can be written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

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
    translation_um: VoxelSize | None = None,
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
        translation_um: (z, y, x) of the centre of the first voxel.
    """
    stored = shape if "c" in axes else shape[1:]
    tifffile.imwrite(
        path,
        read_planes(shape, read, progress),
        shape=stored,
        dtype=dtype,
        ome=True,
        bigtiff=needs_bigtiff(math.prod(shape) * dtype.itemsize),
        photometric="minisblack",
        metadata=describe_ome(axes, stored, voxel_size_um, translation_um, channel_names),
    )


def needs_bigtiff(size: int) -> bool:
    """Whether so many bytes of voxels are too large for a classic TIFF."""
    return size > _CLASSIC_LIMIT


def describe_ome(
    axes: str,
    shape: tuple[int, ...],
    voxel_size_um: VoxelSize | None,
    translation_um: VoxelSize | None,
    channel_names: tuple[str, ...],
) -> dict[str, Any]:
    """The OME metadata of an image, as tifffile takes them.

    Args:
        axes: "zyx" or "czyx".
        shape: along these axes.
        voxel_size_um: PhysicalSizeZ, Y and X; left out where None.
        translation_um: (z, y, x) of the centre of the first voxel, kept as the position of every
            plane; left out where it is 0, or sizes are unknown.
        channel_names: one for each channel, may be empty.
    """
    found: dict[str, Any] = {"axes": axes.upper()}
    if voxel_size_um is not None:
        for axis, size in zip("ZYX", voxel_size_um, strict=True):
            found |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "\u00b5m"}
    if channel_names and "c" in axes:
        found["Channel"] = {"Name": list(channel_names)}
    if voxel_size_um is not None and translation_um is not None and any(translation_um):
        channels, depth = (shape[0] if "c" in axes else 1), shape[-3]
        z, y, x = translation_um
        heights = [z + plane * voxel_size_um[0] for plane in range(depth)] * channels
        plane: dict[str, list[Any]] = {}
        for axis, places in (("X", [x]), ("Y", [y]), ("Z", heights)):
            places = places if len(places) > 1 else places * len(heights)
            plane[f"Position{axis}"] = places
            plane[f"Position{axis}Unit"] = ["\u00b5m"] * len(heights)
        found["Plane"] = plane
    return found
