"""Numbers that should follow others: by hand, and scipy as judge."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from luxvox.configs.errors import InputError
from luxvox.models.metrics.ranking import ranking_metrics


def test_by_hand():
    scores = ranking_metrics([1.0, 8.0, 27.0, 64.0], [1.0, 2.0, 3.0, 4.0])
    assert scores["srcc"] == pytest.approx(1)
    assert scores["plcc"] == pytest.approx(0.9513, abs=1e-4)
    assert ranking_metrics([3.0, 2.0, 1.0], [1.0, 2.0, 3.0])["srcc"] == pytest.approx(-1)
    # d^2 = 1 + 1 + 0 + 0: 1 - 6 * 2 / (4 * 15).
    assert ranking_metrics([2.0, 1.0, 3.0, 4.0], [1, 2, 3, 4])["srcc"] == pytest.approx(0.8)


def test_agrees_with_scipy_on_ties():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 6, 40).astype(float)
    found = np.round(truth + generator.normal(0, 2, 40))
    scores = ranking_metrics(found, truth)
    assert scores["srcc"] == pytest.approx(spearmanr(found, truth).statistic)
    assert scores["plcc"] == pytest.approx(pearsonr(found, truth).statistic)


def test_constants():
    flat = ranking_metrics([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    assert flat == {"srcc": 0, "plcc": 0}
    unordered = ranking_metrics([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert np.isnan(unordered["srcc"])
    assert np.isnan(unordered["plcc"])


def test_mistakes_are_one_line():
    for found, truth in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, np.nan], [1.0, 2.0])):
        with pytest.raises(InputError):
            ranking_metrics(found, truth)
