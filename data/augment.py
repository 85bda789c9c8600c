"""Augmentation of whole batches on the training device.

What happens to a sample is a pure function of (seed, its global index); the config only says within
which bounds. Padded voxels stay zero, and what is known of a sample (extent, voxel size, noise) is
kept true.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from .augment_geometry import orient, resample
from .augment_intensity import add_noise, change_intensity
from .draws import keyed_rng

Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]

NEAR_CUBIC = 1.2  # voxels whose sides differ less may be turned about any axis
_SLOTS = 40  # uniform numbers per sample; each parameter has its own, so that none shifts another


class AugmentConfig(BaseModel):
    """Bounds of the augmentation; a factor of 1, an amount or a share of 0 turns a part off.

    Factors are drawn log-uniformly. Shares say for how many of the samples a costly part is done.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    flips: bool = True  # each axis on its own
    turns: bool = True  # quarter turns about z; about any axis where voxels are near cubic
    zoom: Factor = 1.4  # part of the crop magnified up to so much; image and voxel size together
    zoom_share: Share = 0.2
    blur: Amount = 1.0  # largest Gaussian sigma, in voxels, each axis on its own
    blur_share: Share = 0.1
    gain: Factor = 1.25  # of normalised intensity
    offset: Amount = 0.3  # in normalised intensity
    contrast: Factor = 1.6  # factor before the asinh of the normalisation: acts like a gamma
    contrast_share: Share = 0.2
    falloff: Share = 0.5  # largest loss of signal at the far side, along a random axis
    falloff_share: Share = 0.2
    noise: Amount = 0.3  # largest sigma of added white noise, in normalised intensity
    noise_share: Share = 0.25
    spacing: Factor = 2.0  # voxel size alone, all axes together, from 1/2 to 2 times
    spacing_axis: Factor = 1.2  # voxel size alone, each axis on its own
    hide_spacing: Share = 0.3  # share of samples that are told no voxel size


def augment(batch: dict[str, Tensor], config: AugmentConfig, seed: int) -> dict[str, Tensor]:
    """Augment a decoded batch on the device where its crop lies.

    Shapes: B batch, Z Y X voxels.

    Args:
        batch: `crop` [B, 1, Z, Y, X] float32 normalised; `extent` [B, 3]; `voxel_size_um` [B, 3];
            `spacing_known`, `noise`, `variance`, `index` [B]. Other entries pass through.
        config: bounds.
        seed: of the run.

    Returns:
        A new batch; the given one is not changed.
    """
    crop = batch["crop"]
    device = crop.device
    uniform = np.stack(
        [keyed_rng("augment", seed, int(i)).random(_SLOTS) for i in batch["index"].tolist()]
    )
    extent = batch["extent"].cpu()
    size = batch["voxel_size_um"].double().cpu()
    known = batch["spacing_known"].cpu()
    noise, variance = batch["noise"].double().cpu(), batch["variance"].double().cpu()

    near_cubic = known & (size.amax(1) / size.amin(1) < NEAR_CUBIC)
    orders = _axis_orders(uniform[:, 3:5], near_cubic, extent) if config.turns else None
    flips = torch.from_numpy(uniform[:, 0:3] < 0.5) & config.flips
    crop, extent, size = orient(crop, extent, size, orders, flips)

    zoom = _factor(uniform[:, 5], config.zoom, low=1.0)
    zoom = torch.where(_chosen(uniform[:, 6], config.zoom_share), zoom, 1.0)
    sigma = torch.from_numpy(uniform[:, 7:10]) * config.blur
    sigma = torch.where(_chosen(uniform[:, 10], config.blur_share)[:, None], sigma, 0.0)
    place = torch.from_numpy(uniform[:, 11:14])
    noise = noise * resample(crop, extent, zoom, place, sigma)
    size = size / zoom[:, None]

    gain = _factor(uniform[:, 14], config.gain)
    offset = (torch.from_numpy(uniform[:, 15]) * 2 - 1) * config.offset
    contrast = _factor(uniform[:, 16], config.contrast)
    contrast = torch.where(_chosen(uniform[:, 17], config.contrast_share), contrast, 1.0)
    loss = torch.from_numpy(uniform[:, 18]) * config.falloff
    loss = torch.where(_chosen(uniform[:, 19], config.falloff_share), loss, 0.0)
    change_intensity(crop, gain, offset, contrast, loss, *_falloff_side(uniform[:, 20:22]))
    noise, variance = noise * gain * contrast, variance * gain**2

    added = torch.from_numpy(uniform[:, 22]) * config.noise
    added = torch.where(_chosen(uniform[:, 23], config.noise_share), added, 0.0)
    add_noise(crop, added, (uniform[:, 24] * 2**53).astype(np.int64))
    noise = torch.sqrt(noise**2 + added**2)
    clear_padding(crop, extent)

    hidden = _chosen(uniform[:, 25], config.hide_spacing)
    size = size * _factor(uniform[:, 26], config.spacing)[:, None]
    size = size * _factor(uniform[:, 27:30], config.spacing_axis)
    known = known & ~hidden
    size = torch.where(known[:, None], size, 1.0)
    changed = {
        "extent": extent,
        "voxel_size_um": size.float(),
        "spacing_known": known,
        "noise": noise.float(),
        "variance": variance.float(),
    }
    moved = {name: value.to(device, non_blocking=True) for name, value in changed.items()}
    return {**batch, "crop": crop, **moved}


def clear_padding(crop: Tensor, extent: Tensor) -> None:
    """Set the voxels beyond each sample's extent to zero, in place.

    Args:
        crop: [B, 1, Z, Y, X].
        extent: [B, 3] on the CPU.
    """
    sides = crop.shape[2:]
    for sample, (z, y, x) in zip(crop, extent.tolist(), strict=True):
        if (z, y, x) != tuple(sides):
            sample[:, z:] = 0
            sample[:, :, y:] = 0
            sample[:, :, :, x:] = 0


def _axis_orders(uniform: NDArray, near_cubic: Tensor, extent: Tensor) -> list[tuple[int, ...]]:
    """Axis orders, one a sample; with flips these are all quarter turns.

    Only axes with equally many real voxels change places, so that extents stay what they are.
    """
    orders = []
    for (first, second), cubic, sides in zip(
        uniform, near_cubic.tolist(), extent.tolist(), strict=True
    ):
        order = [0, 1, 2]
        if cubic and sides[0] == sides[1] == sides[2]:
            axis = int(first * 3)  # which axis comes to lie along z: all six orders equally often
            order[0], order[axis] = order[axis], order[0]
        if second < 0.5 and sides[1] == sides[2]:
            order[1], order[2] = order[2], order[1]
        orders.append(tuple(order))
    return orders


def _falloff_side(uniform: NDArray) -> tuple[list[int], list[bool]]:
    """Axis of the loss (z half the time: detection; y, x: the sheet), and whether it is
    reversed."""
    axes = [0 if u < 0.5 else 1 if u < 0.75 else 2 for u in uniform[:, 0]]
    return axes, [bool(u < 0.5) for u in uniform[:, 1]]


def _factor(uniform: NDArray, bound: float, low: float | None = None) -> Tensor:
    """Log-uniform between 1/bound (or `low`) and bound."""
    start = np.log(1 / bound if low is None else low)
    return torch.from_numpy(np.exp(start + uniform * (np.log(bound) - start)))


def _chosen(uniform: NDArray, share: float) -> Tensor:
    return torch.from_numpy(uniform < share)
