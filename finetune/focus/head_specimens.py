"""Specimens that stacks are imaged of: simulated scenes, or sharp real volumes taken for dye."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...configs.errors import InputError
from ...data.draws import keyed_rng
from ...data.manifest import read_dataset
from ...data.open import open_volume
from ...data.ranges import log_uniform
from ...data.row import Row
from ...data.synthetic.compose import compose
from ...data.volume import Volume
from ...data.voxel import VoxelSize
from .head_optics import check_pixel
from .head_recipe import HeadRecipe

PIXEL_UM = (0.5, 3.0)
_ROOM = 1.5  # side of a scene over that of a slice, so that stacks show different parts
_DARK, _FULL = 0.01, 0.999  # quantiles of a real volume that hold no dye, and are full of it


@dataclass(frozen=True)
class Specimen:
    """Dye, sharp.

    Attributes:
        name: of the specimen.
        density: [Z, Y, X] float32, 1 = filled with dye.
        voxel_size_um: (z, y, x).
        stain: what colours it.
    """

    name: str
    density: Tensor
    voxel_size_um: VoxelSize
    stain: str | None


def draw_specimen(recipe: HeadRecipe, seed: int, number: int) -> Specimen:
    """A simulated one; depends on (recipe, seed, number) only. Structures take turns."""
    pixel = log_uniform(keyed_rng("focus specimen", seed, number), PIXEL_UM)
    side = round(_ROOM * recipe.side)
    plan = recipe.scene.model_copy(
        update={
            "size": (recipe.planes, side, side),
            "pixel_um": (pixel, pixel),
            "z_over_xy": (1.0, 1.0),
        }
    )
    scene = compose(plan, seed, number)
    density = torch.from_numpy(np.ascontiguousarray(scene.grid.pick_planes(scene.density)))
    return Specimen(f"simulated {number}", density.float(), (pixel, pixel, pixel), scene.stain)


def open_specimens(source: str, recipe: HeadRecipe) -> list[Specimen]:
    """Real volumes of a dataset list, their middles: what is imaged once more, out of focus.

    They bring their own blur, so choose sharp ones; u = 0 means no worse than they are.

    Raises:
        InputError: not readable, no voxel size, pixels that are not square or that no lens is used
            with, or too few of them; of any volume, before the first is read.
    """
    return [
        _read(*opened, recipe) for opened in [_open(row, recipe) for row in read_dataset(source)]
    ]


def _open(row: Row, recipe: HeadRecipe) -> tuple[Row, Volume, VoxelSize]:
    """A volume that can be imaged; nothing is read yet."""
    volume = open_volume(row.image, axes=row.axes, voxel_size_um=row.voxel_size_um)
    size = volume.voxel_size_um
    if size is None or abs(size[1] - size[2]) > 0.01 * size[1]:
        raise InputError(
            f"{row.image}: voxel size {size}, expected (z, y, x) in um with square pixels to "
            "defocus it by; give voxel_size_um in the list"
        )
    check_pixel(size[1], str(row.image))
    if min(volume.shape[1:]) < recipe.side or volume.shape[0] < 3:
        raise InputError(
            f"{row.image}: {volume.shape} voxels (z, y, x), expected at least 3 slices of "
            f"{recipe.side} pixels; set side smaller, or take it out of the list"
        )
    return row, volume, size


def _read(row: Row, volume: Volume, size: VoxelSize, recipe: HeadRecipe) -> Specimen:
    """The middle of a volume, taken for dye."""
    room = min(round(_ROOM * recipe.side), *volume.shape[1:])
    shape = (min(recipe.planes, volume.shape[0]), room, room)
    corner = tuple((n - s) // 2 for n, s in zip(volume.shape, shape, strict=True))
    voxels = volume.read((corner[0], corner[1], corner[2]), shape, channels=0)[0]
    light = torch.from_numpy(np.ascontiguousarray(voxels, np.float32))
    few = light.flatten()[:: max(1, light.numel() // 1_000_000)]
    low, high = torch.quantile(few, torch.tensor([_DARK, _FULL])).tolist()
    density = ((light - low) / max(high - low, 1e-6)).clamp(0, 2)
    return Specimen(row.group or row.id, density, size, row.stain)
