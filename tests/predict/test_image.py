"""Weights over arrays: sizes, classes, mirror images, names, and the warning about voxel sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from luxvox.models.dense import (
    ClassifyConfig,
    DenseConfig,
    DenseModel,
    RestoreConfig,
    SegmentConfig,
)
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.image import classify_image, predict_image, predict_maps, voxel_size_warning
from luxvox.predict.task_weights import TaskConfig, TaskWeights

HEADS = {
    "segment": SegmentConfig(), "labels": SegmentConfig(classes=3, distance=True),
    "restore": RestoreConfig(), "classify": ClassifyConfig(classes=4),
}  # fmt: skip
IMAGE = np.random.default_rng(0).normal(size=(18, 30, 21)).astype(np.float32)


@pytest.fixture(scope="module")
def weights() -> TaskWeights:
    torch.manual_seed(0)
    config = DenseConfig(channels=(4, 8, 16), depths=2, text_dim=8, condition_width=4, heads=HEADS)
    model = DenseModel(EncoderConfig(width=24, depth=2, heads=2), config).eval()
    for parameter in model.parameters():  # heads and names begin as nothing
        torch.nn.init.normal_(parameter, std=0.2)
    task = TaskConfig(task="segment", head="segment", tile=(16, 16, 16))
    return TaskWeights(model, task, "toy", torch.randn(1, 8))


def with_task(weights: TaskWeights, **changes: object) -> TaskWeights:
    return replace(weights, task=weights.task.model_copy(update=changes))


def test_one_tile_is_the_model_itself(weights):
    crop = IMAGE[:16, :16, :16]
    found = predict_image(weights, crop, (4.0, 1.0, 1.0), precision="no")
    size, known = torch.tensor([[4.0, 1.0, 1.0]]), torch.tensor([True])
    with torch.no_grad():
        logits = weights.model.segment(
            torch.from_numpy(crop.copy())[None, None], size, known, weights.condition
        ).logits
    assert found.shape == (1, 16, 16, 16)
    assert np.allclose(found, logits.sigmoid()[0].numpy(), atol=1e-6)
    assert np.ptp(found) > 0.01


def test_voxel_size_and_name_reach_the_model(weights):
    found = predict_image(weights, IMAGE, (4.0, 1.0, 1.0), precision="no")
    assert found.shape == (1, *IMAGE.shape)
    assert np.array_equal(found, predict_image(weights, IMAGE, (4.0, 1.0, 1.0), precision="no"))
    assert not np.array_equal(found, predict_image(weights, IMAGE, None, precision="no"))
    unnamed = replace(weights, condition=None)
    other = predict_image(unnamed, IMAGE, (4.0, 1.0, 1.0), precision="no")
    assert not np.allclose(found, other, atol=1e-4)


def test_batches_change_nothing_and_bf16_little(weights):
    whole = predict_image(weights, IMAGE, precision="no")
    assert np.allclose(
        whole, predict_image(weights, IMAGE, batch_size=3, precision="no"), atol=1e-5
    )
    half = predict_image(weights, IMAGE, precision="bf16")
    assert half.dtype == np.float32
    assert 0 < np.abs(whole - half).mean() < 0.02


@pytest.mark.parametrize("shape", [(1, 20, 20), (5, 9, 40), (8, 8, 8), (17, 3, 2)])
def test_any_shape_comes_back(weights, shape):
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    assert predict_image(weights, image).shape == (1, *shape)


def test_several_classes_add_up_to_one_and_distance_stands_apart(weights):
    several = with_task(weights, head="labels", classes=("none", "a", "b"))
    maps = predict_maps(several, IMAGE, precision="no")
    assert maps.answer.shape == (3, *IMAGE.shape)
    assert np.allclose(maps.answer.sum(0), 1, atol=1e-5)
    assert maps.distance is not None
    assert maps.distance.shape == IMAGE.shape
    assert predict_maps(weights, IMAGE).distance is None


def test_mirrored_prediction_follows_the_mirror(weights):
    crop = IMAGE[:16, :16, :16]
    plain = predict_image(weights, crop, precision="no")
    mirror = predict_image(weights, crop[:, ::-1], precision="no")[:, :, ::-1]
    assert not np.allclose(plain, mirror, atol=1e-3)
    averaged = with_task(weights, tta=True)
    plain = predict_image(averaged, crop, precision="no")
    for axis in (1, 2):
        mirror = np.flip(predict_image(averaged, np.flip(crop, axis), precision="no"), axis + 1)
        assert np.allclose(plain, mirror, atol=1e-5)


def test_restoration_adds_to_the_image(weights):
    restore = with_task(weights, task="restore", head="restore")
    found = predict_image(restore, IMAGE, precision="no")
    assert found.shape == (1, *IMAGE.shape)
    assert np.corrcoef(found.ravel(), IMAGE.ravel())[0, 1] > 0.3
    with torch.no_grad():
        head = weights.model.heads["restore"]
        kept = {name: p.clone() for name, p in head.named_parameters()}
        for parameter in head.parameters():
            parameter.zero_()
        assert np.allclose(predict_image(restore, IMAGE, precision="no")[0], IMAGE, atol=1e-5)
        for name, parameter in head.named_parameters():
            parameter.copy_(kept[name])


def test_classes_of_a_whole_image_are_the_mean_over_its_tiles(weights):
    classify = with_task(weights, task="classify", head="classify")
    whole = classify_image(classify, IMAGE[:16, :16], None, precision="no")
    assert whole.shape == (4,)
    assert whole.sum() == pytest.approx(1, abs=1e-5)
    parts = [classify_image(classify, IMAGE[:16, :16, x : x + 16], precision="no") for x in (0, 5)]
    assert np.allclose(whole, np.mean(parts, axis=0), atol=1e-5)
    assert not np.allclose(parts[0], parts[1], atol=1e-4)


def test_progress_counts_tiles(weights):
    seen = []
    predict_image(weights, IMAGE, batch_size=4, progress=lambda *count: seen.append(count))
    assert seen == [(4, 12), (8, 12), (12, 12)]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((2.0, 2.0, 2.0), None),
        ((3.9, 0.9, 2.0), None),
        (None, None),
        ((20.0, 2.0, 2.0), "coarser along z: small"),
        ((2.0, 0.2, 0.2), "finer along y, x: large"),
    ],
)
def test_far_voxel_sizes_are_warned_of(weights, size, words):
    trained = replace(weights, voxel_range_um=((1.0, 1.0, 1.0), (4.0, 2.0, 2.0)))
    warning = voxel_size_warning(trained, size)
    assert (warning is None) == (words is None)
    if warning is not None and words is not None:
        assert words in warning
        assert "\n" not in warning
    assert voxel_size_warning(weights, size) is None  # nothing is known of its training
