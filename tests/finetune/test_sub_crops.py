"""Crops keep image and labels together, show the foreground, and are functions of the step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from luxvox.data.normalize import IntensityStats
from luxvox.finetune.examples import Example
from luxvox.finetune.sub_crops import CropAugment, SubCrops

STATS = IntensityStats(0, 1, 0, 1, 0, 1)
PATCH = (8, 8, 8)
STILL = CropAugment(
    blur_share=0, gain=1, offset=0, contrast_share=0, falloff_share=0, noise_share=0
)


def example(shape=(24, 40, 40), voxels: int = 3, size=(1.0, 1.0, 1.0)) -> Example:
    """Labels of a few voxels; the image is a number of its own for every voxel."""
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.int64)
    labels.flat[rng.choice(labels.size, voxels, replace=False)] = 1
    image = np.arange(labels.size, dtype=np.float32).reshape(shape) / labels.size
    return Example("e", "g", image, STATS, size, labels, np.ones(shape, bool))


def test_geometry_is_that_of_all_partners() -> None:
    given = example(voxels=2000)
    truth = np.round(given.image * given.image.size).astype(int)
    given = replace(given, counts=given.labels.reshape(-1)[truth - 1] == 0)
    crops = SubCrops([given], (16, 24, 24), PATCH, STILL, seed=0)
    seen = set()
    for step in range(12):
        batch = crops.batch(step, 2)
        voxel = (batch.image[:, 0].double() * given.image.size).round().long()
        assert torch.equal(batch.labels, torch.from_numpy(given.labels).flatten()[voxel])
        assert torch.equal(batch.counts, torch.from_numpy(given.counts).flatten()[voxel])
        # Which direction each axis of the crop has in the volume: flips and turns do happen.
        steps = [int(voxel[0].diff(dim=axis).flatten()[0]) for axis in range(3)]
        assert sorted(map(abs, steps)) == [1, 40, 1600]
        seen.add(tuple(steps))
    assert len(seen) > 6


def test_axes_of_unlike_voxels_do_not_change_places() -> None:
    crops = SubCrops([example(size=(3.0, 1.0, 1.0))], (16, 24, 24), PATCH, STILL, seed=0)
    for step in range(12):
        batch = crops.batch(step, 1)
        assert batch.voxel_size_um.tolist() == [[3.0, 1.0, 1.0]]
        steps = batch.image[0, 0].double().diff(dim=0).abs() * example().image.size
        assert round(float(steps.flatten()[0])) == 1600


def test_rare_foreground_is_shown_about_half_of_the_time() -> None:
    rare = example((40, 80, 80), voxels=1)
    crops = SubCrops([rare], (16, 16, 16), PATCH, STILL, seed=1)
    shown = [bool(crops.batch(step, 1).labels.any()) for step in range(100)]
    assert 35 < sum(shown) < 70


def test_crops_hold_what_counts_where_little_does() -> None:
    given = example((40, 80, 80))
    counts = np.zeros_like(given.counts)
    counts[7] = True
    crops = SubCrops([replace(given, counts=counts)], (8, 16, 16), PATCH, STILL, seed=1)
    assert all(crops.batch(step, 1).counts.any() for step in range(30))


def test_a_step_is_a_function_of_seed_and_step() -> None:
    def image(seed: int, step: int) -> torch.Tensor:
        return SubCrops([example()], (16, 24, 24), PATCH, CropAugment(), seed).batch(step, 2).image

    assert torch.equal(image(1, 2), image(1, 2))
    assert not torch.equal(image(1, 2), image(1, 3))
    assert not torch.equal(image(1, 2), image(2, 2))


def test_small_volumes_are_filled_up_by_what_does_not_count() -> None:
    small = example((5, 12, 40))
    crops = SubCrops([small, example((5, 30, 12))], (32, 24, 24), PATCH, STILL, seed=0)
    assert crops.crop == (8, 24, 24)
    batch = crops.of_each(0)
    assert batch.example.tolist() == [0, 1]
    assert batch.counts.sum((1, 2, 3)).tolist() == [5 * 12 * 24, 5 * 24 * 12]
    assert not batch.labels[~batch.counts].any()
    assert batch.image.isfinite().all()


def test_a_target_changes_as_its_image_does() -> None:
    given = example()
    strong = CropAugment(gain=3, contrast_share=1, blur_share=1, falloff_share=1, noise_share=0)
    same = SubCrops([replace(given, target=given.image)], (16, 24, 24), PATCH, strong, seed=0)
    batch = same.batch(3, 2)
    assert torch.equal(batch.image, batch.target)
    still = SubCrops([given], (16, 24, 24), PATCH, STILL, seed=0).batch(3, 2)
    assert (batch.image - still.image).abs().max() > 0.1


def test_only_the_image_of_a_pair_is_given_noise() -> None:
    pair = replace(example(), target=example().image)
    noisy = CropAugment(noise_share=1, noise=0.5)
    batch = SubCrops([pair], (16, 24, 24), PATCH, noisy, seed=0).batch(3, 2)
    calm = SubCrops([pair], (16, 24, 24), PATCH, noisy.model_copy(update={"noise_share": 0}), 0)
    assert torch.equal(batch.target, calm.batch(3, 2).target)
    added = (batch.image - batch.target).flatten(1)
    assert bool((added.std(1) > 0.01).all())
    assert bool((added.mean(1).abs() < 0.1 * added.std(1)).all())


def test_pairs_keep_their_z_axis_and_the_span_of_the_whole_target() -> None:
    """Blur is another one along z, whatever the voxels; a dim crop weighs no more than a bright."""
    given = example()
    pair = replace(given, target=np.arcsinh(1000 * given.image))
    crops = SubCrops([pair], (16, 24, 24), PATCH, STILL, seed=0)
    for step in range(12):
        batch = crops.batch(step, 1)
        steps = batch.image[0, 0].double().diff(dim=0).abs() * given.image.size
        assert round(float(steps.flatten()[0])) == 1600
        assert abs(float(batch.span) - 989) < 2  # 1000 * (0.999 - 0.01)


def test_tubes_bring_centrelines() -> None:
    given = example()
    labels = np.zeros_like(given.labels)
    labels[10:14, 10:14] = 1
    crops = SubCrops([replace(given, labels=labels)], (16, 24, 24), PATCH, STILL, 0, tubes=True)
    batch = crops.batch(0, 4)
    assert batch.skeleton.any()
    assert not batch.skeleton[batch.labels == 0].any()
    assert crops.batch(0, 1).to(torch.device("cpu")).skeleton is not None
