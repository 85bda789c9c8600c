"""A sweep judged as a whole: where focus lies, what to trust, what to leave alone."""

from __future__ import annotations

import pytest
import torch

from luxvox.models.focus_config import FocusAnswer
from luxvox.models.focus_course import SweepCourse, find_course
from luxvox.models.focus_levels import soft_labels

VALUES = torch.arange(10.0)
PRIOR = torch.full((10,), 0.1)
BEST, STEP = 7.3, 0.4


def said(distance: torch.Tensor, doubt: float = 0.3) -> torch.Tensor:
    """[S, K] logits of slices that are believed to lie at these distances."""
    return ((1 - doubt) * soft_labels(distance, VALUES) + doubt / 10).log()


def answered(distance: torch.Tensor, doubt: float = 0.3) -> FocusAnswer:
    logits = said(distance, doubt)
    one = torch.ones(1, len(distance), 1)
    return FocusAnswer(
        logits.softmax(-1)[None] @ VALUES, torch.full((1, len(distance)), -1.0), one,
        torch.zeros(1, len(distance)), one, torch.zeros(1, len(distance)), logits[None], None,
    )  # fmt: skip


def course_of(distance: torch.Tensor, z: torch.Tensor, doubt: float = 0.3) -> SweepCourse:
    found = find_course(said(distance, doubt), PRIOR, VALUES, z, torch.zeros(len(z)))
    assert found is not None
    return found


def test_noise_of_single_slices_cancels_out():
    z = torch.arange(17.0)
    truth = STEP * (z - BEST).abs()
    rng = torch.Generator().manual_seed(0)
    noisy = (truth + 0.4 * torch.randn(17, generator=rng)).clamp(min=0)
    course = course_of(noisy, z)
    assert (course.places @ course.weights).item() == pytest.approx(BEST, abs=0.5)
    assert (course.steps @ course.weights).item() == pytest.approx(STEP, rel=0.2)
    assert course.trust > 0.9
    plain = answered(noisy)
    found = course.follow(plain, z, VALUES)
    before, after = ((a.expected[0] - truth).abs().mean() for a in (plain, found))
    assert after < 0.5 * before
    levels = found.logits[0].softmax(-1)
    assert torch.allclose(levels @ VALUES, found.expected[0], atol=0.2)
    assert torch.equal(found.tiles, plain.tiles)
    assert torch.equal(found.empty, plain.empty)


def test_slices_that_say_nothing_are_left_as_they_are():
    z = torch.arange(17.0)
    course = course_of(torch.zeros(17), z, doubt=1.0)
    assert course.trust < 0.1
    own = answered(torch.linspace(1, 2, 17))
    assert torch.allclose(course.follow(own, z, VALUES).expected, own.expected, atol=0.3)


def test_one_slice_that_fits_nothing_moves_nothing():
    z = torch.arange(17.0)
    truth = STEP * (z - BEST).abs()
    broken = truth.clone()
    broken[1] = 0.0
    one, other = (course_of(distance, z, 0.1) for distance in (truth, broken))
    assert (other.places @ other.weights).item() == pytest.approx(
        (one.places @ one.weights).item(), abs=0.3
    )


def test_missing_slices_and_focus_outside():
    z = torch.tensor([0.0, 1, 2, 5, 6, 9, 10, 11])
    course = course_of(STEP * (z - BEST).abs(), z, 0.1)
    assert (course.places @ course.weights).item() == pytest.approx(BEST, abs=0.3)
    outside = course_of(STEP * (z + 1.5), z, 0.1)
    assert (outside.places @ outside.weights).item() < 0
    assert outside.follow(answered(STEP * (z + 1.5)), z, VALUES).expected[0].diff().min() > 0


def test_empty_slices_say_nothing_and_few_make_no_course():
    z = torch.arange(17.0)
    truth = STEP * (z - BEST).abs()
    wrong = truth.clone()
    empty = torch.zeros(17)
    empty[:6], wrong[:6] = 1.0, 0.0
    found = find_course(said(wrong, 0.1), PRIOR, VALUES, z, empty)
    assert found is not None
    assert (found.places @ found.weights).item() == pytest.approx(BEST, abs=0.5)
    assert find_course(said(truth), PRIOR, VALUES, z, (z > 3).float()) is None


def test_common_levels_count_no_more_than_rare_ones():
    z = torch.arange(17.0)
    uneven = torch.tensor([0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.03, 0.02])
    known_nothing = uneven.log().expand(17, -1)
    found = find_course(known_nothing, uneven, VALUES, z, torch.zeros(17))
    assert found is not None
    assert found.trust < 0.1
