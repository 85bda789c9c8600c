"""Blind rating: the experts' page names no run, and the key fits what is on it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.finetune import blind
from luxvox.finetune.blind import blind_rating
from luxvox.models.dense import DenseConfig, DenseModel, RestoreConfig, SegmentConfig
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.task_weights import TaskConfig, load_task, save_task

HEADS = {"segment": SegmentConfig(), "restore": RestoreConfig()}


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Four runs with secret names, the first has learnt from v0, the last restores."""
    names = ["secret_ours", "secret_unet", "secret_forest", "secret_restore"]
    for number, name in enumerate(names):
        torch.manual_seed(number)
        config = DenseConfig(
            channels=(4, 8, 16), depths=2, text_dim=8, condition_width=4, heads=HEADS
        )
        model = DenseModel(EncoderConfig(width=24, depth=2, heads=2), config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        kind = "restore" if name == "secret_restore" else "segment"
        task = TaskConfig(task=kind, head=kind, tile=(16, 24, 24))
        save_task(tmp_path / name / "weights", model, task, {}, "card")
    (tmp_path / names[0] / "metrics.json").write_text(json.dumps({"support": ["v0"]}))
    return [str(tmp_path / name) for name in names]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_letters_hide_runs_and_the_key_tells(runs, labelled_row, write_list, monkeypatch) -> None:
    listing = write_list([labelled_row(n) for n in range(6)])
    shown = []
    monkeypatch.setattr(blind, "write_blind_page", lambda path, samples: shown.extend(samples))
    out = Path(runs[0]) / "blind"
    blind_rating(runs[:3], listing, out, seed=1)
    key = {
        (line["sample"], line["letter"]): line["run"]
        for line in table(out.parent / "blind_key.csv")
    }
    ratings = table(out / "rating.csv")
    assert [(line["sample"], line["letter"]) for line in ratings] == list(key)
    assert all(line["rating"] == "" for line in ratings)
    assert {sample for sample, _ in key} == {f"v{n}" for n in range(1, 6)}  # v0 was learnt from
    orders = set()
    models = {run: load_task(run) for run in runs[:3]}
    for sample in shown:
        order = [key[sample.name, letter] for letter in "ABC"]
        assert sorted(order) == sorted(runs[:3])
        orders.add(tuple(order))
        for letter, result in sample.results.items():
            own = blind._result(
                models[key[sample.name, letter]], sample.image, sample.voxel_size_um
            )
            assert (own == result).all()
    assert len(orders) > 1  # drawn anew for every volume


def test_the_page_names_no_run_and_ratings_are_never_replaced(
    runs, labelled_row, write_list, capsys
) -> None:
    listing = write_list([labelled_row(n) for n in range(3)])
    words = ["report", runs[0], "--blind", "--dataset", str(listing), "--against", runs[1]]
    assert run_command([*words, "--count", "1"]) == 0
    folder = Path(runs[0]) / "blind"
    assert "blind_key.csv" in capsys.readouterr().out
    html = (folder / "rate.html").read_text()
    assert "secret" not in html
    assert html.count("data:image/png") == 2  # one volume, light and dark
    assert "secret" not in (folder / "rating.csv").read_text()
    assert len(table(folder / "rating.csv")) == 2
    assert run_command(words) == 2
    assert "may hold ratings" in capsys.readouterr().err


def test_the_same_seed_draws_the_same(runs, labelled_row, write_list, tmp_path) -> None:
    listing = write_list([labelled_row(n) for n in range(8)])
    keys = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        blind_rating(runs[:2], listing, tmp_path / name, count=5, seed=seed)
        keys.append((tmp_path / f"{name}_key.csv").read_text())
    assert keys[0] == keys[1] != keys[2]


def test_what_cannot_be_compared_is_refused(runs, labelled_row, write_list, tmp_path) -> None:
    listing = write_list([labelled_row(0)])
    with pytest.raises(InputError, match="expected 2 to 26 different ones"):
        blind_rating(runs[:1], listing, tmp_path / "x")
    with pytest.raises(InputError, match="different ones"):
        blind_rating([runs[0], f"{runs[0]}/"], listing, tmp_path / "x")
    with pytest.raises(InputError, match="luxvox-tiny: pretrained weights, expected runs of"):
        blind_rating([runs[0], "luxvox-tiny"], listing, tmp_path / "x")
    with pytest.raises(InputError, match="tasks restore, segment"):
        blind_rating([runs[0], runs[3]], listing, tmp_path / "x")
    with pytest.raises(InputError, match="learnt from every row"):
        blind_rating(runs[:2], listing, tmp_path / "x")
    (Path(runs[0]) / "metrics.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics\.json: damaged"):
        blind_rating(runs[:2], listing, tmp_path / "x")
    assert not (tmp_path / "x").exists()
