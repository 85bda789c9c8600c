"""Runs from list to weights: they learn, can be repeated, and leave what they should."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.finetune.__main__ import main
from luxvox.finetune.evaluate import evaluate
from luxvox.finetune.examples import load_example
from luxvox.finetune.tasks.segment import segment_metrics
from luxvox.models.checkpoint import load_weights
from luxvox.predict.image import predict_image
from luxvox.predict.task_weights import load_task
from luxvox.predict.volume import found_labels


def test_segmentation_learns_and_says_what_from(tmp_path, labelled_row, write_list, run) -> None:
    rows = [labelled_row(n) for n in range(3)]
    path, out = write_list(rows), tmp_path / "run"
    words = ("steps=60", "scratch_lr=3e-3", "shots=2", "precision=auto")
    metrics = run("segment", path, out, *words)
    assert metrics == json.loads((out / "metrics.json").read_text())
    assert len(metrics["support"]) == 2
    assert metrics["steps"] == 60
    assert metrics["trained_share"] == 1.0
    assert metrics["begins"] == "scratch"
    weights = load_task(out)
    assert weights.task.threshold == metrics["threshold"]
    (left,) = (row for row in rows if row.id not in metrics["support"])
    example = load_example(left, "segment")
    answer = predict_image(weights, example.image, example.voxel_size_um)
    found = segment_metrics(found_labels(weights, answer), example)
    assert found["dice"] > 0.6
    assert metrics["support/dice"] > 0.6
    assert {"cldice", "nsd", "object_f1", "panoptic_quality"} < set(found)
    kept = np.load(out / "support.npz")
    assert kept["ids"].tolist() == metrics["support"]
    assert kept["image_0"].shape == kept["truth_0"].shape == kept["found_1"].shape
    assert set(np.unique(kept["found_0"])) == {0, 1}
    lines = (out / "history.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 60
    with pytest.raises(InputError, match="holds a finished run"):
        run("segment", path, out)


def test_a_run_is_a_function_of_its_recipe(
    tmp_path, labelled_row, write_list, run, pretrained
) -> None:
    path = write_list([labelled_row(n) for n in range(3)])
    tensors = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        words = ("steps=3", "shots=2", f"seed={seed}")
        run("segment", path, tmp_path / name, *words, weights=pretrained)
        tensors[name] = load_weights(tmp_path / name / "weights")[0]
    for name, tensor in tensors["a"].items():
        assert torch.equal(tensor, tensors["b"][name]), name
    assert any(not torch.equal(t, tensors["c"][n]) for n, t in tensors["a"].items())


def test_several_structures_are_learnt_each_by_its_name(
    tmp_path, labelled_row, write_list, write, balls, run, monkeypatch
) -> None:
    """Two rows of one kind of image: what is right depends on the name alone."""
    vectors = torch.nn.functional.normalize(torch.randn(2, 384), dim=1)
    monkeypatch.setattr("luxvox.finetune.run.named", lambda names, *_: vectors[: len(names)])
    _, labels = balls(1)
    rest = labelled_row(2, labels=write("rest", (labels == 0).astype(labels.dtype)),
                        image=labelled_row(1).image, structure="between")  # fmt: skip
    path, out = write_list([labelled_row(1), rest]), tmp_path / "run"
    words = ("structure=null", "steps=60", "scratch_lr=3e-3", "minutes=null")
    run("segment", path, out, *words)
    untold = load_task(out)
    assert untold.task.structures == ("between", "nuclei")
    example = load_example(labelled_row(1), "segment")
    means = {}
    for name in untold.task.structures:
        told = load_task(out, structure=name)
        assert torch.equal(told.condition, vectors[[untold.task.structures.index(name)]])
        means[name] = predict_image(told, example.image, example.voxel_size_um).mean()
    assert means["between"] > means["nuclei"] + 0.2
    with pytest.raises(InputError, match="asked for None; say which"):
        untold.asked(None)
    with pytest.raises(InputError, match="asked for 'dust'"):
        load_task(out, structure="dust")
    result = evaluate(out, path)
    assert result["mean"]["dice"] > 0.6


def test_ignored_voxels_change_nothing(tmp_path, labelled_row, write, balls, run) -> None:
    """Whatever stands where the labels are ignored, the weights come out the same."""
    _, labels = balls(1)
    tensors = []
    for number, other in enumerate((50, 51)):
        values = labels.copy()
        values[:, 16:] = other
        row = labelled_row(1, labels=write(f"l{number}", values), ignore_label=(50, 51))
        run("segment", "given", tmp_path / str(number), "steps=3", support=[row])
        tensors.append(load_weights(tmp_path / str(number) / "weights")[0])
    for name, tensor in tensors[0].items():
        assert torch.equal(tensor, tensors[1][name]), name


def test_minutes_are_kept(tmp_path, labelled_row, run) -> None:
    words = ("steps=100000", "minutes=0.02", "calibrate=false")
    metrics = run("segment", "given", tmp_path / "run", *words, support=[labelled_row(1)])
    assert 1 < metrics["steps"] < 1000
    assert metrics["seconds"] < 20
    assert metrics["threshold"] == 0.5


def test_the_command_ends_with_a_report_or_one_line(
    tmp_path, labelled_row, write_list, small, capsys
) -> None:
    path, out = write_list([labelled_row(1, labels=None)]), tmp_path / "run"
    words = [str(path), "--out", str(out), "--weights=none", *small, "steps=1"]
    assert main(["segment", *words]) == 2
    assert "fill the column 'labels'" in capsys.readouterr().err
    assert main(["colour", *words]) == 2
    assert "no task 'colour'" in capsys.readouterr().err
    assert main(["segment", str(path)]) == 2
    assert main(["segment", *words, "--shots", "many"]) == 2
    assert "expected a whole number" in capsys.readouterr().err
    write_list([labelled_row(1)])
    assert main(["segment", *words, "--weights", "nothing"]) == 2
    assert "no weights of that name" in capsys.readouterr().err
    assert main(["segment", *words, "--shots", "1"]) == 0
    assert f"done: {out / 'report.html'}" in capsys.readouterr().out
    assert (out / "report.html").is_file()


@pytest.mark.slow
def test_two_processes_make_one_run(tmp_path, labelled_row, write_list, small) -> None:
    path = write_list([labelled_row(1)])
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone",
        "-m", "luxvox.finetune", "segment", str(path), "--out", str(tmp_path / "run"),
        "--weights", "none", *small, "steps=2",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["num_processes"] == 2
    assert load_task(tmp_path / "run").task.task == "segment"
