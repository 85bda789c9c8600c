"""How crops of a wanted physical size are cut from one volume: level, box, resampling, padding.

Apart from `crops.py`, which chooses where to cut; here is only the arithmetic, the same for
training, evaluation and banks.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..configs.errors import InputError
from .normalize import IntensityStats, normalize
from .volume import Volume
from .voxel import VoxelSize

Triple = tuple[int, int, int]
Side = Annotated[int, Field(gt=0)]
Micrometres = Annotated[float, Field(gt=0)]


class CropConfig(BaseModel):
    """What a crop is; all tuples are (z, y, x)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    shape: tuple[Side, Side, Side] = (64, 64, 64)
    # Wanted voxel size in um; null is native: for the whole, or on one axis ([null, 2, 2]).
    voxel_size_um: tuple[Micrometres | None, Micrometres | None, Micrometres | None] | None = None
    patch: tuple[Side, Side, Side] = (8, 8, 8)  # voxels behind one token; padding ends on its grid
    min_foreground: float = Field(
        default=0.01, ge=0, le=1
    )  # share of voxels that rise above the noise
    tries: int = Field(
        default=4, ge=1
    )  # places looked at; without success the best of them is taken

    @model_validator(mode="after")
    def _whole_patches(self) -> CropConfig:
        if any(side % edge for side, edge in zip(self.shape, self.patch, strict=True)):
            raise ValueError(f"shape {self.shape} is no multiple of patch {self.patch}")
        return self


@dataclass(frozen=True)
class CropPlan:
    """How to cut crops from one volume.

    Attributes:
        level: of the pyramid.
        size: (z, y, x) voxels of that level.
        box: (z, y, x) voxels to read.
        real: (z, y, x) voxels that the box becomes; whole patches. The rest of the crop is padding.
        voxel_size_um: of the crop, true to the last digit; None where unknown.
    """

    level: int
    size: Triple
    box: Triple
    real: Triple
    voxel_size_um: VoxelSize | None

    @property
    def noise_gain(self) -> float:
        """By how much resampling multiplies the standard deviation of white noise."""
        gain = 1.0
        for before, after in zip(self.box, self.real, strict=True):
            weights = resampling_matrix(before, after)
            gain *= math.sqrt(float(np.square(weights).sum()) / after)
        return gain


def plan_crops(volume: Volume, config: CropConfig) -> CropPlan:
    """Choose the level nearest the wanted voxel size, and the box that becomes one crop.

    An axis on which the volume is shorter than the crop gives as many whole patches as it holds. A
    volume of unknown voxel size is cut natively, whatever size is wanted.

    Raises:
        InputError: a side holds less than one patch; the message gives both.
    """
    wanted = config.voxel_size_um
    if wanted is None or volume.voxel_size_um is None:
        level, factor = 0, (1.0, 1.0, 1.0)
    else:
        level = _nearest_level(volume, wanted)
        have = volume.levels[level].voxel_size_um or volume.voxel_size_um
        factor = tuple(1.0 if w is None else w / h for w, h in zip(wanted, have, strict=True))
    size = volume.levels[level].shape
    real, box = [], []
    for axis, (side, crop, patch, scale) in enumerate(
        zip(size, config.shape, config.patch, factor, strict=True)
    ):
        # A thousandth of a voxel is rounding of the sizes in the file, not a missing voxel.
        voxels = min(crop, int(side / scale + 1e-3) // patch * patch)
        if voxels < patch:
            at = "" if scale == 1 else f" ({side / scale:.1f} at the wanted voxel size)"
            raise InputError(
                f"{volume.path}: {side} voxels along {'zyx'[axis]}{at}, expected at least one "
                f"patch of {patch}; use a smaller patch, or take the volume out of the list"
            )
        real.append(voxels)
        box.append(min(side, max(1, round(voxels * scale))))
    found = volume.levels[level].voxel_size_um
    return CropPlan(
        level=level,
        size=size,
        box=_triple(box),
        real=_triple(real),
        voxel_size_um=None
        if found is None
        else tuple(s * b / r for s, b, r in zip(found, box, real, strict=True)),
    )


def _nearest_level(volume: Volume, wanted: tuple[float | None, ...]) -> int:
    """The level whose voxel size is nearest in the logarithm, summed over the wanted axes."""

    def distance(index: int) -> float:
        # An axis that is wanted natively is wanted as the finest level has it.
        have = volume.levels[index].voxel_size_um
        native = volume.voxel_size_um
        if have is None or native is None:
            return math.inf if index else 0.0
        pairs = zip(have, wanted, native, strict=True)
        return sum(abs(math.log(h / (n if w is None else w))) for h, w, n in pairs)

    return min(range(len(volume.levels)), key=distance)


def cut_crop(
    volume: Volume,
    channel: int,
    stats: IntensityStats,
    plan: CropPlan,
    origin: Triple,
    shape: Triple,
) -> NDArray[np.float32]:
    """Read one box, resample and normalise it, and pad it at the end with zeros.

    Args:
        volume: to read from.
        channel: index of the channel.
        stats: of this volume and channel.
        plan: from `plan_crops`.
        origin: (z, y, x) of the box at the plan's level.
        shape: (Z, Y, X) of the crop.

    Returns:
        [Z, Y, X] float32, normalised.
    """
    raw = volume.read(origin, plan.box, plan.level, channels=channel)[0]
    if plan.real != plan.box:
        # Light adds up, so voxels are averaged before the asinh, as a camera or a pyramid would.
        raw = resample_box(raw, plan.real)
    values = normalize(raw, stats).astype(np.float32, copy=False)
    if plan.real == shape:
        return values
    crop = np.zeros(shape, dtype=np.float32)
    z, y, x = plan.real
    crop[:z, :y, :x] = values
    return crop


def resample_box(box: NDArray, shape: Triple) -> NDArray[np.float32]:
    """Resample [z, y, x] to `shape`, trilinear, averaging where it shrinks.

    NaN and infinities are taken as the mean of the finite values of the box.
    """
    values = box.astype(np.float32)
    if box.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        values[~finite] = values[finite].mean() if finite.any() else 0.0
    for axis, side in enumerate(shape):
        if values.shape[axis] != side:
            matrix = resampling_matrix(values.shape[axis], side)
            values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(values)


@functools.lru_cache(maxsize=256)
def resampling_matrix(before: int, after: int) -> NDArray[np.float32]:
    """Weights [after, before] of a triangle filter, as wide as the coarser of the two grids.

    The same rule as Pillow's and PyTorch's antialiased bilinear resize; rows sum to 1.
    """
    scale = before / after
    centre = (np.arange(after) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(before) - centre[:, None]) / max(scale, 1.0)
    weights = np.maximum(1 - distance, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _triple(values: list[int]) -> Triple:
    return values[0], values[1], values[2]
