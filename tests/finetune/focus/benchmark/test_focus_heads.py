"""Heads that are trained for a comparison: kept while their recipe is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.configs.run_folder import write_metrics, write_recipe
from luxvox.finetune.focus.benchmark import heads
from luxvox.finetune.focus.benchmark.heads import head_run, train_heads
from luxvox.finetune.focus.benchmark.plan import FocusPlan


@pytest.fixture
def trained(monkeypatch) -> list[int]:
    """Steps of the heads that were trained; nothing is."""
    steps = []

    def train(source, out, recipe):
        assert source == "simulated"
        steps.append(recipe.steps)
        out.mkdir(parents=True, exist_ok=True)
        write_recipe(out, recipe)
        write_metrics(out, {"steps": recipe.steps})
        return {}

    monkeypatch.setattr(heads, "train_focus", train)
    return steps


def a_plan(out: Path, steps: int, **more) -> FocusPlan:
    methods = ("dcts", "stem")
    return FocusPlan(
        sets=("simulated",), out=str(out), methods=methods, train={"steps": steps}, **more
    )


def test_a_head_of_another_recipe_is_not_taken_for_this_one(tmp_path, trained):
    said = []
    train_heads(a_plan(tmp_path, 200), said.append, False)
    train_heads(a_plan(tmp_path, 200), said.append, False)
    assert trained == [200]
    assert len(said) == 1
    assert "steps=200" in said[0]
    run = head_run(a_plan(tmp_path, 200), "stem")
    (run / "weights").mkdir()
    with pytest.raises(InputError, match=r"steps was 200, is 2000\); add --overwrite"):
        train_heads(a_plan(tmp_path, 2000), said.append, False)
    assert (run / "weights").is_dir()
    train_heads(a_plan(tmp_path, 2000), said.append, True)
    assert trained == [200, 2000]
    assert not (run / "weights").exists()  # nothing of the other one is left
    train_heads(a_plan(tmp_path, 2000), said.append, True)
    assert trained == [200, 2000]


def test_a_head_that_was_cut_off_goes_on(tmp_path, trained):
    train_heads(a_plan(tmp_path, 200), print, False)
    (tmp_path / "heads" / "stem" / "metrics.json").unlink()
    train_heads(a_plan(tmp_path, 200), print, False)
    assert trained == [200, 200]


def test_heads_that_are_given_are_not_trained(tmp_path, trained):
    plan = a_plan(tmp_path, 200, heads={"stem": "luxvox-tiny"})
    train_heads(plan, print, False)
    assert trained == []
    assert head_run(plan, "stem") == Path("luxvox-tiny")


def test_from_the_command_line_it_is_one_line(tmp_path, trained, capsys):
    train_heads(a_plan(tmp_path, 200), print, False)
    words = ["benchmark", "simulated", "--tasks", "focus", "--methods", "stem"]
    assert run_command([*words, "--out", str(tmp_path), "train.steps=300"]) == 2
    shown = capsys.readouterr().err
    assert "steps was 200, is 300" in shown
    assert shown.count("\n") == 1
