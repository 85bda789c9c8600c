"""Patches: one order for tokens, voxels, masks; shown on crops whose sides all differ."""

import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.models.patch_embed import (
    PatchEmbed,
    gather_patches,
    patchify,
    split_index,
    token_grid,
    unpatchify,
)

SHAPE, PATCH = (16, 24, 40), (4, 8, 8)


def coded(shape=SHAPE, batch=1):
    """Every voxel's value is its own index."""
    count = batch * shape[0] * shape[1] * shape[2]
    return torch.arange(count, dtype=torch.float64).reshape(batch, 1, *shape)


@pytest.mark.parametrize("patch", [(8, 8, 8), (4, 8, 8), (2, 4, 8), (16, 24, 40)])
def test_unpatchify_is_the_inverse(patch):
    crop = coded(batch=2)
    patches = patchify(crop, patch)
    assert torch.equal(unpatchify(patches, token_grid(crop.shape, patch), patch), crop)


def test_token_order_is_z_major_on_a_non_cubic_crop():
    patches = patchify(coded(), PATCH)
    gz, gy, gx = token_grid(SHAPE, PATCH)
    assert (gz, gy, gx) == (4, 3, 5)
    for token in (0, 1, gx, gy * gx, gz * gy * gx - 1, 23):
        z, y, x = (int(part) for part in split_index(torch.tensor(token), gy, gx))
        box = coded()[0, 0, z * 4 : z * 4 + 4, y * 8 : y * 8 + 8, x * 8 : x * 8 + 8]
        assert torch.equal(patches[0, token], box.flatten())


def test_gather_takes_the_named_patches():
    crop = coded(batch=3)
    index = torch.rand(3, 60).argsort(1)[:, :17]
    expected = torch.take_along_dim(patchify(crop, PATCH), index[..., None], dim=1)
    assert torch.equal(gather_patches(crop, PATCH, index), expected)


def test_gather_of_several_channels():
    crop = torch.randn(2, 3, *SHAPE)
    index = torch.rand(2, 60).argsort(1)[:, :9]
    expected = torch.take_along_dim(patchify(crop, PATCH), index[..., None], dim=1)
    assert torch.equal(gather_patches(crop, PATCH, index), expected)


def test_gather_reads_no_other_voxel():
    crop = coded().requires_grad_()
    index = torch.tensor([[0, 7, 59]])
    gather_patches(crop, PATCH, index).sum().backward()
    seen = patchify(crop.grad, PATCH)[0].sum(-1)
    assert set(seen.nonzero().flatten().tolist()) == {0, 7, 59}


@pytest.mark.parametrize("shape", [(16, 24, 36), (4, 24, 40)])
def test_sides_that_do_not_fit_are_an_error(shape):
    with pytest.raises(InputError, match="multiple of the patch size"):
        patchify(torch.zeros(1, 1, *shape), (8, 8, 8))


def test_embedding_keeps_patches_apart():
    embed = PatchEmbed(256, 12).double()
    patches = torch.randn(1, 5, 256, dtype=torch.float64)
    changed = patches.clone()
    changed[0, 3] += 1
    difference = (embed(changed) - embed(patches)).abs().sum(-1)[0]
    assert difference[3] > 0
    assert difference[[0, 1, 2, 4]].max() == 0
