"""Overlapping tiles for prediction: where they start, how they are weighted, how they blend.

Starts and weights are those of MONAI's `sliding_window_inference`, with the overlap in voxels, so
that tiles can begin on whole patches. Apart from it, because large volumes are done block by block.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from ..configs.errors import InputError

Triple = tuple[int, int, int]
Blend = Literal["gaussian", "taper"]

SIGMA = 0.125
"""Deviation of the Gaussian over the side of the tile; MONAI's, and nnU-Net's."""
FLOOR = 1e-3
"""Least weight of a Gaussian: a corner that only one tile holds still gets its value."""


def tile_starts(side: int, tile: int, overlap: int) -> list[int]:
    """Starts of tiles along one axis; the last is moved back to end at the border.

    Args:
        side: voxels of the volume.
        tile: voxels of a tile; longer than the side = one tile, which is the side.
        overlap: least number of voxels that neighbours share.

    Raises:
        InputError: the overlap leaves no step forward.
    """
    if not 0 <= overlap < tile or side < 1:
        raise InputError(
            f"side {side}, tile {tile}, overlap {overlap}: expected 0 <= overlap < tile and a side "
            "of at least 1; change the tile or the overlap"
        )
    last = max(side - tile, 0)
    starts = list(range(0, last, tile - overlap))
    return [*starts, last]


def tile_grid(shape: Triple, tile: Triple, overlap: Triple) -> list[tuple[slice, slice, slice]]:
    """Tiles that cover a volume, z-major; all tuples are (z, y, x) voxels.

    No tile is larger than the volume. Errors as `tile_starts`.
    """
    axes = [
        [slice(start, min(start + size, side)) for start in tile_starts(side, size, shared)]
        for side, size, shared in zip(shape, tile, overlap, strict=True)
    ]
    return [(z, y, x) for z, y, x in product(*axes)]


def gaussian_weights(tile: Triple) -> Tensor:
    """[Z, Y, X] float32: product over axes of exp(-d^2 / 2 s^2), d from the centre, s = side / 8.

    MONAI's importance map, with its floor of 1e-3.
    """
    profiles = []
    for side in tile:
        distance = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
        profiles.append(torch.exp(-(distance**2) / (2 * (SIGMA * side) ** 2)))
    return _outer(profiles).clamp(min=FLOOR)


def tapered_weights(
    place: tuple[slice, slice, slice], shape: Triple, overlap: Triple, halo: Triple
) -> Tensor:
    """[Z, Y, X] float32: 0 in the halo, then a straight rise to 1 over what else neighbours share.

    At the border of the volume a tile has no neighbour, and keeps weight 1 to its end. Where the
    reach of a net is no more than the halo, what has weight knows nothing of the tile's edges.

    Args:
        place: of the tile in the volume.
        shape: of the volume.
        overlap: shared with neighbours, at least twice the halo.
        halo: voxels from the edge of a tile that are thrown away.
    """
    profiles = []
    for where, side, shared, lost in zip(place, shape, overlap, halo, strict=True):
        length = where.stop - where.start
        inward = torch.arange(length, dtype=torch.float32) - lost + 1
        rise = shared - 2 * lost + 1  # +1: neighbours' weights add up to 1, and the first is not 0
        profile = torch.ones(length)
        if where.start > 0:
            profile *= (inward / rise).clamp(0, 1)
        if where.stop < side:
            profile *= (inward.flip(0) / rise).clamp(0, 1)
        profiles.append(profile)
    return _outer(profiles)


def blend_tiles(
    predict: Callable[[Tensor], Tensor],
    volume: Tensor,
    tile: Triple,
    overlap: Triple,
    blend: Blend = "gaussian",
    halo: Triple = (0, 0, 0),
    batch_size: int = 1,
) -> Tensor:
    """Run a function over all tiles of a volume and blend what it gives.

    Args:
        predict: [N, C, z, y, x] -> [N, K, z, y, x].
        volume: [C, Z, Y, X].
        tile: voxels (z, y, x).
        overlap: least number of voxels that neighbours share, (z, y, x).
        blend: "gaussian" (MONAI's weights) or "taper".
        halo: voxels at the edges of tiles that "taper" throws away.
        batch_size: tiles given to `predict` together.

    Returns:
        [K, Z, Y, X] float32, on the device of the volume.

    Raises:
        InputError: an overlap that leaves no step forward, or less of it than two halos.
        ValueError: `predict` gave another size than that of the tile.
    """
    if blend == "gaussian" and any(halo):
        raise InputError(f'halo {halo} with gaussian weights, expected blend="taper"; choose one')
    if any(shared < 2 * lost for shared, lost in zip(overlap, halo, strict=True)):
        raise InputError(
            f"tiles overlap by {overlap} voxels and lose a halo of {halo} on each side, expected "
            "an overlap of at least twice the halo; change one of them"
        )
    shape = (volume.shape[1], volume.shape[2], volume.shape[3])
    places = tile_grid(shape, tile, overlap)
    z, y, x = places[0]  # all tiles have the same sides
    size = (z.stop - z.start, y.stop - y.start, x.stop - x.start)
    gaussian = gaussian_weights(size) if blend == "gaussian" else None
    total: Tensor | None = None
    weight_sum = torch.zeros(shape, device=volume.device)
    for first in range(0, len(places), batch_size):
        chosen = places[first : first + batch_size]
        tiles = torch.stack([volume[:, z, y, x] for z, y, x in chosen])
        answers = predict(tiles).float().to(volume.device)
        if answers.shape[2:] != tiles.shape[2:]:
            raise ValueError(
                f"prediction of {tuple(answers.shape)} for tiles of {tuple(tiles.shape)}, expected "
                "the same sides"
            )
        if total is None:
            total = answers.new_zeros((answers.shape[1], *shape))
        for place, answer in zip(chosen, answers, strict=True):
            z, y, x = place
            weight = tapered_weights(place, shape, overlap, halo) if gaussian is None else gaussian
            weight = weight.to(answer.device)
            total[:, z, y, x] += answer * weight
            weight_sum[z, y, x] += weight
    assert total is not None  # a volume has at least one tile
    return total / weight_sum


def _outer(profiles: list[Tensor]) -> Tensor:
    z, y, x = profiles
    return z[:, None, None] * y[:, None] * x
