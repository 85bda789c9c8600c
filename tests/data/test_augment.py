"""Augmentation: independent axes, untouched padding, and descriptions that stay true."""

import numpy as np
import pytest
import torch

from luxvox.data.augment import AugmentConfig, augment
from luxvox.data.augment_geometry import axis_kernels, resample
from luxvox.data.augment_intensity import stretch_

OFF = {
    "flips": False,
    "turns": False,
    "zoom": 1.0,
    "blur": 0.0,
    "gain": 1.0,
    "offset": 0.0,
    "contrast": 1.0,
    "falloff": 0.0,
    "noise": 0.0,
    "spacing": 1.0,
    "spacing_axis": 1.0,
    "hide_spacing": 0.0,
}


def config(**on) -> AugmentConfig:
    return AugmentConfig(**{**OFF, **on})


def batch(count=8, shape=(8, 8, 8), extent=None, size=(1.0, 1.0, 1.0), crop=None, start=0):
    extent = extent or shape
    generator = torch.Generator().manual_seed(1)
    if crop is None:
        crop = torch.randn((count, 1, *shape), generator=generator)
    z, y, x = extent
    inside = torch.zeros(shape, dtype=torch.bool)
    inside[:z, :y, :x] = True
    return {
        "crop": crop * inside,
        "extent": torch.tensor([extent] * count),
        "voxel_size_um": torch.tensor([size] * count),
        "spacing_known": torch.ones(count, dtype=torch.bool),
        "noise": torch.full((count,), 0.2),
        "variance": torch.ones(count),
        "index": torch.arange(start, start + count),
        "caption_id": torch.arange(count),
    }


def test_everything_off_changes_nothing():
    given = batch()
    result = augment(given, config(), seed=3)
    assert given.keys() == result.keys()
    for name in given:
        torch.testing.assert_close(result[name], given[name], rtol=0, atol=0)


def test_axes_are_flipped_independently():
    """All eight combinations come up, each about as often: no two axes are tied together."""
    shape = (2, 3, 4)
    coded = torch.arange(24.0).reshape(shape)
    result = augment(batch(400, shape, crop=coded.expand(400, 1, *shape)), config(flips=True), 0)
    seen = {}
    for crop in result["crop"][:, 0]:
        flips = tuple(
            axis
            for axis, step in enumerate((12, 4, 1))
            if float(crop.select(axis, 1).mean() - crop.select(axis, 0).mean()) == -step
        )
        assert torch.equal(crop, coded.flip(flips))
        seen[flips] = seen.get(flips, 0) + 1
    assert len(seen) == 8
    assert min(seen.values()) > 25  # 50 on average


def turns_seen(size, shape=(8, 8, 8), extent=None, known=True, count=300):
    """Which axis order each sample got, read off a crop that is brighter along each axis."""
    weights = torch.tensor([1.0, 10.0, 100.0])
    grid = torch.stack(torch.meshgrid(*(torch.arange(float(s)) for s in shape), indexing="ij"), -1)
    given = batch(count, shape, extent, size, (grid @ weights).expand(count, 1, *shape))
    given["spacing_known"][:] = known
    result = augment(given, config(turns=True), 0)
    orders = []
    for crop, sides, voxel in zip(
        result["crop"][:, 0], result["extent"], result["voxel_size_um"], strict=True
    ):
        slopes = [float(crop.select(a, 1)[0, 0] - crop.select(a, 0)[0, 0]) for a in range(3)]
        order = [int(np.log10(slope).round()) for slope in slopes]
        assert sides.tolist() == [given["extent"][0, axis].item() for axis in order]
        if known:
            expected = [size[axis] for axis in order]
            assert voxel.tolist() == pytest.approx(expected)  # the voxel size turns with the image
        orders.append(tuple(order))
    return {order: orders.count(order) for order in set(orders)}


def test_near_cubic_voxels_are_turned_about_any_axis():
    seen = turns_seen((1.0, 1.1, 1.05))
    assert len(seen) == 6
    assert min(seen.values()) > 25  # 50 on average


@pytest.mark.parametrize(
    ("size", "known"), [((3.0, 1.0, 1.5), True), ((1.0, 1.0, 1.0), False)], ids=["flat", "unknown"]
)
def test_other_voxels_are_turned_about_z_only(size, known):
    seen = turns_seen(size, known=known)
    assert set(seen) == {(0, 1, 2), (0, 2, 1)}
    assert min(seen.values()) > 100


