"""Controls from scratch: all of each learns, by the same recipe; weights of every stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.configs.load import load_recipe
from luxvox.finetune.benchmark.methods import recipe_of
from luxvox.finetune.benchmark.options import split_options
from luxvox.finetune.benchmark.plan import BenchmarkPlan, Cell
from luxvox.finetune.benchmark.run import benchmark
from luxvox.finetune.recipe import FinetuneRecipe
from luxvox.models.adapt import adapt, trained_share
from luxvox.models.checkpoint import save_weights
from luxvox.models.dense import DenseConfig, DenseModel, SegmentConfig
from luxvox.models.encoder import Encoder
from luxvox.models.sizes import SIZES

from .conftest import results, save_dense


@pytest.mark.parametrize("backbone", ["unet", "swinunetr"])
def test_all_of_a_control_learns(backbone) -> None:
    torch.manual_seed(0)
    config = DenseConfig(backbone=backbone, text_dim=6, heads={"segment": SegmentConfig()})
    model = DenseModel(SIZES["nano"], config)
    groups = adapt(model, "full", "segment")
    assert trained_share(model, groups) == 1.0
    crop, named = torch.randn(1, 1, 16, 24, 24), torch.randn(1, 6)
    found = model.segment(crop, torch.ones(1, 3), torch.ones(1, dtype=torch.bool), named)
    assert found.logits.shape == (1, 1, 16, 24, 24)
    found.logits.square().sum().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {name for name, _ in model.named_parameters()}


def test_nets_from_scratch_share_the_budget_and_nothing_holds_them_back(tmp_path) -> None:
    weights = save_dense(tmp_path / "w")
    plan = BenchmarkPlan(
        datasets=("list",), out="o", weights=str(weights), rates={"unet": 2e-3},
        overrides=("adapt=decoder", "blend=0.2"),
    )  # fmt: skip
    recipes = {
        name: recipe_of(plan, Cell("list", "segment", name, 1, 0, 7), None, tmp_path)
        for name in ("pretrained", "scratch", "unet", "swinunetr")
    }
    for name in ("scratch", "unet", "swinunetr"):
        recipe = recipes[name]
        settled = recipe.plan("scratch", 1, True)
        assert settled.how == "full"
        assert settled.blend == 1.0
        assert settled.steps == recipes["pretrained"].steps
        assert settled.lr == (2e-3 if name == "unet" else recipe.scratch_lr)
    assert recipes["scratch"].encoder == "nano"  # the size of the pretrained one
    assert [recipes[n].backbone for n in ("scratch", "unet")] == ["vit", "unet"]
    assert recipes["pretrained"].adapt == "decoder"
    assert {recipe.seed for recipe in recipes.values()} == {7}
    assert {recipe.minutes for recipe in recipes.values()} == {None}
    same = {"crop", "augment", "batch_size", "steps", "average", "replay", "clip"}
    assert len({json.dumps(r.model_dump(mode="json", include=same)) for r in recipes.values()}) == 1


def test_a_control_takes_no_weights() -> None:
    words = ["data=l", "out=o", "backbone=unet"]
    with pytest.raises(InputError, match="controls start from scratch"):
        load_recipe("finetune/segment.yaml", FinetuneRecipe, [*words, "weights=some"])
    with pytest.raises(InputError, match="controls start from scratch"):
        load_recipe(
            "finetune/classify.yaml",
            FinetuneRecipe,
            [*words, "weights=none", "classify.method=full"],
        )


def test_weights_of_every_stage_and_the_forest(
    labelled_row, write_list, plan_for, tmp_path
) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (make dev)")
    path = write_list([labelled_row(n) for n in range(2)])
    encoder = SIZES["nano"]
    tensors = {f"encoder.{n}": t for n, t in Encoder(encoder).state_dict().items()}
    config = dict.fromkeys(("normalisation", "stains", "structures", "recipe", "data", "licence"))
    parts = {"encoder_name": "vit", "encoder": encoder.model_dump(mode="json")}
    config |= {"voxel_size_range_um": None, "architecture": parts}
    stage_a = save_weights(tmp_path / "a", tensors, config, "card")
    unet = save_dense(tmp_path / "unet", backbone="unet")
    plan = plan_for(
        path, draws=1, weights_a=str(stage_a), weights_unet=str(unet),
        methods=("stage_a", "unet_stage_b", "forest", "scratch"),
    )  # fmt: skip
    folder = benchmark(plan)
    begins = {
        Path(run).parent.name.split("__")[2]: json.loads(Path(run).read_text())["begins"]
        for run in folder.glob("runs/*/metrics.json")
    }
    assert begins == {"stage_a": "encoder", "unet_stage_b": "dense", "scratch": "scratch"}
    dice = {line["method"]: float(line["dice"]) for line in results(folder)}
    assert dice["forest"] > 0.7


@pytest.mark.parametrize("words", [["rates=1", "rates.unet=2"], ["rates.unet=2", "rates=1"]])
def test_a_key_has_a_value_or_others_below_it(words) -> None:
    with pytest.raises(InputError, match="both given"):
        split_options(words, {"rates"})
    assert split_options(["rates.unet=2", "rates.scratch=1e-3", "steps=3"], {"rates"}) == (
        {"rates": {"unet": 2, "scratch": "1e-3"}}, ["steps=3"],
    )  # fmt: skip
