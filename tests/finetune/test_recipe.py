"""Recipes: scratch is held back by nothing, pretrained weights move gently."""

from __future__ import annotations

from pathlib import Path

import pytest

from luxvox.configs.errors import InputError
from luxvox.configs.load import CONFIGS, load_recipe
from luxvox.finetune.loop import make_optimizer
from luxvox.finetune.recipe import FinetuneRecipe
from luxvox.models.adapt import adapt
from luxvox.models.dense import DenseConfig, DenseModel
from luxvox.models.sizes import EncoderConfig

GIVEN = ["data=list.csv", "out=run"]


def plan_of(*words: str, begins="dense", shots: int = 3, new_head: bool = False):
    recipe = load_recipe("finetune/segment.yaml", FinetuneRecipe, [*GIVEN, *words])
    return recipe, recipe.plan(begins, shots, new_head)


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "finetune").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_recipes_load(path: Path) -> None:
    recipe = load_recipe(path, FinetuneRecipe, GIVEN)
    assert path.stem.startswith(recipe.task)


@pytest.mark.parametrize("shots", [1, 5])
def test_scratch_is_fair(shots: int) -> None:
    """All learns at one rate of its own, for all steps, and nothing is mixed back."""
    recipe, plan = plan_of("weights=none", "blend=0.3", "layer_decay=0.5", begins="scratch",
                           shots=shots)  # fmt: skip
    assert plan.how == "full"
    assert plan.steps == recipe.steps
    assert plan.lr == plan.encoder_lr == plan.new_head_lr == recipe.scratch_lr > recipe.lr
    assert plan.layer_decay == plan.blend == 1.0
    encoder = EncoderConfig(width=24, depth=2, heads=2)
    model = DenseModel(encoder, DenseConfig(channels=(4, 8, 8), depths=2, text_dim=6))
    groups = adapt(model, plan.how, "segment", plan.layer_decay)
    optimizer = make_optimizer(groups, plan, new_head=True, weight_decay=0.01)
    assert {group["full_lr"] for group in optimizer.param_groups} == {recipe.scratch_lr}
    trained = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    other = sum(p.numel() for p in model.heads["restore"].parameters())
    assert trained == sum(p.numel() for p in model.parameters()) - other


def test_pretrained_weights_move_gently_and_less_at_one_shot() -> None:
    recipe, many = plan_of(shots=3)
    assert (many.how, many.lr, many.encoder_lr) == ("full", 3e-4, 1e-4)
    assert many.layer_decay == 0.75
    assert many.blend == 0.5
    _, one = plan_of(shots=1)
    assert one.how == "decoder"
    assert one.steps == recipe.one_shot_steps < many.steps == recipe.steps
    assert one.blend == 0.4
    assert plan_of("blend=0.2")[1].blend == 0.2
    assert plan_of("adapt=lora", shots=1)[1].how == "lora"


def test_what_starts_from_random_numbers_is_not_mixed_back_nor_slow() -> None:
    recipe, plan = plan_of(begins="encoder", shots=1)
    assert (plan.how, plan.lr, plan.blend) == ("full", recipe.scratch_lr, 1.0)
    assert plan.encoder_lr == recipe.encoder_lr
    _, plan = plan_of(new_head=True)
    assert plan.blend == 1.0
    _, plan = plan_of("task=restore", new_head=True, shots=1)
    assert plan.blend == 0.4  # a new residual adds nothing: the way back is the deconvolved image
    assert plan.new_head_lr == recipe.new_head_lr > plan.lr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["weights=none", "adapt=head"], "would stay frozen"),
        (["task=classify", "weights=none"], "features of a random encoder"),
        (["task=classify", "replay=0.5"], "replay is for segment and restore"),
        (["labels=classes", "replay=0.5"], "one structure at a time"),
        (["blend=2"], "blend"),
        (["encoder=huge"], "expected one of nano"),
        (["crop=[0,8,8]"], "three sides of 1 voxel"),
        (["stepz=3"], "did you mean 'steps'"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_of(*words)


@pytest.mark.parametrize("word", ["precision=no", "precision='no'", "precision=false"])
def test_a_bare_no_is_no_truth_value(word: str) -> None:
    assert plan_of(word)[0].chosen_precision() == "no"


def test_auto_takes_bf16_only_where_the_device_is_fast_at_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert plan_of()[0].precision == "auto"
    for fast, chosen in ((True, "bf16"), (False, "no")):
        monkeypatch.setattr("luxvox.predict.image._fast_bf16", lambda device, fast=fast: fast)
        assert plan_of("device=cpu")[0].chosen_precision() == chosen
        assert plan_of("device=cpu", "precision=bf16")[0].chosen_precision() == "bf16"
