"""Positions in um: the scene decides, not the sampling."""

import math

import pytest
import torch

from luxvox.models.position import (
    positions_of,
    rotary_table,
    rotate,
    rotate_back,
    token_pitch_um,
    token_positions_um,
)

WAVES = (16.0, 1536.0)


def test_positions_are_patch_centres_in_um_z_major():
    voxel = torch.tensor([[6.0, 1.5, 2.0]])
    positions = token_positions_um((2, 3, 4), (4, 8, 8), voxel)
    assert positions.shape == (1, 24, 3)
    assert positions[0, 0].tolist() == [12.0, 6.0, 8.0]
    assert positions[0, 1].tolist() == [12.0, 6.0, 24.0]
    assert positions[0, 4].tolist() == [12.0, 18.0, 8.0]
    assert positions[0, 12].tolist() == [36.0, 6.0, 8.0]
    index = torch.tensor([[13, 2]])
    chosen = positions_of(index, (2, 3, 4), token_pitch_um((4, 8, 8), voxel))
    assert torch.equal(chosen, positions[:, [13, 2]])


def test_same_scene_at_two_voxel_sizes_has_the_same_positions_and_phases():
    coarse = torch.tensor([[4.0, 2.0, 2.0]])  # patches of 8 voxels
    fine = torch.tensor([[2.0, 1.0, 1.0]])  # the same patches in um, of 16 voxels
    same = [
        token_positions_um((2, 3, 4), patch, voxel)
        for patch, voxel in (((8, 8, 8), coarse), ((16, 16, 16), fine))
    ]
    assert torch.equal(same[0], same[1])
    # With patches of 8 on both, the fine crop's 2x2x2 children lie around their coarse parent.
    children = token_positions_um((4, 6, 8), (8, 8, 8), fine).reshape(2, 2, 3, 2, 4, 2, 3)
    parents = children.mean(dim=(1, 3, 5)).reshape(1, 24, 3)
    assert torch.allclose(parents, same[0])
    # And a place in the scene has the same phases in both, in all bands that both resolve.
    table = [
        rotary_table(same[0], token_pitch_um((8, 8, 8), voxel), 64, (128.0, 4000.0))
        for voxel in (coarse, fine)
    ]
    assert torch.equal(table[0].cos, table[1].cos)
    assert torch.equal(table[0].sin, table[1].sin)
    assert table[0].sin.abs().max() > 0.5


@pytest.mark.parametrize("head_dim", [6, 16, 32, 64])
def test_products_depend_on_differences_of_positions_only(head_dim):
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(1, 7, 3, generator=generator) * 300
    pitch = torch.full((1, 3), 4.0)
    query, key = torch.randn(2, 1, 7, 1, head_dim, generator=generator)

    def products(shift):
        table = rotary_table(positions + shift, pitch, head_dim, WAVES)
        return torch.einsum("bqhd,bkhd->bqk", rotate(query, table), rotate(key, table))

    moved = products(torch.tensor([500.0, -80.0, 33.0]))
    assert torch.allclose(products(0.0), moved, atol=1e-3)
    stretched = rotary_table(positions * 1.5, pitch, head_dim, WAVES)
    other = torch.einsum("bqhd,bkhd->bqk", rotate(query, stretched), rotate(key, stretched))
    assert (products(0.0) - other).abs().max() > 0.1


def test_equal_vectors_attend_most_to_their_own_place():
    positions = torch.arange(9.0)[None, :, None] * torch.tensor([10.0, 0.0, 0.0])
    table = rotary_table(positions, torch.full((1, 3), 8.0), 64, WAVES)
    turned = rotate(torch.ones(1, 9, 1, 64), table)
    products = torch.einsum("bqhd,bkhd->bqk", turned, turned)[0, 0]
    assert (products.diff()[:2] < 0).all()
    assert products.argmax() == 0


def test_rotate_back_undoes_rotate():
    x = torch.randn(2, 5, 3, 32)
    table = rotary_table(torch.rand(2, 5, 3) * 100, torch.ones(2, 3), 32, WAVES)
    assert torch.allclose(rotate_back(rotate(x, table), table), x, atol=1e-5)
    assert torch.allclose(rotate(x, table).norm(dim=-1), x.norm(dim=-1), rtol=1e-5)


def test_bands_that_would_alias_are_off_per_sample_and_axis():
    bands = 64 // 6
    step = math.log(WAVES[1] / WAVES[0]) / (bands - 1)
    wavelengths = [WAVES[0] * math.exp(step * band) for band in range(bands)]
    pitch = torch.tensor([[48.0, 13.0, 4.0], [4.0, 4.0, 4.0]])
    positions = torch.full((2, 1, 3), 5.0)  # no whole number of any wavelength
    sin = rotary_table(positions, pitch, 64, WAVES).sin[:, 0, 0]
    for sample in range(2):
        for axis in range(3):
            for band, wavelength in enumerate(wavelengths):
                on = sin[sample, axis * bands + band] != 0
                assert on == (wavelength >= 2 * float(pitch[sample, axis]))
    assert (sin[:, 3 * bands :] == 0).all()


def test_tables_are_float32_under_autocast_and_for_low_precision_inputs():
    with torch.autocast("cpu", torch.bfloat16):
        table = rotary_table(torch.ones(1, 2, 3).bfloat16(), torch.ones(1, 3), 32, WAVES)
        turned = rotate(torch.randn(1, 2, 3, 32).bfloat16(), table)
    assert table.cos.dtype == table.sin.dtype == turned.dtype == torch.float32