def test_axes_of_unlike_extent_are_never_swapped():
    assert set(turns_seen((1.0, 1.0, 1.0), extent=(8, 8, 4))) == {(0, 1, 2)}
    assert set(turns_seen((1.0, 1.0, 1.0), shape=(8, 8, 16))) == {(0, 1, 2)}
    assert set(turns_seen((1.0, 1.0, 1.0), extent=(4, 8, 8))) == {(0, 1, 2), (0, 2, 1)}


def test_padding_stays_exactly_zero_and_the_rest_does_not():
    extent = (4, 8, 6)
    for start in range(0, 64, 16):
        result = augment(batch(16, extent=extent, start=start), AugmentConfig(), 2)
        for crop, sides in zip(result["crop"][:, 0], result["extent"].tolist(), strict=True):
            assert sorted(sides) == sorted(extent)
            z, y, x = sides
            padding = torch.ones_like(crop, dtype=torch.bool)
            padding[:z, :y, :x] = False
            assert (crop[padding] == 0).all()
            assert (crop[~padding] != 0).all()
            assert torch.isfinite(crop).all()


def test_padding_never_leaks_into_real_voxels():
    """What lies beyond the extent has no influence: zoom and blur stop at it."""
    blurring = config(zoom=1.5, zoom_share=1, blur=1.5, blur_share=1)
    given = batch(16, extent=(8, 8, 4), crop=torch.ones(16, 1, 8, 8, 8))
    result = augment(given, blurring, 0)["crop"][:, 0, :, :, :4]
    torch.testing.assert_close(result, torch.ones_like(result))


def test_a_sample_does_not_depend_on_its_batch():
    whole = augment(batch(8), AugmentConfig(), 5)
    order = torch.tensor([6, 1, 3])
    given = {name: value[order] for name, value in batch(8).items()}
    some = augment(given, AugmentConfig(), 5)
    for name in whole:
        torch.testing.assert_close(some[name], whole[name][order], rtol=1e-6, atol=1e-6)


def test_seed_and_index_change_everything_else_nothing():
    one, again, other = (augment(batch(), AugmentConfig(), seed) for seed in (5, 5, 6))
    assert torch.equal(one["crop"], again["crop"])
    assert not torch.equal(one["crop"], other["crop"])
    later = augment(batch(start=100), AugmentConfig(), 5)
    assert not torch.equal(one["crop"], later["crop"])


def test_the_given_batch_is_not_changed():
    given = batch()
    before = {name: value.clone() for name, value in given.items()}
    augment(given, AugmentConfig(), 0)
    assert all(torch.equal(given[name], before[name]) for name in given)


def test_zoom_changes_image_and_voxel_size_together():
    """On a ramp in um, the slope per voxel follows the stated voxel size."""
    side = 32
    ramp = (torch.arange(float(side)) * 2).view(1, 1, side, 1, 1).expand(40, 1, side, side, side)
    given = batch(40, (side,) * 3, size=(2.0, 1.0, 1.0), crop=ramp)
    result = augment(given, config(zoom=1.6, zoom_share=1), 0)
    sizes = result["voxel_size_um"]
    slopes = result["crop"][:, 0, 2:-2].diff(dim=1).mean((1, 2, 3))
    torch.testing.assert_close(slopes, sizes[:, 0], rtol=1e-3, atol=1e-3)
    assert sizes[:, 0].min() < 1.35 < 1.9 < sizes[:, 0].max() <= 2.0
    torch.testing.assert_close(sizes[:, 0], 2 * sizes[:, 1])


def test_spacing_jitter_leaves_the_image_alone():
    given = batch(200, size=(4.0, 2.0, 2.0))
    result = augment(given, config(spacing=2.0, spacing_axis=1.2), 0)
    assert torch.equal(result["crop"], given["crop"])
    factor = result["voxel_size_um"] / given["voxel_size_um"]
    assert 0.5 / 1.2 <= factor.min() < 0.6
    assert 1.7 < factor.max() <= 2 * 1.2
    assert (factor.amax(1) / factor.amin(1)).max() <= 1.44 + 1e-5
    assert factor.log().mean().abs() < 0.1


def test_hidden_and_unknown_spacing_are_ones():
    given = batch(200, size=(4.0, 2.0, 2.0))
    given["spacing_known"][:100] = False
    given["voxel_size_um"][:100] = 1
    result = augment(given, config(hide_spacing=0.5, spacing=2.0), 0)
    known = result["spacing_known"]
    assert not known[:100].any()
    assert 30 < known[100:].sum() < 70
    assert (result["voxel_size_um"][~known] == 1).all()


