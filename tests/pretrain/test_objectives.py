"""What the model may see, what the loss may judge, and that accumulation is no other objective."""

from __future__ import annotations

import pytest
import torch

from luxvox.models.sizes import DecoderConfig, EncoderConfig
from luxvox.pretrain.accumulate import cache_contrast
from luxvox.pretrain.masking import Masks, draw_masks
from luxvox.pretrain.objectives import Batch, Captions, PretrainModel
from luxvox.pretrain.recipe import PretrainRecipe

GRID, PATCH = (2, 3, 4), (4, 4, 4)
TEXT_DIM = 12


def _recipe(**changes: object) -> PretrainRecipe:
    values: dict[str, object] = {
        "data": {"source": "none", "crop": {"shape": (8, 12, 16), "patch": PATCH}},
        "out": "none",
        "steps": 1,
        "encoder": {"size": "nano"},
        "text": {"dim": 16},
        "masking": {"ratio": 0.5, "queries": 0.25},
    }
    return PretrainRecipe.model_validate(values | changes)


def _model(recipe: PretrainRecipe) -> PretrainModel:
    torch.manual_seed(0)
    encoder = EncoderConfig(width=24, depth=2, heads=2, patch=PATCH)
    recipe = recipe.model_copy(update={"decoder": DecoderConfig(width=24, depth=1, heads=2)})
    return PretrainModel(recipe, encoder, TEXT_DIM)


