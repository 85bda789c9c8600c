"""Restoration terms: the metric and scikit-image as judges; what does not count is not there."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from luxvox.models.losses.restoration import restoration_loss
from luxvox.models.metrics.restoration import restoration_metrics, scaled_by_target

GENERATOR = np.random.default_rng(0)
TARGET = 50 + 300 * gaussian_filter(GENERATOR.normal(size=(2, 1, 12, 14, 16)), (0, 0, 1, 1, 1))
FOUND = TARGET + GENERATOR.normal(0, 15, TARGET.shape)


def tensors(*arrays):
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


def test_agrees_with_the_metric():
    terms = restoration_loss(*tensors(FOUND, TARGET))
    assert set(terms) == {"l1", "rmse", "ssim", "gradient", "frequency"}
    scores = [restoration_metrics(FOUND[row, 0], TARGET[row, 0]) for row in range(2)]
    expected = 1 - np.mean([score["ssim"] for score in scores])
    assert terms["ssim"].item() == pytest.approx(expected, abs=1e-4)
    scaled = [scaled_by_target(FOUND[row, 0], TARGET[row, 0]) for row in range(2)]
    expected = np.mean([np.abs(found - target).mean() for found, target in scaled])
    assert terms["l1"].item() == pytest.approx(expected, rel=1e-4)
    expected = np.mean([np.square(found - target).mean() for found, target in scaled]) ** 0.5
    assert terms["rmse"].item() == pytest.approx(expected, rel=1e-3)
    assert terms["rmse"].item() == pytest.approx(
        np.mean([score["nrmse"] ** 2 for score in scores]) ** 0.5, rel=1e-3
    )
    steps = [
        np.abs(np.diff(found - target, axis=axis)).ravel()
        for found, target in scaled
        for axis in range(3)
    ]
    assert terms["gradient"].item() == pytest.approx(np.concatenate(steps).mean(), rel=1e-4)


def test_a_given_span_stands_for_that_of_the_crop():
    found, target = tensors(FOUND, TARGET)
    own = restoration_loss(found, target)
    low, high = np.percentile(TARGET, [1, 99.9], axis=(1, 2, 3, 4))
    same = restoration_loss(found, target, span=torch.tensor(high - low))
    twice = restoration_loss(found, target, span=torch.tensor(2 * (high - low)))
    for name in ("l1", "rmse", "gradient", "frequency"):
        assert same[name].item() == pytest.approx(own[name].item(), rel=1e-3)
        assert twice[name].item() == pytest.approx(own[name].item() / 2, rel=1e-3)


def test_equal_is_zero_and_gain_of_both_changes_nothing():
    found, target = tensors(FOUND, TARGET)
    assert all(abs(term.item()) < 1e-5 for term in restoration_loss(target, target).values())
    terms, other = restoration_loss(found, target), restoration_loss(9 * found + 4, 9 * target + 4)
    for name, term in terms.items():
        assert term.item() > 0.01
        assert other[name].item() == pytest.approx(term.item(), rel=1e-3)


def test_each_term_sees_its_own_fault():
    found, target = tensors(FOUND, TARGET)
    offset = restoration_loss(target + 20, target)
    assert offset["l1"] > 0.03
    assert offset["gradient"] < 1e-5
    # An offset is one coefficient of the spectrum, noise of the same mean error is all of them.
    noise = restoration_loss(found, target)
    assert noise["frequency"] / noise["l1"] > 5 * offset["frequency"] / offset["l1"]
    blurred = gaussian_filter(TARGET, (0, 0, 1, 1, 1))
    assert restoration_loss(*tensors(blurred, TARGET))["ssim"] > 0.1


def test_what_does_not_count_changes_neither_loss_nor_gradient():
    found, target = tensors(FOUND, TARGET)
    counts = torch.ones(2, 12, 14, 16, dtype=torch.bool)
    counts[0, :, :, 12:] = False
    counts[1, :, :6] = False
    missing = ~counts[:, None]

    def value_and_gradient(found, target):
        found = found.clone().requires_grad_()
        terms = restoration_loss(found, target, counts)
        (gradient,) = torch.autograd.grad(sum(terms.values()), found)
        return terms, gradient

    before, gradient = value_and_gradient(found, target)
    terms, other = value_and_gradient(
        found.masked_fill(missing, torch.nan), target.masked_fill(missing, 1e9)
    )
    assert terms == before
    assert torch.equal(gradient, other)
    assert (gradient[missing] == 0).all()
    assert (gradient[~missing] != 0).all()
    assert before != restoration_loss(found, target)


def test_a_cut_off_part_is_a_smaller_crop():
    found, target = tensors(FOUND[:1], TARGET[:1])
    counts = torch.ones(1, 12, 14, 16, dtype=torch.bool)
    counts[..., 12:] = False
    ignored = restoration_loss(found, target, counts)
    cut = restoration_loss(found[..., :12], target[..., :12])
    for name in ("l1", "ssim", "gradient"):
        assert ignored[name].item() == pytest.approx(cut[name].item(), rel=1e-4)
    assert ignored["frequency"].item() == pytest.approx(cut["frequency"].item(), rel=0.1)


def test_flat_targets_thin_crops_and_nothing_counted_stay_finite():
    found, target = tensors(FOUND, TARGET)
    flat = restoration_loss(found, torch.zeros_like(target))
    thin = restoration_loss(found[:, :, :2], target[:, :, :2])
    assert all(torch.isfinite(term) for term in (*flat.values(), *thin.values()))
    assert flat["l1"].item() == pytest.approx(np.abs(FOUND).mean(), rel=1e-4)
    found.requires_grad_()
    none = restoration_loss(found, target, torch.zeros(2, 12, 14, 16, dtype=torch.bool))
    assert {term.item() for term in none.values()} == {0}
    sum(none.values()).backward()
    assert (found.grad == 0).all()


def test_descent_reaches_the_target():
    found, target = tensors(FOUND, TARGET)
    found.requires_grad_()
    optimiser = torch.optim.Adam([found], lr=3.0)
    first = {name: term.item() for name, term in restoration_loss(found, target).items()}
    for _ in range(40):
        optimiser.zero_grad()
        sum(restoration_loss(found, target).values()).backward()
        optimiser.step()
    last = restoration_loss(found, target)
    assert all(last[name].item() < 0.3 * first[name] for name in first)
