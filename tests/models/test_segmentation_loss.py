"""Dice, cross-entropy, deep supervision, skeleton recall: MONAI as judge; ignored = not there."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from luxvox.models.losses.segmentation import SMOOTH, deep_supervision_loss, segmentation_loss
from luxvox.models.losses.skeleton_recall import skeleton_recall_loss, tubed_skeleton


def make_case(channels, seed=0, shape=(6, 10, 12)):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, channels, *shape, generator=generator, requires_grad=True)
    labels = torch.randint(0, max(channels, 2), (2, *shape), generator=generator)
    counts = torch.rand(2, *shape, generator=generator) < 0.7
    return logits, labels, counts


@pytest.mark.parametrize("channels", [1, 4])
def test_agrees_with_monai(channels):
    from monai.losses import DiceLoss

    logits, labels, _ = make_case(channels)
    terms = segmentation_loss(logits, labels)
    kind = (
        {"sigmoid": True}
        if channels == 1
        else {"softmax": True, "include_background": False, "to_onehot_y": True}
    )
    judge = DiceLoss(batch=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH, **kind)
    assert terms["dice"].item() == pytest.approx(judge(logits, labels[:, None]).item(), abs=1e-6)
    if channels == 1:
        expected = F.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
    else:
        expected = F.cross_entropy(logits, labels)
    assert terms["cross_entropy"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_by_hand():
    labels = torch.tensor([1, 1, 0, 0]).view(1, 1, 1, 4)
    logits = torch.tensor([3, 0, 0, -1]).float().view(1, 1, 1, 1, 4) * np.log(3)
    # Probabilities 27/28, 1/2, 1/2, 1/4.
    overlap, size = 27 / 28 + 0.5, 27 / 28 + 0.5 + 0.5 + 0.25 + 2
    terms = segmentation_loss(logits, labels)
    assert terms["dice"].item() == pytest.approx(1 - (2 * overlap + 1) / (size + 1))
    expected = -np.log([27 / 28, 0.5, 0.5, 0.75]).mean()
    assert terms["cross_entropy"].item() == pytest.approx(expected)


@pytest.mark.parametrize("channels", [1, 4])
def test_ignored_voxels_change_neither_loss_nor_gradient(channels):
    logits, labels, counts = make_case(channels)
    skeleton = labels.clone()

    def value_and_gradient(logits, labels, skeleton):
        terms = segmentation_loss(logits, labels, counts)
        terms["skeleton"] = skeleton_recall_loss(logits, skeleton, counts)
        (gradient,) = torch.autograd.grad(sum(terms.values()), logits)
        return terms, gradient

    before, gradient = value_and_gradient(logits, labels, skeleton)
    perturbed = logits.detach().clone()
    perturbed.transpose(0, 1)[:, ~counts] = torch.tensor(torch.nan)
    other, other_skeleton = labels.clone(), skeleton.clone()
    other[~counts], other_skeleton[~counts] = 255, 1
    after, other_gradient = value_and_gradient(perturbed.requires_grad_(), other, other_skeleton)
    assert after == before
    assert torch.equal(gradient, other_gradient)
    assert (gradient.transpose(0, 1)[:, ~counts] == 0).all()
    assert (gradient.transpose(0, 1)[:, counts] != 0).all()
    # Labels under ignored voxels change nothing at coarse scales either.
    scales = [logits, logits[:, :, ::2, ::2, ::2]]
    by_scale = deep_supervision_loss(scales, labels, counts)
    assert deep_supervision_loss(scales, other, counts) == by_scale


@pytest.mark.parametrize("channels", [1, 3])
def test_ignoring_slices_equals_cutting_them_off(channels):
    logits, labels, counts = make_case(channels)
    counts[:] = True
    counts[:, 4:] = False
    ignored = segmentation_loss(logits, labels, counts)
    cut = segmentation_loss(logits[:, :, :4], labels[:, :4])
    for name in cut:
        assert ignored[name].item() == pytest.approx(cut[name].item(), rel=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_counts_or_nothing_is_there(channels):
    logits, labels, counts = make_case(channels)
    terms = segmentation_loss(logits, labels, torch.zeros_like(counts))
    assert {term.item() for term in terms.values()} == {0}
    sum(terms.values()).backward()
    assert (logits.grad == 0).all()
    # Without foreground cross-entropy alone still pushes down.
    terms = segmentation_loss(logits, torch.zeros_like(labels), counts)
    assert terms["dice"] == 0
    assert terms["cross_entropy"] > 0.1


def test_right_logits_lose_nothing_and_descent_gets_there():
    _, labels, counts = make_case(3)
    logits = torch.zeros(2, 3, 6, 10, 12, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.5)
    for _ in range(40):
        optimiser.zero_grad()
        sum(segmentation_loss(logits, labels, counts).values()).backward()
        optimiser.step()
    assert sum(segmentation_loss(logits, labels, counts).values()) < 0.01
    assert torch.equal(logits.argmax(1)[counts], labels[counts])


def test_deep_supervision_weighs_scales():
    logits, labels, counts = make_case(3)
    coarse = torch.randn(2, 3, 3, 5, 6)
    fine = segmentation_loss(logits, labels, counts)
    enlarged = F.interpolate(coarse, labels.shape[1:], mode="trilinear")
    rough = segmentation_loss(enlarged, labels, counts)
    both = deep_supervision_loss([logits, coarse], labels, counts)
    for name in fine:
        expected = (2 * fine[name] + rough[name]) / 3
        assert both[name].item() == pytest.approx(expected.item(), rel=1e-5)
    alone = deep_supervision_loss([logits], labels, counts)
    assert alone["dice"].item() == pytest.approx(fine["dice"].item())


def test_tubed_skeleton_runs_inside_the_labels():
    labels = np.zeros((15, 15, 30), dtype=np.uint8)
    labels[2:13, 2:13, :15], labels[2:13, 2:13, 15:] = 1, 2
    tube = tubed_skeleton(labels)
    assert tube.dtype == labels.dtype
    assert ((tube == labels) | (tube == 0)).all()
    for label in (1, 2):
        assert 0 < (tube == label).sum() < 0.3 * (labels == label).sum()
    # Two voxels around a straight line, city-block: 13 in each cross-section.
    assert (tube[:, :, 12] > 0).sum() == 13
    thin = np.zeros_like(labels)
    thin[7:9, 7:9, 3:25] = 1
    assert (tubed_skeleton(thin) > 0).sum() > 0.8 * thin.sum()


def test_skeleton_recall_by_hand():
    skeleton = torch.tensor([1, 1, 0, 2]).view(1, 1, 1, 4)
    probability = torch.tensor([[0.2, 0.5, 0.9, 0.3], [0.7, 0.4, 0.05, 0.1], [0.1, 0.1, 0.05, 0.6]])
    logits = probability.log().view(1, 3, 1, 1, 4)
    # Class 1: mean of 0.7 and 0.4; class 2: 0.6.
    expected = 1 - (0.55 + 0.6) / 2
    assert skeleton_recall_loss(logits, skeleton).item() == pytest.approx(expected)
    only = torch.where(skeleton == 2, 0, skeleton)
    assert skeleton_recall_loss(logits, only).item() == pytest.approx(0.45)
    assert skeleton_recall_loss(logits, torch.zeros_like(skeleton)) == 0
    binary = torch.tensor([0.7, 0.4, 0.9, 0.6]).logit().view(1, 1, 1, 1, 4)
    assert skeleton_recall_loss(binary, only).item() == pytest.approx(0.45)
