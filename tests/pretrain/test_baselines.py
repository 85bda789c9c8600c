"""The trivial predictors are what they say, and see only what is visible."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from luxvox.models.patch_embed import patchify
from luxvox.pretrain.baselines import inverse_distance, visible_mean
from luxvox.pretrain.masking import draw_masks
from luxvox.pretrain.recipe import MaskingRecipe

PATCH = (4, 4, 4)
GRID = (4, 5, 6)
RECIPE = MaskingRecipe(ratio=0.6, queries=0.6)


def _scene() -> tuple[torch.Tensor, torch.Tensor, object]:
    torch.manual_seed(0)
    crop = torch.randn(2, 1, 16, 20, 24)
    masks = draw_masks(
        torch.arange(2), torch.tensor([[16, 20, 24]] * 2), GRID, PATCH, RECIPE, 1, every_hidden=True
    )
    return crop, torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 1.0]]), masks


def test_inverse_distance_agrees_with_a_loop_over_voxels() -> None:
    crop, size, masks = _scene()
    got = inverse_distance(patchify(crop, PATCH), masks, GRID, PATCH, size)
    tokens = np.stack(np.meshgrid(*map(np.arange, GRID), indexing="ij"), -1).reshape(-1, 3)
    centres = (tokens + 0.5) * PATCH * size[0].numpy()
    means = patchify(crop, PATCH)[0].mean(-1).numpy()
    kept = masks.keep[0].numpy()
    checked = 0
    for row, query in enumerate(masks.query[0].tolist()):
        far = np.linalg.norm(centres[kept] - centres[query], axis=1)
        order = np.argsort(far)
        if far[order[8]] - far[order[7]] < 1e-3:
            continue  # on a grid the eighth neighbour is often one of several equals
        near = kept[order[:8]]
        for voxel in ((0, 0, 0), (1, 2, 3), (3, 3, 0)):
            place = (tokens[query] * PATCH + np.array(voxel) + 0.5) * size[0].numpy()
            weight = 1 / ((place - centres[near]) ** 2).sum(1)
            expected = (weight * means[near]).sum() / weight.sum()
            flat = voxel[0] * 16 + voxel[1] * 4 + voxel[2]
            assert float(got[0, row, flat]) == pytest.approx(float(expected), abs=1e-5)
            checked += 1
    assert checked > 20


def test_neither_predictor_sees_hidden_voxels() -> None:
    crop, size, masks = _scene()
    patches = patchify(crop, PATCH)
    changed = patches.clone()
    for row in range(2):
        changed[row, masks.query[row]] += 100
    assert torch.equal(visible_mean(patches, masks), visible_mean(changed, masks))
    before = inverse_distance(patches, masks, GRID, PATCH, size)
    assert torch.equal(before, inverse_distance(changed, masks, GRID, PATCH, size))


def test_interpolation_beats_the_mean_on_a_smooth_scene_and_the_mean_is_the_mean() -> None:
    _, size, masks = _scene()
    z, y, x = torch.meshgrid(*[torch.linspace(0, 3, n) for n in (16, 20, 24)], indexing="ij")
    patches = patchify((z + y * x)[None, None].expand(2, 1, -1, -1, -1), PATCH)
    target = torch.take_along_dim(patches, masks.query[:, :, None], dim=1)
    mean = visible_mean(patches, masks)
    seen = torch.take_along_dim(patches, masks.keep[:, :, None], dim=1)
    assert torch.allclose(mean[:, 0, 0], seen.mean((1, 2)), atol=1e-5)
    close = inverse_distance(patches, masks, GRID, PATCH, size)
    assert (close - target).square().mean() < 0.3 * (mean - target).square().mean()
