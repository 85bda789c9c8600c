"""Volumes to vectors, one a crop: the grid of crops, and the loop over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..configs.errors import InputError
from ..data.crop_plan import CropConfig, cut_crop, plan_crops
from ..data.normalize import measure_intensity
from ..data.open import open_volume
from ..data.volume import Volume

Triple = tuple[int, int, int]
Encode = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Crops [B, 1, Z, Y, X], voxel sizes [B, 3] in um and whether they are known [B] -> [B, D]."""


def embed_crops(
    encode: Encode,
    volume: Volume,
    crop: CropConfig,
    channel: int,
    batch_size: int,
    device: torch.device,
) -> NDArray[np.float32]:
    """Encode a volume crop by crop, on the grid of `crop_origins`.

    Args:
        encode: gives the vectors of a batch.
        volume: to read from.
        crop: size of the crops.
        channel: index of the channel.
        batch_size: crops encoded together.
        device: where they are put.

    Returns:
        [M, D] float32, in the order of `crop_origins`.

    Raises:
        InputError: the volume is shorter than one patch along an axis.
    """
    plan = plan_crops(volume, crop)
    stats = measure_intensity(volume, channel, plan.level)
    size = torch.tensor([plan.voxel_size_um or (1.0, 1.0, 1.0)], device=device)
    known = torch.tensor([plan.voxel_size_um is not None], device=device)
    vectors = []
    origins = crop_origins(volume, crop)
    for first in range(0, len(origins), batch_size):
        crops = [
            cut_crop(volume, channel, stats, plan, origin, plan.real)
            for origin in origins[first : first + batch_size]
        ]
        batch = torch.from_numpy(np.stack(crops))[:, None].to(device)
        count = len(crops)
        vectors.append(encode(batch, size.expand(count, 3), known.expand(count)).float().cpu())
    return torch.cat(vectors).numpy()


def crop_origins(volume: Volume, crop: CropConfig) -> list[Triple]:
    """Corners (z, y, x) of the crops, in voxels of the level that is read.

    A grid without overlap that reaches both ends of each axis; the last crop of an axis is moved
    back to end at the border.
    """
    plan = plan_crops(volume, crop)
    z, y, x = (list(_starts(*pair)) for pair in zip(plan.size, plan.box, strict=True))
    return [(i, j, k) for i in z for j in y for k in x]


def opened(volume: Volume | str | Path) -> Volume:
    """An open volume as it is, a path opened.

    Raises:
        InputError: neither, such as an array; or not readable.
    """
    if isinstance(volume, Volume):
        return volume
    if not isinstance(volume, (str, Path)):
        raise InputError(
            f"a volume of type {type(volume).__name__}, expected a path or an open volume; "
            "write arrays with luxvox.save_volume first"
        )
    return open_volume(volume)


def _starts(side: int, edge: int) -> Iterator[int]:
    for start in range(0, side, edge):
        yield min(start, side - edge)
        if start + edge >= side:
            return
