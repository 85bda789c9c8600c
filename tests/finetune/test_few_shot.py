"""Draws: reproducible, spread over groups, never a group on both sides."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.data.normalize import IntensityStats
from luxvox.data.row import Row
from luxvox.finetune.examples import Example
from luxvox.finetune.few_shot import draw_shots, group_draws, within_volume_draw


def row(name: str, group: str, split: str | None = None, of: str | None = None) -> Row:
    return Row(id=name, image=Path(name), group=group, split=split, class_name=of)


ROWS = tuple(row(f"{group}{n}", group) for group in "abcd" for n in range(3))


def test_a_draw_is_a_function_of_the_seed_and_not_of_the_order() -> None:
    first = draw_shots(ROWS, 5, seed=3)
    assert draw_shots(ROWS[::-1], 5, seed=3) == first
    assert len({draw_shots(ROWS, 5, seed) for seed in range(10)}) > 5


def test_shots_are_spread_over_groups_before_a_group_gives_a_second() -> None:
    for seed in range(10):
        counts = Counter(one.group for one in draw_shots(ROWS, 6, seed))
        assert sorted(counts.values()) == [1, 1, 2, 2]


def test_only_rows_to_train_on_are_drawn() -> None:
    rows = (row("a", "a", "train"), row("b", "b", "val"), row("c", "c"))
    assert {one.id for one in draw_shots(rows, None, 0)} == {"a", "c"}
    with pytest.raises(InputError, match=r"all 1 are of split val"):
        draw_shots(rows[1:2], 1, 0)


def test_more_shots_than_rows_takes_all_and_says_both_numbers(capsys) -> None:
    assert len(draw_shots(ROWS, 40, 0)) == 12
    assert "40 shots wanted, only 12 rows" in capsys.readouterr().err
    with pytest.raises(InputError, match="shots is 0"):
        draw_shots(ROWS, 0, 0)


def test_shots_of_classification_are_of_each_class() -> None:
    rows = [row(f"{of}{n}", f"{of}{n}", of=of) for of in ("x", "y", "z") for n in range(4)]
    drawn = draw_shots(rows, 2, 1, per_class=True)
    assert Counter(one.class_name for one in drawn) == {"x": 2, "y": 2, "z": 2}
    with pytest.raises(InputError, match="no class"):
        draw_shots([row("a", "a")], 1, 0, per_class=True)


@pytest.mark.parametrize("shots", [1, 3, 5, 9])
def test_groups_are_never_on_both_sides_and_no_row_of_the_others_is_lost(shots: int) -> None:
    draws = group_draws(ROWS, shots, draws=4, seed=7)
    assert len(draws) == 4
    for one, other in zip(draws, group_draws(ROWS[::-1], shots, draws=4, seed=7), strict=True):
        assert (one.support, set(one.test)) == (other.support, set(other.test))
    for support, test in draws:
        assert len(support) == shots
        learnt = {one.group for one in support}
        assert {one.group for one in test} == set("abcd") - learnt
        assert len(test) == 3 * (4 - len(learnt)) > 0
    assert len({frozenset(one.support) for one in draws}) == 4


def test_what_leaves_no_group_is_refused() -> None:
    with pytest.raises(InputError, match=r"10 shots leave no group.*at most 9 do"):
        group_draws(ROWS, 10, 1, 0)
    with pytest.raises(InputError, match="at most 0 do"):
        group_draws(ROWS[:3], 1, 1, 0)


def test_a_class_of_one_group_is_learnt_from_and_judged_by_none() -> None:
    rows = [row(f"x{n}", f"x{n}", of="x") for n in range(3)] + [row("y", "y", of="y")]
    (draw, *_) = group_draws(rows, 2, 3, 0, per_class=True)
    assert Counter(one.class_name for one in draw.support) == {"x": 2, "y": 1}
    assert [one.class_name for one in draw.test] == ["x"]


def test_one_volume_is_cut_in_two_with_a_gap() -> None:
    planes = np.arange(40, dtype=np.float32)
    image = np.broadcast_to(planes[:, None, None], (40, 2, 2)).copy()
    stats = IntensityStats(0, 1, 0, 1, 0, 1)
    sides = set()
    for seed in range(8):
        whole = Example("v", "v", image, stats, None, labels=image.astype(np.int64))
        support, test = within_volume_draw(whole, seed, share=0.5, gap=8)
        learnt, judged = set(support.image[:, 0, 0]), set(test.image[:, 0, 0])
        assert len(learnt) == len(judged) == 16
        assert min(abs(a - b) for a in learnt for b in judged) == 9
        assert np.array_equal(support.labels, support.image)
        sides.add(0.0 in learnt)
    assert sides == {True, False}
    with pytest.raises(InputError, match="40 planes"):
        within_volume_draw(Example("v", "v", image, stats, None), 0, gap=39)