def _batch(count: int, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return {
        "crop": torch.randn(count, 1, 8, 12, 16, generator=draw),
        "voxel_size_um": torch.tensor([[2.0, 1.0, 1.0]]).expand(count, 3).clone(),
        "spacing_known": torch.arange(count) % 2 == 0,
        "noise": torch.full((count,), 0.1),
        "variance": torch.ones(count),
        "caption_id": torch.arange(count) % 3,
        "extent": torch.tensor([[8, 12, 16]]).expand(count, 3).clone(),
        "index": torch.arange(count),
    }


def _masks(recipe: PretrainRecipe, batch: Batch) -> Masks:
    return draw_masks(batch["index"], batch["extent"], GRID, PATCH, recipe.masking, seed=3)


def _captions() -> Captions:
    features = torch.randn(3, TEXT_DIM, generator=torch.Generator().manual_seed(1))
    return Captions(torch.arange(3), features)


def _set_tokens(batch: Batch, tokens: list[int], value: float) -> Batch:
    """A copy of a batch whose first crop holds `value` in these z-major tokens."""
    crop = batch["crop"].clone()
    for token in tokens:
        z, y, x = token // 12 * 4, token // 4 % 3 * 4, token % 4 * 4
        crop[0, 0, z : z + 4, y : y + 4, x : x + 4] = value
    return batch | {"crop": crop}


def _losses(model: PretrainModel, batch: Batch, masks: Masks) -> dict[str, float]:
    with torch.no_grad():
        return {name: float(t) for name, t in model("learn", batch, masks, _captions()).items()}


def test_hidden_patches_that_are_not_asked_for_change_no_term() -> None:
    recipe = _recipe()
    model, batch = _model(recipe), _batch(4)
    masks = _masks(recipe, batch)
    touched = set(masks.keep[0].tolist()) | set(masks.query[0].tolist())
    free = [token for token in range(24) if token not in touched]
    assert free
    assert _losses(model, batch, masks) == _losses(model, _set_tokens(batch, free, 9.0), masks)


def test_asked_for_patches_are_judged_but_never_seen() -> None:
    recipe = _recipe()
    model, batch = _model(recipe), _batch(4)
    masks = _masks(recipe, batch)
    asked = masks.query[0].tolist()
    before = _losses(model, batch, masks)
    after = _losses(model, _set_tokens(batch, asked, 9.0), masks)
    assert after["intensity"] != before["intensity"]
    assert after["text"] == before["text"]  # the encoder did not see them


def test_visible_patches_are_seen_but_never_judged() -> None:
    recipe = _recipe()
    model, batch = _model(recipe), _batch(4)
    masks = _masks(recipe, batch)
    crop = batch["crop"].requires_grad_()
    encoded = model.encode(batch, masks)
    # With the encoder's path cut, only the targets remain: visible voxels get no gradient at all.
    constant = encoded._replace(tokens=encoded.tokens.detach(), prefix=encoded.prefix.detach())
    terms = model.masked_terms(batch, masks, constant)
    (gradient,) = torch.autograd.grad(model.weighted_sum(terms), crop)
    asked = torch.zeros(4, 24, dtype=torch.bool).scatter_(1, masks.query, True)
    for row in range(4):
        for token in range(24):
            z, y, x = token // 12 * 4, token // 4 % 3 * 4, token % 4 * 4
            part = gradient[row, 0, z : z + 4, y : y + 4, x : x + 4]
            assert bool((part != 0).any()) == bool(asked[row, token]), (row, token)


@pytest.mark.parametrize("text", [0.0, 0.5])
def test_accumulated_gradients_are_those_of_the_whole_batch(text: float) -> None:
    whole_recipe = _recipe(objective={"text": text})
    batch = _batch(6)
    masks = _masks(whole_recipe, batch)
    captions = _captions() if text else None
    whole = _model(whole_recipe)
    whole("learn", batch, masks, captions)["loss"].backward()

    recipe = _recipe(objective={"text": text}, accumulate=3, batch_size=2)
    model = _model(recipe)
    parts = [
        ({key: value[at : at + 2] for key, value in batch.items()}, masks.rows(at, at + 2))
        for at in (0, 2, 4)
    ]
    cached = cache_contrast(model, parts, captions, 0, 1) if captions else [None] * 3
    for number, ((part, part_masks), cache) in enumerate(zip(parts, cached, strict=True)):
        last = number == 2
        out = model("learn", part, part_masks, captions if last else None, cache)
        (out["loss"] / (1 if cache else 3)).backward()
    wanted = dict(whole.named_parameters())
    for name, parameter in model.named_parameters():
        expected = wanted[name].grad
        if expected is None:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            # Gradients reach 10 here; float32 sums in another order differ in the sixth digit.
            assert torch.allclose(parameter.grad, expected, rtol=1e-4, atol=1e-5), name


def test_text_moves_pool_and_both_projectors_and_the_temperature() -> None:
    recipe = _recipe(objective={"masked": 0, "text": 1.0})
    model, batch = _model(recipe), _batch(6)
    model("learn", batch, _masks(recipe, batch), _captions())["loss"].backward()
    for part in (model.pool, model.image_projector, model.text_projector, model.encoder):
        assert any(p.grad is not None and bool((p.grad != 0).any()) for p in part.parameters())
    assert model.logit_scale.grad is not None
    assert all(p.grad is None for p in model.decoder.parameters())


def test_every_trainable_tensor_gets_a_gradient() -> None:
    recipe = _recipe()
    model, batch = _model(recipe), _batch(6)
    model("learn", batch, _masks(recipe, batch), _captions())["loss"].backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []


def test_inspect_hides_the_voxel_size_where_it_says_so() -> None:
    recipe = _recipe()
    model, batch = _model(recipe), _batch(2)
    masks = _masks(recipe, batch)
    other = batch | {"voxel_size_um": batch["voxel_size_um"] * 3}
    one, two = model.inspect(batch, masks), model.inspect(other, masks)
    assert torch.equal(one["images_no_spacing"], two["images_no_spacing"])
    assert not torch.allclose(one["images"][0], two["images"][0])  # known here
    assert torch.equal(one["images"][1], two["images"][1])  # unknown here


def test_padding_changes_neither_features_nor_terms() -> None:
    recipe = _recipe()
    model, batch = _model(recipe), _batch(2)
    batch["extent"] = torch.tensor([[4, 12, 8], [8, 12, 16]])
    masks = _masks(recipe, batch)
    padding = [t for t in range(24) if t // 12 > 0 or t % 4 > 1]
    changed = _set_tokens(batch, padding, 50.0)
    assert _losses(model, batch, masks) == pytest.approx(_losses(model, changed, masks), rel=1e-6)
    one, two = model.inspect(batch, masks), model.inspect(changed, masks)
    for name in ("images", "images_no_spacing", "features"):
        assert torch.allclose(one[name], two[name], atol=1e-5), name
