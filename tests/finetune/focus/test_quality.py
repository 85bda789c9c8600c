"""The quality branch: pairs that belong together, content that tells nothing, what it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.configs.load import load_recipe
from luxvox.finetune.focus.degradations import (
    KINDS,
    LEVELS,
    Degradation,
    degraded,
    draw_microscope,
    photograph_planes,
)
from luxvox.finetune.focus.quality import (
    Photographs,
    QualityRecipe,
    cut_pairs,
    draw_plans,
    photograph,
    quality_loss,
    train_quality,
)
from luxvox.models.quality import QualityConfig, QualityEncoder
from luxvox.predict.focus_encoders import load_quality

SMALL = QualityRecipe(
    model=QualityConfig(channels=(8, 16), projection=8), scenes=4, planes=17, side=64, crop=32,
    contents=4, photographs=6, steps=40,
)  # fmt: skip


def dye(count: int, seed: int = 0, side: int = 64, planes: int = 17) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    points = rng.random((count, planes, side, side)) < 0.02
    return torch.nn.functional.avg_pool3d(torch.from_numpy(points).float(), 3, 1, 1) * 9


def test_half_of_the_contents_trade_degradations():
    plans = draw_plans(8, np.random.default_rng(0))
    assert [set(a) == set(b) for a, b in zip(plans[::2], plans[1::2], strict=True)] == [
        True, False, True, False,
    ]  # fmt: skip
    assert plans[0] == plans[1][::-1]
    assert all(a != b for a, b in plans)


def test_overlapping_crops_are_positives_and_share_pixels():
    ramp = torch.arange(64 * 64.0).reshape(1, 64, 64).repeat(8, 1, 1)
    batch = cut_pairs(Photographs(ramp, torch.arange(8)), SMALL, 3)
    for first, second in zip(batch.first[:, 0], batch.second[:, 0], strict=True):
        shared = len(set(first.flatten().tolist()) & set(second.flatten().tolist()))
        assert 0.05 * 32 * 32 < shared <= 0.32 * 32 * 32
    again = cut_pairs(Photographs(ramp, torch.arange(8)), SMALL, 3)
    assert torch.equal(batch.first, again.first)
    other = cut_pairs(Photographs(ramp, torch.arange(8)), SMALL, 4)
    assert not torch.equal(batch.first, other.first)


def test_loss_wants_kind_and_strength_apart_and_content_not():
    eye = torch.eye(4)
    good = quality_loss(eye, eye, torch.arange(4), 0.1)
    collapsed = quality_loss(eye[[0] * 4], eye[[0] * 4], torch.arange(4), 0.1)
    assert good < 0.01
    assert collapsed == pytest.approx(np.log(7), rel=1e-4)
    # Spoilt alike, other content: neither way. Told apart it would cost as much as anything.
    alike = torch.tensor([0, 1, 0, 1])
    close = quality_loss(eye[[0, 1, 0, 1]], eye[[0, 1, 0, 1]], alike, 0.1)
    assert close == pytest.approx(float(quality_loss(eye, eye, alike, 0.1)), abs=1e-3)


def test_degradations_do_what_they_say():
    """Defocus and noise, each stronger with its level, on one content."""
    microscope = {**draw_microscope(np.random.default_rng(4)), "na": 0.4}
    kinds = {}
    for kind in KINDS:
        plans = [degraded(microscope, Degradation(kind, level)) for level in (0, LEVELS - 1)]
        volume = dye(1).repeat(2, 1, 1, 1)[:, None]
        images = photograph_planes(volume, (1.0, 1.0, 1.0), plans, torch.Generator().manual_seed(0))
        assert torch.isfinite(images).all()
        rough = (images[:, 1:] - images[:, :-1]).var((1, 2))
        kinds[kind] = float(rough[1] / rough[0])
    assert kinds["defocus"] < 0.8
    assert kinds["noise"] > 3
    assert len({Degradation(k, n).number for k in KINDS for n in range(LEVELS)}) == 5 * LEVELS
    assert all(abs(ratio - 1) > 0.01 for ratio in kinds.values())


def test_photographs_are_scaled_by_content_and_reproducible():
    taken = photograph(dye(4), SMALL, 0)
    assert taken.images.shape == (8, 64, 64)
    both = taken.images.reshape(4, -1)
    assert torch.quantile(both, 0.998, dim=1) == pytest.approx(np.ones(4), abs=1e-3)
    assert torch.equal(photograph(dye(4), SMALL, 0).images, taken.images)
    assert not torch.equal(photograph(dye(4), SMALL, 1).images, taken.images)


def test_it_learns_and_its_features_tell_degradations_apart(monkeypatch, tmp_path):
    monkeypatch.setattr("luxvox.finetune.focus.quality.draw_scenes", lambda recipe: dye(4))
    numbers = train_quality(SMALL, tmp_path / "q")
    assert numbers["loss"] < 0.75 * numbers["chance"]
    trained = load_quality(tmp_path / "q")
    taken = photograph(dye(4, seed=9), SMALL, 50)  # contents and microscopes it has not seen
    batch = cut_pairs(taken, SMALL, 50)

    def told(model: QualityEncoder) -> float:
        with torch.inference_mode():
            first, second = (model.project(model(part)) for part in (batch.first, batch.second))
        return float(quality_loss(first, second, batch.degradations, SMALL.temperature))

    torch.manual_seed(0)
    assert told(trained) < told(QualityEncoder(SMALL.model)) - 0.2


def test_the_shipped_recipe_loads_and_impossible_crops_are_refused():
    recipe = load_recipe("focus/quality", QualityRecipe)
    assert recipe.steps > recipe.photographs
    with pytest.raises(InputError, match="side is 40, two crops of 32"):
        train_quality(SMALL.model_copy(update={"side": 40}), "nowhere")
