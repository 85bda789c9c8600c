"""Adaptation: what learns, how fast, and LoRA that starts as nothing and ends as plain weights."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.models import adapt as adapt_module
from luxvox.models.adapt import adapt, merge_lora, trained_share
from luxvox.models.dense import (
    ClassifyConfig,
    DenseConfig,
    DenseModel,
    RestoreConfig,
    SegmentConfig,
)
from luxvox.models.sizes import EncoderConfig

HEADS = {
    "segment": SegmentConfig(),
    "restore": RestoreConfig(),
    "classify": ClassifyConfig(classes=3),
}
needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed (make dev)"
)


def build() -> DenseModel:
    torch.manual_seed(0)
    encoder = EncoderConfig(width=24, depth=3, heads=2, registers=1)
    dense = DenseConfig(channels=(4, 8, 8), depths=2, text_dim=6, condition_width=8, heads=HEADS)
    return DenseModel(encoder, dense).eval()


def answer(model: DenseModel) -> torch.Tensor:
    torch.manual_seed(1)
    crop, size = torch.randn(2, 1, 8, 16, 16), torch.ones(2, 3)
    return model.segment(crop, size, torch.ones(2, dtype=torch.bool)).logits


def learning(model: DenseModel) -> set[str]:
    return {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("head", {"heads"}),
        ("decoder", {"heads", "decoder", "detail"}),
        ("full", {"heads", "decoder", "detail", "encoder"}),
    ],
)
def test_only_what_is_meant_to_learn_does(how, parts) -> None:
    model = build()
    groups = adapt(model, how, "segment")
    assert learning(model) == parts
    assert not any(p.requires_grad for p in model.heads["restore"].parameters())
    grouped = [id(p) for group in groups for p in group.parameters]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters() if p.requires_grad}
    everything = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained_share(model, groups) == pytest.approx(trained / everything)


def test_blocks_near_the_image_learn_slower() -> None:
    groups = {group.name: group for group in adapt(build(), "full", "segment", layer_decay=0.5)}
    assert groups["encoder.blocks.2"].factor == 1.0
    assert groups["encoder.blocks.0"].factor == 0.25
    assert groups["encoder.embed"].factor == 0.125
    assert groups["encoder.norm"].factor == groups["decoder"].factor == 1.0
    assert groups["encoder.embed"].encoder
    assert not groups["decoder"].encoder
    alike = adapt(build(), "full", "segment", layer_decay=1.0)
    assert {group.factor for group in alike} == {1.0}


def test_classification_leaves_the_decoder_alone() -> None:
    model = build()
    adapt(model, "full", "classify")
    assert learning(model) == {"heads", "encoder"}


@needs_peft
def test_lora_without_a_step_equals_the_base() -> None:
    model = build()
    before = answer(model)
    groups = adapt(model, "lora", "segment", rank=2)
    assert torch.equal(answer(model), before)
    encoder = {n for n, p in model.encoder.named_parameters() if p.requires_grad}
    assert len(encoder) == 3 * 2 * 2  # blocks, layers, two factors
    assert all("lora_" in name for name in encoder)
    assert learning(model) == {"heads", "decoder", "detail", "encoder"}
    assert {group.name for group in groups if group.encoder} == {"encoder.lora"}


@needs_peft
def test_merged_lora_answers_alike_in_plain_layers() -> None:
    model = build()
    names = set(model.state_dict())
    before = answer(model)
    (lora,) = (g for g in adapt(model, "lora", "segment", rank=2) if g.encoder)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in lora.parameters:
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    adapted = answer(model)
    merge_lora(model)
    assert (adapted - before).abs().max() > 0.01
    assert torch.allclose(answer(model), adapted, atol=1e-5)
    assert set(model.state_dict()) == names


def test_without_peft_lora_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(adapt_module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"luxvox\[train\]"):
        adapt(build(), "lora", "segment")


def test_a_head_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"no head 'labels'.*'restore', 'segment'"):
        adapt(build(), "head", "labels")
