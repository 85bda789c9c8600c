"""Runs from list to weights: they learn, can be repeated, and what they write is what they said."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.finetune.__main__ import finetune_command, main
from luxvox.finetune.examples import load_example
from luxvox.finetune.tasks.segment import are_tubes, segment_metrics
from luxvox.models.checkpoint import load_weights, save_weights
from luxvox.models.dense import DenseConfig, DenseModel
from luxvox.models.sizes import SIZES, EncoderConfig
from luxvox.predict.image import classify_image, predict_image
from luxvox.predict.task_weights import load_task
from luxvox.predict.volume import found_labels

SMALL = (
    "device=cpu", "encoder=nano", "crop=[16,24,24]", "structure=none", "tracker=none",
    "minutes=null", "threads=1",
)  # fmt: skip


def run(task: str, path: Path, out: Path, *words: str, weights: str | None = "none", **more):
    return finetune_command(task, str(path), str(out), weights, overrides=[*SMALL, *words], **more)


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """Weights of a dense model that has learnt nothing, as stage B writes them."""
    torch.manual_seed(5)
    encoder = SIZES["nano"]
    dense = DenseConfig(channels=(4, 8, 16))
    model = DenseModel(encoder, dense)
    tensors = {f"dense.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors["decoder.other"] = torch.zeros(1)
    config = dict.fromkeys(("normalisation", "stains", "structures", "recipe", "data", "licence"))
    config |= {"voxel_size_range_um": None}
    parts = {"encoder_name": "vit", "encoder": encoder.model_dump(mode="json")}
    parts |= {"dense": dense.model_dump(mode="json")}
    return save_weights(tmp_path / "stage_b", tensors, {**config, "architecture": parts}, "card")


def test_segmentation_learns_and_says_what_it_learnt_from(
    tmp_path, labelled_row, write_list
) -> None:
    rows = [labelled_row(n) for n in range(3)]
    path = write_list(rows)
    metrics = run("segment", path, tmp_path / "run", "steps=70", "scratch_lr=3e-3", shots=2)
    assert metrics == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert len(metrics["support"]) == 2
    assert metrics["steps"] == 70
    assert metrics["trained_share"] == 1.0
    assert metrics["begins"] == "scratch"
    weights = load_task(tmp_path / "run")
    (left,) = (row for row in rows if row.id not in metrics["support"])
    example = load_example(left, "segment")
    answer = predict_image(weights, example.image, example.voxel_size_um)
    found = segment_metrics(found_labels(weights, answer), example)
    assert found["dice"] > 0.6
    assert metrics["support/dice"] > 0.6
    assert {"cldice", "nsd", "object_f1", "panoptic_quality"} < set(found)
    assert weights.task.threshold == metrics["threshold"]
    kept = np.load(tmp_path / "run" / "support.npz")
    assert kept["ids"].tolist() == metrics["support"]
    assert kept["image_0"].shape == kept["truth_0"].shape == kept["found_1"].shape
    assert set(np.unique(kept["found_0"])) == {0, 1}
    assert (tmp_path / "run" / "report.html").is_file()
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 70
    with pytest.raises(InputError, match="holds a finished run"):
        run("segment", path, tmp_path / "run")


def test_a_run_is_a_function_of_its_recipe(tmp_path, labelled_row, write_list, pretrained) -> None:
    path = write_list([labelled_row(n) for n in range(3)])
    tensors = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("segment", path, tmp_path / name, "steps=4", f"seed={seed}", shots=2,
            weights=str(pretrained))  # fmt: skip
        tensors[name] = load_weights(tmp_path / name / "weights")[0]
    for name, tensor in tensors["a"].items():
        assert torch.equal(tensor, tensors["b"][name]), name
    assert any(not torch.equal(t, tensors["c"][n]) for n, t in tensors["a"].items())


def test_only_what_is_adapted_moves_and_blend_takes_it_back(
    tmp_path, labelled_row, write_list, pretrained
) -> None:
    path = write_list([labelled_row(1)])
    before = load_task(pretrained, "segment").model.state_dict()

    def moved(name: str, *words: str) -> dict[str, float]:
        run("segment", path, tmp_path / name, "steps=3", "one_shot_steps=3", *words,
            weights=str(pretrained))  # fmt: skip
        after = load_task(tmp_path / name).model.state_dict()
        assert after.keys() == before.keys()
        return {n: float((after[n] - before[n]).abs().max()) for n in before}

    head = moved("head", "adapt=head", "blend=1", "cached_batches=2")
    assert {n.rsplit(".", 2)[0] for n, by in head.items() if by} <= {
        "heads.segment", "heads.segment.coarse",
    }  # fmt: skip
    assert head["heads.segment.logits.weight"] > 0
    full = moved("full", "adapt=full", "blend=1")
    assert full["encoder.blocks.3.mlp.fc1.weight"] > full["encoder.blocks.0.mlp.fc1.weight"] > 0
    assert full["heads.restore.residual.weight"] == 0
    part = moved("part", "adapt=full", "blend=0.5")
    name = "decoder.levels.0.refine.conv1.weight"
    assert part[name] == pytest.approx(full[name] / 2, rel=1e-3)
    assert not any(moved("none", "adapt=full", "blend=0").values())


def test_lora_ends_as_plain_weights(tmp_path, labelled_row, write_list, pretrained) -> None:
    pytest.importorskip("peft", reason="peft is not installed (make dev)")
    path = write_list([labelled_row(1)])
    run("segment", path, tmp_path / "lora", "steps=3", "one_shot_steps=3", "adapt=lora",
        "encoder_lr=1e-2", "blend=1", weights=str(pretrained))  # fmt: skip
    before = load_task(pretrained, "segment").model.state_dict()
    after = load_task(tmp_path / "lora").model.state_dict()
    changed = {n for n in before if n.startswith("encoder.") and (before[n] != after[n]).any()}
    assert changed
    assert all(".attention." in name for name in changed)


def test_an_encoder_of_stage_a_is_taken_alone(tmp_path, labelled_row, write_list) -> None:
    from luxvox.models.encoder import Encoder

    torch.manual_seed(5)
    encoder = EncoderConfig(width=24, depth=2, heads=2)
    tensors = {f"encoder.{n}": t for n, t in Encoder(encoder).state_dict().items()}
    config = dict.fromkeys(("normalisation", "stains", "structures", "recipe", "data", "licence"))
    parts = {"encoder_name": "vit", "encoder": encoder.model_dump(mode="json")}
    config |= {"voxel_size_range_um": None, "architecture": parts}
    save_weights(tmp_path / "a", {**tensors, "decoder.x": torch.zeros(1)}, config, "card")
    path = write_list([labelled_row(1)])
    metrics = run("segment", path, tmp_path / "run", "steps=1", "one_shot_steps=1",
                  "encoder_lr=1e-9", weights=str(tmp_path / "a"))  # fmt: skip
    assert metrics["begins"] == "encoder"
    kept = load_task(tmp_path / "run").model.encoder.state_dict()
    for name, tensor in kept.items():
        assert torch.allclose(tensor, tensors[f"encoder.{name}"], atol=1e-6)


def test_several_labels_get_a_head_of_their_own(
    tmp_path, labelled_row, write_list, write, balls, pretrained
) -> None:
    _, labels = balls(1)
    values = np.array([0, 7, 3, 7, 3, 7, 3], np.uint8)[labels]
    path = write_list([labelled_row(1, labels=write("classes", values))])
    metrics = run("segment", path, tmp_path / "run", "steps=3", "labels=classes",
                  weights=str(pretrained))  # fmt: skip
    weights = load_task(tmp_path / "run")
    assert weights.task.head == "labels"
    assert weights.task.label_values == (0, 3, 7)
    assert weights.task.classes == ("background", "label 3", "label 7")
    assert metrics["blend"] == 1.0
    example = load_example(labelled_row(1, labels=write("classes", values)), "segment", (0, 3, 7))
    answer = predict_image(weights, example.image)
    assert answer.shape == (3, *example.image.shape)
    assert np.allclose(answer.sum(0), 1, atol=1e-5)
    assert set(np.unique(found_labels(weights, answer))) <= {0, 1, 2}
    assert "dice/2" in segment_metrics(found_labels(weights, answer), example, classes=2)


def test_restoration_learns(tmp_path, labelled_row, write_list, write, balls) -> None:
    rows = []
    for n in range(3):
        _, labels = balls(n)
        clean = (200 + 120 * (labels > 0)).astype(np.uint16)
        rows.append(labelled_row(n, labels=None, target=write(f"clean{n}", clean)))
    metrics = run("deblur", write_list(rows), tmp_path / "run", "steps=60", "scratch_lr=3e-3")
    assert metrics["task"] == "restore"
    assert metrics["support/psnr"] > metrics["support/identity_psnr"] + 2
    assert metrics["support/ssim"] > metrics["support/identity_ssim"]


@pytest.mark.parametrize("method", ["linear", "knn", "attentive"])
def test_classification_learns_from_frozen_features(
    tmp_path, labelled_row, write_list, balls, write, pretrained, method: str
) -> None:
    rows = []
    for n in range(6):
        # Spread over the volume, or all in one ball: counts of voxels differ, intensities hardly.
        image, _ = balls(n, count=12 if n % 2 else 1)
        name = "many" if n % 2 else "few"
        rows.append(labelled_row(n, image=write(f"i{n}", image), labels=None, class_name=name))
    metrics = run("classify", write_list(rows), tmp_path / "run", f"classify.method={method}",
                  "classify.views=6", "steps=40", "batch_size=4", shots=2,
                  weights=str(pretrained))  # fmt: skip
    assert len(metrics["support"]) == 4
    weights = load_task(tmp_path / "run")
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


def test_ignored_voxels_change_nothing(tmp_path, labelled_row, write_list, write, balls) -> None:
    """Whatever stands where the labels are ignored, the weights come out the same."""
    from luxvox.configs.load import load_recipe
    from luxvox.finetune.recipe import FinetuneRecipe
    from luxvox.finetune.run import finetune

    _, labels = balls(1)
    tensors = []
    for number, other in enumerate((50, 51)):
        values = labels.copy()
        values[:, 16:] = other
        row = labelled_row(1, labels=write(f"l{number}", values), ignore_label=(50, 51))
        words = ["data=given", f"out={tmp_path / str(number)}", "weights=none", "steps=3", *SMALL]
        finetune(load_recipe("finetune/segment.yaml", FinetuneRecipe, words), support=[row])
        tensors.append(load_weights(tmp_path / str(number) / "weights")[0])
    for name, tensor in tensors[0].items():
        assert torch.equal(tensor, tensors[1][name]), name


def test_minutes_are_kept(tmp_path, labelled_row, write_list) -> None:
    path = write_list([labelled_row(1)])
    metrics = run("segment", path, tmp_path / "run", "steps=100000", "minutes=0.03")
    assert 1 < metrics["steps"] < 1000
    assert metrics["seconds"] < 20


def test_mistakes_end_in_one_line(tmp_path, labelled_row, write_list, capsys) -> None:
    path = write_list([labelled_row(1, labels=None)])
    words = [str(path), "--out", str(tmp_path / "run"), "--weights=none", *SMALL]
    assert main(["segment", *words]) == 2
    assert "fill the column 'labels'" in capsys.readouterr().err
    assert main(["colour", *words]) == 2
    assert "no task 'colour'" in capsys.readouterr().err
    assert main(["segment", str(path)]) == 2
    assert main(["segment", *words, "--shots", "many"]) == 2
    assert "expected a whole number" in capsys.readouterr().err
    labels = write_list([labelled_row(1)])
    with pytest.raises(InputError, match="no such folder, and no weights of that name"):
        run("segment", labels, tmp_path / "other", weights="nothing")


def test_tubes_are_known_by_their_names() -> None:
    assert are_tubes(["blood vessels", "axons", "nerve fibres", "Vasculature"])
    assert not are_tubes(["blood vessels", "nuclei"])
    assert not are_tubes(["microglia", None])
    assert not are_tubes([])


def test_tubes_have_a_term_of_their_own(tmp_path, labelled_row, write_list) -> None:
    rows = [replace(labelled_row(1), structure="blood vessels")]
    metrics = run("segment", write_list(rows), tmp_path / "a", "steps=1")
    assert "train/skeleton_loss" in metrics
    metrics = run("segment", write_list(rows), tmp_path / "b", "steps=1", "tubes=false")
    assert "train/skeleton_loss" not in metrics


@pytest.mark.slow
def test_two_processes_learn_as_one_run(tmp_path, labelled_row, write_list) -> None:
    path = write_list([labelled_row(1)])
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
        "-m", "luxvox.finetune", "segment", str(path), "--out", str(tmp_path / "run"),
        "--weights", "none", *SMALL, "steps=2",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["num_processes"] == 2
    assert load_task(tmp_path / "run").task.task == "segment"
