"""The masked loss: mask and loss agree, empty and noisy patches stay out, it splits exactly."""

import pytest
import torch

from luxvox.models.losses.masked import masked_patch_loss, mean_over_samples, patch_targets
from luxvox.models.masked_decoder import MaskedPrediction
from luxvox.models.patch_embed import gather_patches, patchify

PATCH = (8, 8, 8)


def make_prediction(batch, queries, voxels=512, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return MaskedPrediction(
        torch.randn(batch, queries, voxels, generator=generator),
        torch.randn(batch, queries, generator=generator),
        0.1 * torch.randn(batch, queries, generator=generator),
    )


def test_loss_looks_at_hidden_voxels_only_on_a_non_cubic_crop():
    crop = torch.arange(16 * 24 * 40, dtype=torch.float32).reshape(1, 1, 16, 24, 40)
    code = crop.clone()
    crop = (crop / crop.max()).requires_grad_()
    order = torch.rand(1, 30, generator=torch.Generator().manual_seed(3)).argsort(1)
    visible, hidden = order[:, :8], order[:, 8:]
    target = gather_patches(crop, PATCH, hidden)
    counts = torch.ones_like(hidden, dtype=torch.bool)
    loss = masked_patch_loss(make_prediction(1, 22), target, torch.tensor([0.01]), counts)
    sum(loss.values()).backward()
    touched = crop.grad != 0
    # The voxels are coded by place: those with a gradient are exactly those of the hidden patches.
    hidden_codes = patchify(code, PATCH)[0, hidden[0]].flatten().sort().values
    assert torch.equal(code[touched].sort().values, hidden_codes)
    visible_codes = patchify(code, PATCH)[0, visible[0]]
    assert not touched.flatten()[visible_codes.long().flatten()].any()


def test_queries_that_do_not_count_have_no_gradient_even_if_not_finite():
    target = torch.randn(2, 5, 512)
    target[1, 3:] = torch.inf
    prediction = make_prediction(2, 5)
    prediction.values.requires_grad_()
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    loss = masked_patch_loss(prediction, target, torch.full((2,), 0.1), mask)
    assert all(torch.isfinite(term) for term in loss.values())
    shorter = masked_patch_loss(
        MaskedPrediction(*(part[1:, :3] for part in prediction)),
        target[1:, :3],
        torch.full((1,), 0.1),
        mask[1:, :3],
    )
    alone = masked_patch_loss(
        MaskedPrediction(*(part[:1] for part in prediction)),
        target[:1],
        torch.ones(1) * 0.1,
        mask[:1],
    )
    for name, term in loss.items():
        assert term.item() == pytest.approx((shorter[name] + alone[name]).item() / 2, rel=1e-5)


def test_empty_and_noise_patches_weigh_nothing_structure_weighs_all():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, 512, generator=generator) * 0.2
    patches = noise + 1.0
    patches[0, 0] = 1.0  # empty and constant
    patches[0, 2] += torch.linspace(-3, 3, 512)  # structure under the same noise
    targets = patch_targets(patches, torch.tensor([0.2]))
    assert targets.weight[0, 0] == 0
    assert targets.weight[0, 1] < 0.1
    assert targets.weight[0, 2] > 0.95
    assert targets.values[0, 0].abs().max() == 0
    assert targets.values[0, 1].var() == pytest.approx(0.5, rel=0.15)
    assert targets.values[0, 2].var() == pytest.approx(1.0, rel=0.05)
    # Without a measured noise an exactly constant patch still gives nothing, and nothing infinite.
    silent = patch_targets(patches, torch.tensor([0.0]))
    assert silent.weight[0, 0] == 0
    assert torch.isfinite(silent.values).all()
    assert torch.isfinite(silent.log_std).all()


def test_what_is_asked_for_is_what_scores_zero():
    patches = torch.randn(2, 4, 512) * 2 + 1
    noise = torch.tensor([0.1, 0.3])
    target = patch_targets(patches, noise)
    perfect = MaskedPrediction(target.values, target.mean, target.log_std)
    assert torch.allclose(perfect.voxels(), patches, atol=1e-5)
    mask = torch.ones(2, 4, dtype=torch.bool)
    assert max(masked_patch_loss(perfect, patches, noise, mask).values()) < 1e-9
    off = masked_patch_loss(perfect._replace(mean=target.mean + 0.5), patches, noise, mask)
    assert off["mean"].item() == pytest.approx(0.25, rel=1e-4)
    assert off["intensity"].item() == pytest.approx(0.25, rel=1e-4)
    assert off["patch"] < 1e-9


def test_splits_exactly_over_micro_batches():
    patches, noise = torch.randn(6, 9, 512), torch.rand(6)
    mask = torch.rand(6, 9) < 0.6
    prediction = make_prediction(6, 9)
    whole = masked_patch_loss(prediction, patches, noise, mask)
    parts = [
        masked_patch_loss(
            MaskedPrediction(*(part[rows] for part in prediction)),
            patches[rows],
            noise[rows],
            mask[rows],
        )
        for rows in (slice(0, 2), slice(2, 4), slice(4, 6))
    ]
    for name, term in whole.items():
        assert term.item() == pytest.approx(sum(part[name].item() for part in parts) / 3, rel=1e-5)


def test_a_sample_without_hidden_patches_counts_as_zero():
    per_patch = torch.ones(2, 3)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert mean_over_samples(per_patch, mask) == 0.5
