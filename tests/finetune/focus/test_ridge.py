"""Ridge: judged on groups left out, penalty chosen in inner folds, undefined stacks counted."""

from __future__ import annotations

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.finetune.focus.ridge import correlations, fit_ridge, leave_out, random_folds


def made(groups: int = 6, planes: int = 9, noise: float = 0.1, offset: float = 0.0, seed: int = 0):
    """Features of which the first follows the score; `offset` moves whole groups."""
    rng = np.random.default_rng(seed)
    scores = np.tile(1 / (1 + (np.arange(planes) - planes // 2) ** 2 / 4), groups)
    names = np.repeat([f"g{i}" for i in range(groups)], planes)
    features = rng.normal(size=(len(scores), 5))
    features[:, 0] = (
        scores + noise * features[:, 0] + np.repeat(offset * rng.normal(size=groups), planes)
    )
    return features, scores, list(names)


def test_scores_of_groups_left_out():
    features, scores, groups = made()
    left = leave_out(features, scores, groups, groups)
    assert left.summary()["srcc"] > 0.8
    assert left.summary()["stacks"] == 6
    rng = np.random.default_rng(1)
    nothing = leave_out(rng.normal(size=features.shape), scores, groups, groups)
    assert abs(nothing.summary()["srcc"]) < 0.35


def test_a_group_is_never_seen_before_it_is_judged():
    """Marks of the slices themselves: a split by slices finds them, one by groups cannot."""
    _, scores, groups = made(groups=8)
    rng = np.random.default_rng(2)
    target = rng.permutation(scores)
    marks = np.repeat(np.eye(8), 9, 0) * rng.normal(size=(72, 1))
    shift = np.repeat(rng.normal(size=8), 9)
    honest = leave_out(marks, target + shift, groups, groups)
    leaky = random_folds(np.repeat(np.eye(8), 9, 0), target + shift, groups)
    assert ((honest.scores - target - shift) ** 2).mean() > 2 * (
        (leaky.scores - target - shift) ** 2
    ).mean()
    changed = target.copy()
    changed[:9] += 100  # what the first group is worth must not reach its own fold
    again = leave_out(marks, changed + shift, groups, groups)
    assert again.scores[:9] == pytest.approx(honest.scores[:9])
    assert again.scores[9:] != pytest.approx(honest.scores[9:])


def test_channels_of_a_specimen_stay_together():
    features, scores, groups = made(groups=6)
    stacks = [f"{g}/{n % 2}" for n, g in enumerate(groups)]
    left = leave_out(features, scores, stacks, groups)
    assert len(left.stacks) == 12
    assert len(left.alphas) == 6
    with pytest.raises(InputError, match="in several groups"):
        leave_out(features, scores, groups, [f"{n}" for n in range(len(groups))])


def test_the_penalty_follows_the_data():
    easy, scores, groups = made(noise=0.01)
    hard = np.random.default_rng(3).normal(size=(len(scores), 40))
    assert fit_ridge(easy, scores, groups).alpha < 10
    assert fit_ridge(hard, scores, groups).alpha > 100
    alphas = leave_out(easy, scores, groups, groups).alphas
    assert len(alphas) == 6  # chosen anew in every fold


def test_undefined_stacks_are_counted_not_hidden():
    features, scores, groups = made()
    scores[:9] = 0.5  # one stack has no order
    features = np.concatenate([features, features[:1]])
    scores = np.append(scores, 0.3)
    groups.append("single")  # one slice has none either
    left = leave_out(features, scores, groups, groups).summary()
    assert (left["stacks"], left["undefined_stacks"]) == (7, 2)
    assert left["srcc"] > 0.7
    constant = correlations(np.ones(4), np.arange(4.0), ["a"] * 4)
    assert constant == (("a", 0.0, 0.0),)  # a constant answer is no undefined one


def test_few_groups_are_refused():
    features, scores, groups = made(groups=2)
    with pytest.raises(InputError, match=r"2 groups .*at least 3"):
        leave_out(features, scores, groups, groups)
    with pytest.raises(InputError, match="one group only"):
        fit_ridge(features[:9], scores[:9], groups[:9])


def test_features_without_spread_do_no_harm():
    features, scores, groups = made()
    features[:, 1] = 3.0
    fitted = fit_ridge(features, scores, groups)
    assert np.isfinite(fitted(features)).all()
