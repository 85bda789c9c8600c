"""Losses of the focus head: what each wants, and that unknown slices count nowhere."""

from __future__ import annotations

import math

import pytest
import torch

from luxvox.models.focus_config import FocusAnswer
from luxvox.models.focus_levels import level_values, soft_labels
from luxvox.models.losses.focus import (
    FocusWeights,
    distance_loss,
    doubt_loss,
    focus_losses,
    gate_loss,
    level_loss,
    monotone_loss,
    ranking_loss,
    weighted,
)

VALUES = level_values((0.5, 1.5, 2.5, 3.5))
TRUTH = torch.tensor([[2.0, 1.0, 0.0, 1.0, 2.5]])
NAN = float("nan")


def test_levels_cost_least_where_they_are_right():
    right = soft_labels(TRUTH, VALUES).clamp(min=1e-4).log()
    best = level_loss(right, TRUTH, VALUES)
    assert best < level_loss(torch.zeros(1, 5, 5), TRUTH, VALUES)
    assert best < level_loss(right.flip(-1), TRUTH, VALUES) - 1
    # A level beside the true one costs less than one far away only through soft labels.
    assert level_loss(torch.zeros(1, 5, 5), TRUTH, VALUES) == pytest.approx(math.log(5), rel=1e-5)


def test_order_counts_for_pairs_half_a_depth_of_field_apart():
    assert ranking_loss(5 * TRUTH, TRUTH) < 0.1 < ranking_loss(-TRUTH, TRUTH)
    close = torch.tensor([[1.0, 1.4]])
    assert ranking_loss(torch.tensor([[9.0, 0.0]]), close) == 0
    assert ranking_loss(torch.tensor([[9.0, 0.0]]), close * 2) > 8


def test_monotone_is_one_sided():
    assert monotone_loss(TRUTH, TRUTH) == 0
    assert monotone_loss(7 * TRUTH, TRUTH) == 0
    assert monotone_loss(-TRUTH, TRUTH) == pytest.approx(4.5 / 4)
    assert monotone_loss(TRUTH[:, :1], TRUTH[:, :1]) == 0


def test_doubt_learns_the_size_of_the_error_and_leaves_the_distance_alone():
    expected = (TRUTH + 0.5).requires_grad_()
    log_variance = torch.zeros(1, 5, requires_grad=True)
    doubt_loss(expected, log_variance, TRUTH).backward()
    assert expected.grad is None
    at_best = torch.full((1, 5), 2 * math.log(0.5), requires_grad=True)
    doubt_loss(expected, at_best, TRUTH).backward()
    assert at_best.grad is not None
    assert at_best.grad.abs().max() < 1e-6


def test_gate_ignores_what_is_not_known():
    logits = torch.tensor([4.0, -4.0, -4.0])
    assert gate_loss(logits, torch.tensor([1.0, 0.0, NAN])) < 0.05
    assert gate_loss(logits, torch.tensor([1.0, 0.0, 1.0])) > 1
    assert gate_loss(logits, torch.full((3,), NAN)) == 0


def test_unknown_slices_change_neither_losses_nor_gradients():
    expected = torch.tensor([[1.0, 5.0, 2.0]], requires_grad=True)
    truth = torch.tensor([[1.5, NAN, 0.0]])
    total = sum(loss(expected, truth) for loss in (distance_loss, ranking_loss, monotone_loss))
    assert isinstance(total, torch.Tensor)
    total.backward()
    assert expected.grad is not None
    assert expected.grad.isfinite().all()
    assert expected.grad[0, 1] == 0
    assert expected.grad[0, 0] != 0


def answer(logits: torch.Tensor | None) -> FocusAnswer:
    tiles = TRUTH[..., None]
    tile_logits = None if logits is None else logits[:, :, None]
    return FocusAnswer(
        TRUTH, torch.zeros_like(TRUTH), tiles, torch.zeros_like(TRUTH), torch.ones_like(tiles),
        torch.zeros_like(TRUTH), logits, tile_logits,
    )  # fmt: skip


def test_all_of_them_together():
    cells = torch.ones(1, 5, 1, 8, 8)
    found = focus_losses(
        answer(torch.zeros(1, 5, 5)), cells, TRUTH[..., None], TRUTH, cells, VALUES
    )
    assert set(found) == set(FocusWeights.model_fields)
    ones = dict.fromkeys(found, torch.tensor(1.0))
    assert weighted(ones, FocusWeights()) == pytest.approx(
        sum(FocusWeights().model_dump().values())
    )
    without = focus_losses(answer(None), cells, TRUTH[..., None], TRUTH, cells, None)
    assert "levels" not in without
