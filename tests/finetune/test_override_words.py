"""Whoever asks for a number of steps gets it, whatever K is."""

from __future__ import annotations

import pytest

from luxvox.configs.load import load_recipe
from luxvox.finetune import __main__ as command
from luxvox.finetune import run
from luxvox.finetune.benchmark.methods import recipe_of
from luxvox.finetune.benchmark.plan import BenchmarkPlan, Cell
from luxvox.finetune.override_words import as_meant
from luxvox.finetune.recipe import FinetuneRecipe


@pytest.mark.parametrize(
    ("words", "one", "many"),
    [
        ([], 150, 300),
        (["steps=7"], 7, 7),
        (["one_shot_steps=5", "steps=7"], 5, 7),
        (["one_shot_steps=5"], 5, 300),
        (["crop=[8,8,8]"], 150, 300),
    ],
)
def test_steps_count_for_one_shot_too(words: list[str], one: int, many: int) -> None:
    given = ["data=d", "out=o", *as_meant(words)]
    recipe = load_recipe("finetune/segment.yaml", FinetuneRecipe, given)
    assert recipe.plan("dense", 1).steps == one
    assert recipe.plan("dense", 3).steps == many


def test_both_commands_mean_it(tmp_path, monkeypatch) -> None:
    class Stop(Exception):
        pass

    def stop(recipe: FinetuneRecipe) -> None:
        asked.append(recipe)
        raise Stop

    asked: list[FinetuneRecipe] = []
    monkeypatch.setattr(run, "finetune", stop)
    with pytest.raises(Stop):
        command.finetune_command("segment", "d.csv", str(tmp_path / "r"), overrides=["steps=7"])
    plan = BenchmarkPlan(datasets=("d",), out="o", weights="none", overrides=("steps=7",))
    asked.append(recipe_of(plan, Cell("d", "segment", "pretrained", 1, 0, 0), None, tmp_path))
    assert [recipe.plan("dense", 1).steps for recipe in asked] == [7, 7]
