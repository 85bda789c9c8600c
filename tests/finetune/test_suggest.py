"""Suggestions: unsure of what mirrors differently, no crop twice, places in voxels and um."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from luxvox.configs.errors import InputError
from luxvox.finetune import suggest as module
from luxvox.finetune.confidence import disagreement, expected_dice
from luxvox.finetune.suggest import choose, suggest, suggest_command
from luxvox.models.dense import DenseConfig, DenseModel, RestoreConfig, SegmentConfig
from luxvox.models.sizes import SIZES
from luxvox.predict.task_weights import TaskConfig, save_task


def save_run(folder: Path, task: str = "segment") -> Path:
    torch.manual_seed(3)
    heads = {"segment": SegmentConfig(), "restore": RestoreConfig()}
    dense = DenseConfig(channels=(4, 8, 16), text_dim=6, heads=heads)
    model = DenseModel(SIZES["nano"], dense).eval()
    described = TaskConfig(task=task, head=task, tile=(16, 16, 16))  # type: ignore[arg-type]
    save_task(folder / "weights", model, described, {}, "card")
    return folder


def test_expected_dice_by_hand() -> None:
    sure = np.array([1.0, 1.0, 0.0, 0.0], np.float32)[None, None]
    assert expected_dice(sure) == 1.0
    unsure = np.array([0.8, 0.4, 0.0, 0.0], np.float32)[None, None]
    assert expected_dice(unsure) == pytest.approx(2 * 0.8 / (1 + 1.2))
    assert expected_dice(np.zeros((2, 2, 2), np.float32)) == 1.0


def test_expected_dice_is_right_where_probabilities_are() -> None:
    rng = np.random.default_rng(0)
    probabilities = (rng.random((24, 24, 24)) ** 4).astype(np.float32)
    truth = rng.random(probabilities.shape) < probabilities
    found = probabilities > 0.5
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert expected_dice(probabilities) == pytest.approx(dice, abs=0.02)


def test_only_what_differs_between_views_is_disagreement() -> None:
    half = np.full((1, 2, 2, 2), 0.5, np.float32)
    assert disagreement([half, half]) == pytest.approx(0, abs=1e-9)
    one, none = np.ones_like(half), np.zeros_like(half)
    assert disagreement([one, none]) == pytest.approx(np.log(2))
    several = [np.concatenate([a, b]) for a, b in ((one, none), (none, one))]
    assert disagreement(several) == pytest.approx(np.log(2))


def test_unlike_crops_are_chosen_among_the_unsure() -> None:
    uncertainty = [0.9, 0.89, 0.88, 0.5, 0.4, 0.3, 0.3, 0.3, 0.0]
    looks = np.array([[0.0], [0.1], [0.2], [5.0], [0.1], [0.2], [0.1], [0.0], [99.0]], np.float32)
    assert choose(uncertainty, looks, 2) == [0, 3]  # unlike, and unsure; 8 is only unlike
    assert choose(uncertainty, looks, 1) == [0]
    assert len(set(choose(uncertainty, looks, 9))) == 9


def test_places_are_told_and_differ(tmp_path, write, balls, capsys) -> None:
    run = save_run(tmp_path / "run")
    image, _ = balls(1, shape=(24, 40, 40))
    path = write("volume", image)
    suggest_command(str(run), str(path), count=3)
    folder = run / "suggest" / "volume"
    held = json.loads((folder / "suggest.json").read_text())["crops"]
    assert [crop["rank"] for crop in held[:4]] == [1, 2, 3, 0]
    assert len(held) == 2 * 3 * 3
    assert held[0]["uncertainty"] == max(crop["uncertainty"] for crop in held) > 0
    for crop in held:
        z, y, x = crop["origin"]
        assert crop["origin_um"] == [2.0 * z, y, x]
        stops = np.array(crop["origin"]) + crop["shape"]
        assert (stops <= image.shape).all()
        assert 0 <= crop["expected_dice"] <= 1
    with (folder / "suggest.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(held)
    assert (folder / "suggest.html").read_text().count("<img") == 1
    assert "1. crop from z" in capsys.readouterr().out
    again = suggest(run, path, 3, tmp_path / "again")
    assert [list(one.origin) for one in again] == [crop["origin"] for crop in held[:3]]


def test_the_crop_that_mirrors_differently_comes_first(tmp_path, write, balls, monkeypatch) -> None:
    run = save_run(tmp_path / "run")
    image, _ = balls(1, shape=(16, 32, 32))
    image[:, 16:, 16:] += 500  # there, and only there, the answer below depends on the view
    path = write("volume", image)

    def answers(weights, crop, size):
        ramp = np.linspace(0, 1, crop.shape[2], dtype=np.float32)
        odd = crop.mean() > -1  # the bright part is the tissue, whose level is 0
        return np.broadcast_to(ramp if odd else np.float32(0.2), crop.shape)[None]

    monkeypatch.setattr(module, "predict_image", answers)
    (first,) = suggest(run, path, 1, tmp_path / "out")
    assert first.origin == (0, 16, 16)


def test_mistakes(tmp_path, write, balls) -> None:
    path = write("volume", balls(1)[0])
    with pytest.raises(InputError, match="lower --count"):
        suggest(save_run(tmp_path / "run"), path, 99, tmp_path / "out")
    with pytest.raises(InputError, match="finetune segment"):
        suggest(save_run(tmp_path / "other", "restore"), path, 1, tmp_path / "out")
    with pytest.raises(InputError, match="luxvox-tiny: pretrained weights, expected a run of"):
        suggest("luxvox-tiny", path, 1, tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: the folder cannot be made"):
        suggest(tmp_path / "run", path, 1, tmp_path / "file")


def test_of_several_channels_one_has_to_be_chosen(tmp_path, balls, write, monkeypatch) -> None:
    monkeypatch.setattr(module, "write_suggest_page", lambda path, title, cases: None)
    first, second = (balls(seed, shape=(16, 16, 32))[0] for seed in (1, 2))
    both = tmp_path / "both.ome.tif"
    tifffile.imwrite(both, np.stack([first, second]), metadata={"axes": "CZYX"})
    run = save_run(tmp_path / "run")
    with pytest.raises(InputError, match=r"2 channels \(0 '0', 1 '1'\).*--channel"):
        suggest(run, both, 1, tmp_path / "out")
    (chosen,) = suggest(run, both, 1, tmp_path / "out", channel="1")
    (alone,) = suggest(run, write("alone", second, None), 1, tmp_path / "alone")
    (other,) = suggest(run, write("other", first, None), 1, tmp_path / "other")
    assert chosen == alone != other
