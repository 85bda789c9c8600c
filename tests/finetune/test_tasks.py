"""Each task learns what it is for, with the head that it needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from luxvox.finetune.examples import load_example
from luxvox.finetune.tasks.segment import are_tubes, segment_metrics
from luxvox.predict.image import classify_image, predict_image
from luxvox.predict.task_weights import load_task


def test_several_labels_get_a_head_of_their_own(
    tmp_path, labelled_row, write, balls, run, pretrained
) -> None:
    _, labels = balls(1)
    values = np.array([0, 7, 3, 7, 3, 7, 3], np.uint8)[labels]
    row, out = labelled_row(1, labels=write("classes", values)), tmp_path / "run"
    words = ("steps=3", "one_shot_steps=3", "labels=classes")
    metrics = run("segment", "given", out, *words, weights=pretrained, support=[row])
    weights = load_task(out)
    assert weights.task.head == "labels"
    assert weights.task.label_values == (0, 3, 7)
    assert weights.task.classes == ("background", "label 3", "label 7")
    assert metrics["blend"] == 1.0
    example = load_example(row, "segment", (0, 3, 7))
    answer = predict_image(weights, example.image)
    assert answer.shape == (3, *example.image.shape)
    assert np.allclose(answer.sum(0), 1, atol=1e-5)


def test_metrics_know_classes_and_ignored_voxels(labelled_row) -> None:
    example = load_example(labelled_row(1, ignore_label=(2,)), "segment", (0, 1, 3, 4, 5, 6))
    assert example.labels is not None
    found = np.where(example.counts, example.labels, 5)
    scores = segment_metrics(found, example, classes=5)
    assert scores["dice"] == scores["cldice"] == scores["nsd"] == scores["object_f1"] == 1.0
    found[example.labels == 3] = 0
    assert segment_metrics(found, example, classes=5)["dice/3"] == 0.0


def test_restoration_learns(tmp_path, labelled_row, write, balls, run) -> None:
    rows = []
    for n in range(2):
        _, labels = balls(n)
        clean = (200 + 120 * (labels > 0)).astype(np.uint16)
        rows.append(labelled_row(n, labels=None, target=write(f"clean{n}", clean)))
    words = ("steps=40", "scratch_lr=3e-3")
    metrics = run("restore", "given", tmp_path / "run", *words, support=rows)
    assert metrics["support/psnr"] > metrics["support/identity_psnr"] + 2
    assert metrics["support/ssim"] > metrics["support/identity_ssim"]


@pytest.mark.parametrize("method", ["linear", "knn", "attentive"])
def test_classification_learns_from_frozen_features(
    tmp_path, labelled_row, write, balls, write_list, run, pretrained, method: str
) -> None:
    rows = []
    for n in range(6):
        image, _ = balls(n, count=12 if n % 2 else 1)
        name = "many" if n % 2 else "few"
        rows.append(labelled_row(n, image=write(f"i{n}", image), labels=None, class_name=name))
    words = (f"classify.method={method}", "classify.views=6", "steps=40", "batch_size=4", "shots=2")
    out = tmp_path / "run"
    metrics = run("classify", write_list(rows), out, *words, weights=pretrained)
    assert len(metrics["support"]) == 4
    weights = load_task(out)
    assert weights.task.classes == ("few", "many")
    before = load_task(pretrained, "segment").model.encoder.state_dict()
    for name, tensor in weights.model.encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
    right = 0
    for row in rows:
        example = load_example(row, "classify")
        answer = classify_image(weights, example.image, example.voxel_size_um)
        right += weights.task.classes[int(answer.argmax())] == row.class_name
    assert right >= 5


def test_tubes_are_known_by_their_names() -> None:
    assert are_tubes(["blood vessels", "axons", "nerve fibres", "Vasculature"])
    assert not are_tubes(["blood vessels", "nuclei"])
    assert not are_tubes(["microglia", None])
    assert not are_tubes([])


def test_tubes_have_a_term_of_their_own(tmp_path, labelled_row, run) -> None:
    row = replace(labelled_row(1), structure="blood vessels")
    words = ("steps=1", "calibrate=false")
    metrics = run("segment", "given", tmp_path / "a", *words, support=[row])
    assert "train/skeleton_loss" in metrics
    metrics = run("segment", "given", tmp_path / "b", *words, "tubes=false", support=[row])
    assert "train/skeleton_loss" not in metrics
