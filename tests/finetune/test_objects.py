"""Touching objects: depth inside each, learnt by a channel, split by it."""

from __future__ import annotations

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.finetune.evaluate import evaluate
from luxvox.finetune.examples import load_example
from luxvox.finetune.object_depth import object_depth
from luxvox.models.metrics.objects import object_metrics
from luxvox.predict.image import predict_maps
from luxvox.predict.instances import split_objects
from luxvox.predict.task_weights import load_task

WORDS = ("objects=true", "steps=60", "one_shot_steps=60", "adapt=full", "lr=3e-3", "blend=1")


def test_depth_is_low_where_objects_touch_and_one_in_each_middle() -> None:
    numbers = np.zeros((5, 9, 21), np.int32)
    numbers[:, 1:8, 1:8], numbers[:, 1:8, 8:20] = 7, 300
    depth = object_depth(numbers, None)
    assert depth[2, 4, 4] == depth[2, 4, 13] == 1.0
    assert depth[2, 4, 7] < 0.5
    assert depth[2, 4, 8] < 0.5
    assert not depth[numbers == 0].any()
    # Of the lowest plane: one voxel to the rim, of 3 in the middle; with flat voxels 3 um of 4.
    assert depth[0, 4, 4] == pytest.approx(1 / 3)
    assert object_depth(numbers, (3.0, 1.0, 1.0))[0, 4, 4] == pytest.approx(3 / 4)
    assert object_depth(np.ones((3, 3, 3), np.int32), None)[1, 1, 1] == 1.0


def touching() -> tuple[np.ndarray, np.ndarray]:
    """Pairs of bright boxes that share a face, uint16, and their numbers."""
    rng = np.random.default_rng(0)
    numbers = np.zeros((16, 48, 48), np.uint16)
    for pair, (y, x) in enumerate(np.ndindex(3, 2)):
        at = (slice(4, 12), slice(16 * y + 3, 16 * y + 13))
        left, right = slice(24 * x + 2, 24 * x + 12), slice(24 * x + 12, 24 * x + 22)
        numbers[(*at, left)], numbers[(*at, right)] = 2 * pair + 1, 2 * pair + 2
    image = 200 + 15 * rng.standard_normal(numbers.shape) + 150 * (numbers > 0)
    image[:, :, ::12] += 40 * (numbers > 0)[:, :, ::12]  # a brighter rim on one side of each
    return image.astype(np.uint16), numbers


def test_a_channel_learns_the_depth_and_splits_by_it(
    tmp_path, pretrained, labelled_row, write, write_list, run, monkeypatch
) -> None:
    image, numbers = touching()
    files = {"image": write("image", image), "labels": write("numbers", numbers)}
    row = labelled_row(1, **files)
    run("segment", "given", tmp_path / "run", *WORDS, weights=pretrained, support=[row])
    weights = load_task(tmp_path / "run")
    example = load_example(row, "segment")
    assert example.instances is not None
    maps = predict_maps(weights, example.image, example.voxel_size_um)
    assert maps.distance is not None
    mask = example.labels > 0
    truth = object_depth(example.instances, example.voxel_size_um)
    assert np.corrcoef(maps.distance.ravel(), truth.ravel())[0, 1] > 0.6
    assert len(np.unique(split_objects(mask, None, truth))) - 1 == 12
    # `evaluate` judges the objects that `predict --instances` splits by that channel.
    found = split_objects(maps.answer[0] > weights.task.threshold, None, maps.distance)
    wanted = object_metrics(found, numbers, thresholds=(0.1,))["panoptic_quality"]
    sample = evaluate(tmp_path / "run", write_list([row]))["samples"][0]
    assert sample["numbered_panoptic_quality_at_0.1"] == pytest.approx(wanted)
    known = maps._replace(distance=truth)
    monkeypatch.setattr("luxvox.finetune.found.predict_maps", lambda *_: known)
    sample = evaluate(tmp_path / "run", tmp_path / "dataset.csv")["samples"][0]
    assert sample["numbered_object_f1"] == 1.0


def test_labels_without_numbers_are_refused(tmp_path, labelled_row, write, balls, run) -> None:
    image, numbers = balls(1)
    for value in (1, 255):  # a mask, as most programs write it
        mask = write("mask", (numbers > 0).astype(np.uint8) * value)
        row = labelled_row(1, labels=mask)
        with pytest.raises(InputError, match="labels that number no objects"):
            run("segment", "given", tmp_path / "run", "objects=true", "steps=1", support=[row])
    assert image.any()


def test_numbers_of_any_size_are_those_of_objects(labelled_row, write) -> None:
    _, numbers = touching()
    for size in (100_000, 350_000_000):  # above 16 bits; above 31
        large = write(f"large{size}", numbers.astype(np.uint32) * size)
        row = labelled_row(1, image=write("image", touching()[0]), labels=large)
        example = load_example(row, "segment")
        assert example.instances is not None
        assert np.array_equal(example.instances, numbers)


def test_pretrained_logits_are_kept_beside_the_new_channel(tmp_path, pretrained) -> None:
    from luxvox.configs.load import load_recipe
    from luxvox.finetune.recipe import FinetuneRecipe
    from luxvox.finetune.start import starting_model
    from luxvox.models.dense import SegmentConfig

    given = ["data=a", "out=b", f"weights={pretrained}"]
    recipe = load_recipe("finetune/segment.yaml", FinetuneRecipe, given)
    plain = starting_model(recipe, "segment", SegmentConfig(), 8).model.state_dict()
    start = starting_model(recipe, "segment", SegmentConfig(distance=True), 8)
    grown = start.model.state_dict()
    assert (start.begins, start.new_head) == ("dense", False)
    assert all(bool((grown[name] == tensor).all()) for name, tensor in plain.items())
    assert set(grown) - set(plain) == {
        "heads.segment.distance.weight",
        "heads.segment.distance.bias",
    }
    assert not grown["heads.segment.distance.weight"].any()
