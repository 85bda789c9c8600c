"""What weights bring, what of them moves, and how far."""

from __future__ import annotations

import pytest
import torch

from luxvox.models.checkpoint import CONFIG_KEYS, save_weights
from luxvox.models.encoder import Encoder
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.task_weights import load_task

FEW = ("steps=3", "one_shot_steps=3", "calibrate=false")


@pytest.fixture
def moved(tmp_path, labelled_row, run, pretrained):
    """Overrides -> by how much each tensor of the pretrained weights moved."""
    before = load_task(pretrained, "segment").model.state_dict()
    row = labelled_row(1)

    def by_how_much(name: str, *words: str) -> dict[str, float]:
        out = tmp_path / name
        run("segment", "given", out, *FEW, *words, weights=pretrained, support=[row])
        after = load_task(out).model.state_dict()
        assert after.keys() == before.keys()
        return {n: float((after[n] - before[n]).abs().max()) for n in before}

    return by_how_much


def test_the_head_alone_learns_from_cached_features(moved) -> None:
    head = moved("head", "adapt=head", "blend=1", "cached_batches=2")
    assert all(name.startswith("heads.segment.") for name, by in head.items() if by)
    assert head["heads.segment.logits.weight"] > 0


def test_full_moves_late_blocks_more_and_blend_takes_it_back(moved) -> None:
    full = moved("full", "adapt=full", "blend=1")
    assert full["encoder.blocks.3.mlp.fc1.weight"] > full["encoder.blocks.0.mlp.fc1.weight"] > 0
    assert full["heads.restore.residual.weight"] == 0
    part = moved("part", "adapt=full", "blend=0.5")
    name = "decoder.levels.0.refine.conv1.weight"
    assert part[name] == pytest.approx(full[name] / 2, rel=1e-3)
    assert not any(moved("none", "adapt=full", "blend=0").values())


def test_lora_ends_as_plain_weights(moved) -> None:
    pytest.importorskip("peft", reason="peft is not installed (make dev)")
    changed = moved("lora", "adapt=lora", "encoder_lr=1e-2", "blend=1")
    names = {name for name, by in changed.items() if by and name.startswith("encoder.")}
    assert names
    assert all(".attention." in name for name in names)


def test_an_encoder_of_stage_a_is_taken_alone(tmp_path, labelled_row, run) -> None:
    torch.manual_seed(5)
    encoder = EncoderConfig(width=24, depth=2, heads=2)
    tensors = {f"encoder.{n}": t for n, t in Encoder(encoder).state_dict().items()}
    parts = {"encoder_name": "vit", "encoder": encoder.model_dump(mode="json")}
    config = {**dict.fromkeys(CONFIG_KEYS), "architecture": parts}
    save_weights(tmp_path / "a", {**tensors, "decoder.x": torch.zeros(1)}, config, "card")
    words = (*FEW, "encoder_lr=1e-9")
    support, out = [labelled_row(1)], tmp_path / "run"
    metrics = run("segment", "given", out, *words, weights=tmp_path / "a", support=support)
    assert (metrics["begins"], metrics["adapt"], metrics["blend"]) == ("encoder", "full", 1.0)
    for name, tensor in load_task(out).model.encoder.state_dict().items():
        assert torch.allclose(tensor, tensors[f"encoder.{name}"], atol=1e-6)


def test_without_weights_it_says_so(tmp_path, labelled_row, small, capsys, monkeypatch) -> None:
    from luxvox.configs.load import load_recipe
    from luxvox.finetune import start
    from luxvox.finetune.recipe import FinetuneRecipe
    from luxvox.models.dense import SegmentConfig

    monkeypatch.setattr(start, "SHIPPED", {})
    recipe = load_recipe("finetune/segment.yaml", FinetuneRecipe, ["data=a", "out=b", *small])
    found = start.starting_model(recipe, "segment", SegmentConfig(), text_dim=6)
    assert found.begins == "scratch"
    assert "training from scratch" in capsys.readouterr().err


def test_a_residual_begins_at_nothing_and_its_step_is_taken_back(
    tmp_path, pretrained, labelled_row, write, balls, run
) -> None:
    from luxvox.models.checkpoint import load_weights, save_weights

    tensors, config = load_weights(pretrained)
    wrong = {n: t + 5.0 if "heads.restore" in n else t for n, t in tensors.items()}
    save_weights(tmp_path / "wrong", wrong, config, "card")
    image = balls(1)[0]
    row = labelled_row(1, target=write("target", image), labels=None)

    def residual(name: str, *words: str) -> float:
        out = tmp_path / name
        given = ("first_guess=false", *FEW[:2], *words)
        run("restore", "given", out, *given, weights=tmp_path / "wrong", support=[row])
        head = load_task(out).model.heads["restore"]
        return float(head.residual.bias.detach().abs().max())

    moved = residual("moved", "blend=1")
    assert 0 < moved < 0.5
    assert residual("part") == pytest.approx(0.4 * moved, rel=1e-3)
