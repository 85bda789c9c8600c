"""The frequency term: right detail scores low, blur scores high, noise does not count."""

import pytest
import torch

from luxvox.models.losses.frequency import frequency_loss
from luxvox.models.losses.masked import patch_targets
from luxvox.models.masked_decoder import MaskedPrediction

PATCH = (4, 8, 8)


def score(values, patches, noise=0.05):
    batch, queries = patches.shape[:2]
    prediction = MaskedPrediction(values, torch.zeros(batch, queries), torch.zeros(batch, queries))
    mask = torch.ones(batch, queries, dtype=torch.bool)
    return frequency_loss(prediction, patches, torch.full((batch,), noise), mask, PATCH)


def test_perfect_shifted_blurred():
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(2, 6, 256, generator=generator)
    wanted = patch_targets(patches, torch.tensor([0.05, 0.05])).values
    assert score(wanted, patches) < 1e-6
    # A circular shift keeps all magnitudes: the term asks for the right detail, not for its place.
    shifted = wanted.unflatten(-1, PATCH).roll(3, dims=-1).flatten(2)
    assert score(shifted, patches).item() == pytest.approx(0, abs=1e-4)
    # Half-way between a patch and its shift is smoother than either.
    assert score((wanted + shifted) / 2, patches) > 0.1
    assert score(torch.zeros_like(wanted), patches) > score((wanted + shifted) / 2, patches)


def test_noise_patches_do_not_count():
    patches = 0.05 * torch.randn(1, 6, 256, generator=torch.Generator().manual_seed(0))
    empty = torch.zeros(1, 6, 256)
    assert score(empty, patches) < 0.02 * score(empty, patches * 40)


def test_gradient_is_finite_at_zero_and_points_to_more_detail():
    patches = torch.randn(1, 2, 256)
    values = torch.zeros(1, 2, 256, requires_grad=True)
    score(values, patches).backward()
    assert torch.isfinite(values.grad).all()
    little = (0.1 * torch.randn(1, 2, 256)).requires_grad_()
    score(little, patches).backward()
    assert (little.grad * little).sum() < 0
