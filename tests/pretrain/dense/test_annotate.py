"""Labels as people draw them: wide as they look, without the dim, never far away."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from luxvox.pretrain.dense.annotate import annotate


def drawn(
    exact, image, left_out=0.0, seen=0.0, spacing=(1.0, 1.0, 1.0), seed=0, count=1, thin=True
):
    rng = np.random.default_rng(seed)
    image = image.expand(count, *image.shape[-4:])
    labels = exact.expand(count, *exact.shape[-3:])
    shares, thins = [seen] * count, [thin] * count
    return annotate(labels, image, image, spacing, left_out, shares, thins, rng)


def fibre() -> tuple[torch.Tensor, torch.Tensor]:
    """A line of one voxel along x, and its blurred picture, sigma 2 voxels."""
    exact = torch.zeros(24, 24, 24, dtype=torch.uint8)
    exact[12, 12] = 1
    z, y = torch.meshgrid(*(torch.arange(24.0) - 12,) * 2, indexing="ij")
    light = 20 * torch.exp(-(z.square() + y.square()) / 8)
    return exact, torch.asinh(light)[None, None, :, :, None].expand(1, 1, 24, 24, 24)


def test_a_fibre_is_drawn_about_as_wide_as_half_its_brightness() -> None:
    exact, image = fibre()
    areas = [int(labels[..., 12].sum()) for labels in drawn(exact, image, seen=1.0, count=32)]
    # At a quarter of the brightest: a disk of radius 2 sqrt(2 ln 4) = 3.3 voxels, 35 of them.
    assert 20 < np.median(areas) < 50
    assert len(set(areas)) > 3  # each has a cut of its own
    tight = drawn(exact, image, seen=1.0, count=32, thin=False)
    # At half: 2 sqrt(2 ln 2) = 2.4 voxels, 17 of them.
    assert 8 < np.median([int(labels[..., 12].sum()) for labels in tight]) < 30
    first = drawn(exact, image, seen=1.0)[0]
    assert bool((first >= exact).all())
    assert torch.equal(drawn(exact, image, seen=0.0)[0], exact)


def test_cells_may_be_drawn_smaller_than_they_are() -> None:
    exact, image = fibre()
    disk = F.max_pool3d(exact[None].float(), (9, 9, 1), 1, (4, 4, 0))[0].to(torch.uint8)
    for labels in drawn(disk, image, seen=1.0, count=8, thin=False):
        assert 0 < int(labels.sum()) < int(disk.sum())
        assert bool((labels >= exact).all())


def test_reach_ends_in_micrometres_along_z() -> None:
    exact, image = fibre()
    flat = torch.full_like(image, 3.0)
    flat[..., :2, :] = 0.0
    labels = drawn(exact, flat, seen=1.0, spacing=(4.0, 1.0, 1.0))[0]
    planes = labels.flatten(1).any(1).nonzero().flatten().tolist()
    assert planes[0] >= 11
    assert planes[-1] <= 13
    assert not labels[:, :8].any()


def test_another_object_nearby_is_not_taken_for_the_structure() -> None:
    exact, image = fibre()
    light = torch.sinh(image).clone()
    light[..., 18:20, :] += 100.0  # far brighter, 6 voxels away
    labels = drawn(exact, torch.asinh(light), seen=1.0)[0]
    assert not labels[:, 17:].any()


def test_what_is_dim_beside_the_rest_is_left_out() -> None:
    exact = torch.zeros(16, 16, 16, dtype=torch.uint8)
    exact[4:8, 4:8, 2:6] = exact[4:8, 4:8, 10:14] = 1
    light = F.avg_pool3d(exact[None, None].float() * 30, 3, 1, 1)
    light[..., 8:] *= 0.3
    found = drawn(exact, torch.asinh(light), left_out=1.0, count=40)
    bright, dim = found[..., :8].flatten(1).sum(1), found[..., 8:].flatten(1).sum(1)
    assert bool((bright > 0).all())
    assert 5 < int((dim == 0).sum()) < 40


def test_nothing_stays_nothing() -> None:
    _, image = fibre()
    empty = torch.zeros(24, 24, 24, dtype=torch.uint8)
    assert not drawn(empty, image, left_out=1.0, seen=1.0).any()
