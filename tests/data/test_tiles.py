"""Tiles: cover every voxel, weigh as MONAI does, and give back the whole-volume prediction."""

import pytest
import torch
from torch.nn import functional as F

from luxvox.configs.errors import InputError
from luxvox.data.tiles import (
    blend_tiles,
    gaussian_weights,
    tapered_weights,
    tile_grid,
    tile_starts,
)


@pytest.mark.parametrize(
    ("side", "tile", "overlap", "expected"),
    [
        (10, 4, 0, [0, 4, 6]),
        (10, 4, 2, [0, 2, 4, 6]),
        (8, 4, 0, [0, 4]),
        (4, 4, 1, [0]),
        (3, 8, 4, [0]),
        (9, 4, 1, [0, 3, 5]),
    ],
)
def test_starts(side, tile, overlap, expected):
    assert tile_starts(side, tile, overlap) == expected


def test_grid_covers_every_voxel_and_stays_inside():
    seen = torch.zeros(11, 5, 17)
    for z, y, x in tile_grid((11, 5, 17), (4, 8, 6), (1, 2, 3)):
        assert seen[z, y, x].shape == (4, 5, 6)
        seen[z, y, x] += 1
    assert seen.min() == 1
    assert seen[3].min() > seen[2].min()  # neighbours share at least one slice


@pytest.mark.parametrize("overlap", [-1, 4])
def test_overlap_must_leave_a_step(overlap):
    with pytest.raises(InputError, match=r"tile 4, overlap .*expected 0 <= overlap < tile"):
        tile_starts(10, 4, overlap)


def test_gaussian_weights_are_those_of_monai():
    from monai.data.utils import compute_importance_map

    ours = gaussian_weights((8, 12, 7))
    theirs = compute_importance_map((8, 12, 7), "gaussian", 0.125).clamp(min=1e-3)
    torch.testing.assert_close(ours, theirs)
    assert ours.min() == pytest.approx(1e-3)


def test_tapered_weights_by_hand():
    def along_x(place, overlap, halo):
        z = y = slice(0, 1)
        weights = tapered_weights((z, y, place), (1, 1, 20), (0, 0, overlap), (0, 0, halo))
        return weights[0, 0].tolist()

    assert along_x(slice(0, 6), 3, 1) == [1, 1, 1, 1, 0.5, 0]
    assert along_x(slice(3, 9), 3, 1) == [0, 0.5, 1, 1, 0.5, 0]
    assert along_x(slice(14, 20), 3, 0) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert along_x(slice(0, 20), 3, 1) == [1] * 20


def uneven(tiles):
    """Depends on the place inside the tile, so that wrong weights or windows show."""
    ramp = torch.arange(tiles.shape[-1], dtype=torch.float32)
    mean = tiles.mean(dim=(2, 3, 4), keepdim=True)
    return torch.cat([tiles * ramp, tiles.cumsum(2) - mean], dim=1)


@pytest.mark.parametrize("share", [0.25, 0.5])
@pytest.mark.parametrize("shape", [(20, 24, 13), (9, 16, 21)])
def test_equals_monai(shape, share):
    from monai.inferers.utils import sliding_window_inference

    volume = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    tile = (8, 12, 12)
    overlap = tuple(int(side * share) for side in tile)
    ours = blend_tiles(uneven, volume, tile, overlap, batch_size=3)
    theirs = sliding_window_inference(
        volume[None], tile, 2, uneven, overlap=share, mode="gaussian", sigma_scale=0.125
    )
    assert ours.shape == (2, *shape)
    torch.testing.assert_close(ours, theirs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("overlap", [4, 7])
def test_equals_the_whole_volume_where_the_reach_is_within_the_halo(overlap):
    torch.manual_seed(0)
    first, second = torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Conv3d(4, 2, 3, padding=1)
    volume = torch.randn(1, 21, 18, 26)

    @torch.no_grad()
    def predict(tiles):
        return second(F.gelu(first(tiles)))  # reach 2

    whole = predict(volume[None])[0]
    sides = ((10, 12, 9), (overlap,) * 3)
    tiled = blend_tiles(predict, volume, *sides, blend="taper", halo=(2, 2, 2), batch_size=4)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
    gaussian = blend_tiles(predict, volume, *sides)
    assert (gaussian - whole).abs().max() > 1e-3  # the halo is what makes it exact


def test_a_constant_stays_constant():
    volume = torch.full((1, 9, 11, 6), 3.0)
    for blend in ("gaussian", "taper"):
        out = blend_tiles(lambda tiles: tiles, volume, (4, 5, 8), (2, 1, 0), blend=blend)
        torch.testing.assert_close(out, volume)


def test_refuses_what_cannot_be_blended():
    volume = torch.zeros(1, 8, 8, 8)
    with pytest.raises(InputError, match="at least twice the halo"):
        blend_tiles(lambda t: t, volume, (4,) * 3, (1,) * 3, blend="taper", halo=(1, 1, 1))
    with pytest.raises(InputError, match='expected blend="taper"'):
        blend_tiles(lambda t: t, volume, (4,) * 3, (2,) * 3, halo=(1, 1, 1))
    with pytest.raises(ValueError, match="the same sides"):
        blend_tiles(lambda t: t[..., 1:], volume, (4,) * 3, (2,) * 3)
