"""Intervals that cover, that respect animals, and tests that do not count crops as witnesses."""

from __future__ import annotations

import numpy as np
import pytest

from luxvox.finetune.benchmark.statistics import (
    correlation,
    estimate,
    left_out_lines,
    signed_rank_p,
)


def test_mean_and_interval_of_a_case_that_can_be_counted() -> None:
    """Two groups of one sample: 0, 1/2 and 1 with chances 1/4, 1/2, 1/4."""
    found = estimate([0.0, 1.0], ["a", "b"])
    assert found == (0.5, 0.0, 1.0)
    assert estimate([0.4, 0.4, 0.4], ["a", "b", "c"])[1:] == pytest.approx((0.4, 0.4))


def test_one_group_gives_no_interval() -> None:
    assert estimate([0.2, 0.4], ["a", "a"]) == (pytest.approx(0.3), None, None)
    with pytest.raises(ValueError, match="no samples"):
        estimate([], [])


def test_more_crops_of_the_same_animals_do_not_narrow_it() -> None:
    values, groups = [0.1, 0.4, 0.5, 0.9], ["a", "b", "c", "d"]
    once = estimate(values, groups)
    all_of_them = estimate(values * 25, groups * 25)
    assert once.high is not None
    assert once.low is not None
    width = once.high - once.low
    assert all_of_them.high - all_of_them.low > 0.95 * width
    # And of one animal only: it then weighs more, and the interval is no narrower either.
    one = estimate([*values, *[0.9] * 12], [*groups, *["d"] * 12])
    assert one.high - one.low > 0.95 * width
    # Crops counted as if they were animals would have made it five times as narrow.
    naive = estimate(values * 25, [str(n) for n in range(100)])
    assert naive.high - naive.low < 0.3 * width


def test_intervals_cover() -> None:
    """Of 200 tables drawn from a known law, most intervals hold the true mean."""
    rng = np.random.default_rng(0)
    groups = [str(n // 3) for n in range(36)]
    held = 0
    for _ in range(200):
        animal = rng.standard_normal(12).repeat(3)
        found = estimate(list(animal + 0.5 * rng.standard_normal(36)), groups)
        held += found.low <= 0 <= found.high
    assert 0.87 <= held / 200 <= 0.99


def test_classes_weigh_alike() -> None:
    values = [1.0] * 9 + [0.0]
    classes = ["often"] * 9 + ["rare"]
    found = estimate(values, [str(n) for n in range(10)], classes)
    assert found.mean == 0.5
    assert 0 <= found.low <= 0.5 <= found.high <= 1


def test_rank_test_is_over_animals() -> None:
    groups = [name for name in "abcdef" for _ in range(4)]
    assert signed_rank_p([0.1 + n / 100 for n in range(24)], groups) == pytest.approx(2 / 64)
    assert signed_rank_p([0.1] * 20, groups[:20]) is None
    assert signed_rank_p([0.0] * 24, groups) == 1.0
    mixed = [0.1 if n // 4 % 2 else -0.1 for n in range(24)]
    assert signed_rank_p(mixed, groups) > 0.5


def test_expected_values_are_calibrated_on_other_animals_only() -> None:
    raw = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    truth = [0.2 + 0.5 * value for value in raw]
    groups = ["a", "a", "b", "b", "c", "c"]
    assert left_out_lines(raw, truth, groups) == pytest.approx(truth)
    wrong = [*truth[:4], 0.0, 0.0]  # of an animal: changes the others' values, not its own
    assert left_out_lines(raw, wrong, groups)[4:] == pytest.approx(truth[4:])
    assert left_out_lines([0.1] * 6, truth, groups) == [None] * 6
    assert correlation(raw, truth) == pytest.approx(1)
    assert correlation(raw, [1.0] * 6) is None
