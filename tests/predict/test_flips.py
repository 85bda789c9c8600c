"""The mean over mirror images: from the command line, in memory and by blocks, and from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import luxvox
from luxvox.__main__ import run_command
from luxvox.models.dense import ClassifyConfig, DenseConfig, DenseModel
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.predictor import Predictor
from luxvox.predict.task_weights import TaskConfig, save_task

from .small_model import save_segmenter

SHAPE = (16, 16, 16)
VIEWS = ((), (1,), (2,), (1, 2))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_segmenter(tmp_path / "run", 16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """As large as a tile: what is mirrored is all of it."""
    image = np.random.default_rng(0).poisson(80.0, SHAPE).astype(np.uint16)
    image[5:9, 2:8, 8:14] += 400
    return luxvox.save_volume(image, tmp_path / "in.ome.zarr", voxel_size_um=(4.0, 1.5, 1.5))


def predicted(words: list[str]) -> np.ndarray:
    assert run_command(["predict", *words, "--probabilities"]) == 0
    return luxvox.open_volume(words[2]).read()[0]


def test_flips_are_the_mean_over_mirror_images(run, path, tmp_path):
    image = luxvox.open_volume(path).read()[0]
    views = []
    for number, axes in enumerate(VIEWS):
        mirror = tmp_path / f"mirror{number}.ome.zarr"
        luxvox.save_volume(np.flip(image, axes), mirror, voxel_size_um=(4.0, 1.5, 1.5))
        out = str(tmp_path / f"plain{number}.ome.zarr")
        views.append(np.flip(predicted([str(run), str(mirror), out]), axes))
    words = [str(run), str(path), str(tmp_path / "flips.ome.zarr"), "--flips"]
    found = predicted(words)
    # Computed in bf16 where that is fast.
    assert np.allclose(found, np.mean(views, 0), atol=3e-3)
    assert min(np.abs(found - view).max() for view in views) > 0.03
    words[2] = str(tmp_path / "blocks.ome.zarr")
    assert np.allclose(predicted([*words, "--resume"]), found, atol=3e-3)
    model = luxvox.load(run)
    assert isinstance(model, Predictor)
    assert np.allclose(model.predict(path, flips=True, probabilities=True), found, atol=3e-3)
    assert np.allclose(model.predict(path, probabilities=True), views[0], atol=3e-3)


def test_blocks_with_flips_are_another_plan(run, path, tmp_path, capsys):
    out = tmp_path / "out.ome.zarr"
    words = ["predict", str(run), str(path), str(out), "--resume"]
    assert run_command(words) == 0
    before = luxvox.open_volume(out).read()
    assert run_command([*words, "--flips"]) == 2
    assert str(out) in capsys.readouterr().err
    assert np.array_equal(luxvox.open_volume(out).read(), before)
    plans = []
    for name, flips in (("a", []), ("b", ["--flips"])):
        words[3] = str(tmp_path / f"{name}.ome.zarr")
        assert run_command([*words, *flips]) == 0
        plan = json.loads((tmp_path / f"{name}.ome.zarr.run" / "plan.json").read_text())
        plans.append(plan["recipe"]["weights"])
    assert plans[0] != plans[1]
    assert run_command([*words, "--flips", "--sbatch"]) == 0
    assert " --flips " in (tmp_path / "b.ome.zarr.sbatch").read_text()


def test_flips_of_what_has_none_are_refused(run, path, tmp_path, capsys):
    heads = {"classify": ClassifyConfig(classes=2)}
    config = DenseConfig(channels=(4, 8, 16), depths=2, text_dim=8, condition_width=4, heads=heads)
    model = DenseModel(EncoderConfig(width=24, depth=2, heads=2), config)
    task = TaskConfig(task="classify", head="classify", classes=("a", "b"), tile=SHAPE)
    save_task(tmp_path / "classes" / "weights", model, task, {}, "card", torch.zeros(1, 8))
    for weights, more in ((tmp_path / "classes", []), (run, ["--task", "embed"])):
        words = [str(weights), str(path), str(tmp_path / "o.ome.zarr"), "--flips", *more]
        assert run_command(["predict", *words]) == 2
        shown = capsys.readouterr().err
        assert "--flips does not fit" in shown
        assert shown.count("\n") == 1
