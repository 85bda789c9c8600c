"""Between untouched and fine-tuned weights, and the threshold that the support asks for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from luxvox.data.normalize import IntensityStats
from luxvox.finetune.blend import blend_towards, weights_of
from luxvox.finetune.calibrate import THRESHOLDS, best_threshold, shrunken
from luxvox.finetune.examples import Example
from luxvox.models.metrics.overlap import dice


def test_blend_lies_between() -> None:
    model = nn.Linear(2, 2)
    before = weights_of(model)
    with torch.no_grad():
        model.weight += 4
    blend_towards(model, before, 0.25)
    assert torch.allclose(model.weight, before["weight"] + 1)
    assert torch.equal(model.bias, before["bias"])
    blend_towards(model, before, 0.0)
    assert torch.equal(model.weight, before["weight"])
    with pytest.raises(ValueError, match="other tensors"):
        blend_towards(nn.Linear(2, 2, bias=False), before, 0.5)


def examples(seed: int, count: int = 2):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        labels = (rng.random((6, 8, 8)) < 0.3).astype(np.int64)
        counts = rng.random(labels.shape) < 0.8
        # Right up to the scale: everything lies below 0.4.
        found = (0.1 * rng.random(labels.shape) + 0.2 * labels).astype(np.float32)
        found[~counts] = 1 - labels[~counts]  # would ruin every threshold, if it counted
        stats = IntensityStats(0, 1, 0, 1, 0, 1)
        yield found, Example("e", "g", found, stats, None, labels, counts)


def test_the_threshold_is_the_one_with_the_best_dice() -> None:
    found, given = zip(*examples(0), strict=True)
    chosen = best_threshold(found, given)
    assert chosen in THRESHOLDS

    def mean_dice(threshold: float) -> float:
        pairs = zip(found, given, strict=True)
        return float(np.mean([dice(f > threshold, e.labels > 0, e.counts) for f, e in pairs]))

    assert 0.1 <= chosen <= 0.2
    assert mean_dice(chosen) == max(mean_dice(t) for t in THRESHOLDS) == 1.0
    assert mean_dice(0.5) < 0.1


def test_few_rows_move_the_threshold_only_part_of_the_way() -> None:
    assert shrunken(0.5, 1) == 0.5
    assert shrunken(1 / 17, 1) == pytest.approx(1 / 3, abs=1e-3)  # odds of 1 to 16 become 1 to 2
    assert shrunken(16 / 17, 1) == pytest.approx(2 / 3, abs=1e-3)
    drawn = [shrunken(0.1, k) for k in (1, 2, 5, 300)]
    assert drawn == sorted(drawn, reverse=True)
    assert drawn[-1] == pytest.approx(0.1, abs=0.01)


def test_without_a_better_one_it_stays() -> None:
    found, given = zip(*examples(1), strict=True)
    sure = [np.where(e.labels > 0, 0.99, 0.01).astype(np.float32) for e in given]
    assert best_threshold(sure, given) == 0.5
    empty = [Example("e", "g", f, e.stats, None, e.labels * 0, e.counts) for f, e in
             zip(found, given, strict=True)]  # fmt: skip
    assert best_threshold(found, empty) == 0.5