def test_noise_is_added_and_stated():
    given = batch(60, (16, 16, 16), crop=torch.zeros(60, 1, 16, 16, 16))
    result = augment(given, config(noise=0.5, noise_share=0.5), 0)
    sigma = result["crop"].flatten(1).std(1)
    expected = torch.sqrt(result["noise"] ** 2 - given["noise"] ** 2)
    torch.testing.assert_close(sigma, expected, rtol=0.06, atol=1e-3)
    assert 15 < (sigma > 0).sum() < 45


def test_gain_and_offset_act_as_stated():
    given = batch(60)
    result = augment(given, config(gain=1.5, offset=0.4), 0)
    gain = result["noise"] / given["noise"]
    torch.testing.assert_close(result["variance"], gain**2)
    left = result["crop"] - given["crop"] * gain.view(-1, 1, 1, 1, 1)
    offset = left.flatten(1).mean(1)
    torch.testing.assert_close(left, offset.view(-1, 1, 1, 1, 1).expand_as(left), atol=1e-5, rtol=0)
    assert 0.3 < offset.abs().max() <= 0.4
    assert 1.3 < gain.max() <= 1.5
    assert gain.min() < 1 / 1.3


def test_contrast_is_a_factor_before_the_asinh():
    values = torch.linspace(-6, 12, 2001)
    expected = torch.asinh(1.6 * torch.sinh(values.double()))
    torch.testing.assert_close(stretch_(values.clone(), 1.6).double(), expected, atol=2e-6, rtol=0)
    result = augment(batch(40), config(contrast=1.6, contrast_share=0.5), 0)
    changed = (result["crop"] != batch(40)["crop"]).flatten(1).any(1)
    assert 8 < changed.sum() < 32


def test_falloff_dims_towards_one_side_of_one_axis():
    given = batch(200, crop=torch.ones(200, 1, 8, 8, 8))
    result = augment(given, config(falloff=0.5, falloff_share=1), 0)["crop"][:, 0]
    axes = set()
    for crop in result:
        spans = [float((crop.select(a, 7) - crop.select(a, 0)).mean()) for a in range(3)]
        (axis,) = [a for a in range(3) if abs(spans[a]) > 1e-6] or [None]
        axes.add((axis, None if axis is None else spans[axis] < 0))
        assert 0 <= crop.min() <= crop.max() <= 1
    assert {(a, side) for a in range(3) for side in (True, False)} <= axes


def test_resampling_states_what_happens_to_noise():
    crop = torch.randn((4, 1, 32, 32, 32), generator=torch.Generator().manual_seed(0))
    extent = torch.full((4, 3), 32)
    zoom = torch.tensor([1.0, 1.5, 1.0, 1.3], dtype=torch.float64)
    sigma = torch.tensor([[0.0] * 3, [0.0] * 3, [1.0] * 3, [0.5, 0.0, 0.8]], dtype=torch.float64)
    before = crop.clone()
    factor = resample(crop, extent, zoom, torch.full((4, 3), 0.5, dtype=torch.float64), sigma)
    assert torch.equal(crop[0], before[0])
    assert factor[0] == 1
    torch.testing.assert_close(crop.flatten(1).std(1).double(), factor, rtol=0.06, atol=0)
    assert (factor[1:] < 0.8).all()


def test_kernels_sum_to_one_inside_and_zero_outside():
    one = torch.ones(1, dtype=torch.float64)
    (kernel,) = axis_kernels(16, torch.tensor([12]), 1.4 * one, 0.3 * one, 0.7 * one)
    torch.testing.assert_close(kernel[:12].sum(1), torch.ones(12, dtype=torch.float64))
    assert (kernel[12:] == 0).all()
    assert (kernel[:, 12:] == 0).all()
    (kernel,) = axis_kernels(16, torch.tensor([16]), one, 0.0 * one, 0.0 * one)
    torch.testing.assert_close(kernel, torch.eye(16, dtype=torch.float64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_works_where_the_crop_lies():
    given = {name: value.cuda() for name, value in batch(16).items()}
    quiet = config(flips=True, turns=True, zoom=1.4, gain=1.3, contrast=1.5, falloff=0.5)
    result = augment(given, quiet, 0)
    assert all(value.is_cuda for value in result.values())
    expected = augment(batch(16), quiet, 0)
    torch.testing.assert_close(result["crop"].cpu(), expected["crop"], rtol=1e-4, atol=1e-4)
