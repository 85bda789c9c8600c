"""Classes of crops: by hand, and scikit-learn as judge."""

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.models.metrics.classification import classification_metrics, confusion_matrix


def test_by_hand():
    truth, found = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0]
    matrix = confusion_matrix(found, truth, 3)
    assert matrix.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    scores = classification_metrics(found, truth, 3)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert scores["macro_f1"] == pytest.approx((4 / 6 + 4 / 5 + 0) / 3)


def test_classes_absent_from_truth():
    # Class 2 is nowhere, class 3 is only found: it has no recall, and an F1 of 0.
    scores = classification_metrics([0, 1, 3, 1], [0, 1, 1, 1], 4)
    assert scores["balanced_accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["macro_f1"] == pytest.approx((1 + 4 / 5 + 0) / 3)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scikit_learn(seed):
    judge = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 5, 30)
    found = np.where(generator.random(30) < 0.6, truth, generator.integers(0, 7, 30))
    scores = classification_metrics(found, truth, 7)
    assert scores["accuracy"] == pytest.approx(judge.accuracy_score(truth, found))
    expected = judge.balanced_accuracy_score(truth, found)
    assert scores["balanced_accuracy"] == pytest.approx(expected)
    assert scores["macro_f1"] == pytest.approx(judge.f1_score(truth, found, average="macro"))
    expected = judge.confusion_matrix(truth, found, labels=range(7))
    assert (confusion_matrix(found, truth, 7) == expected).all()


def test_mistakes_are_one_line():
    for found, truth, words in (
        ([0, 1], [0], "one class a sample"),
        ([], [], "no sample"),
        ([0, 3], [0, 1], r"0\.\.2"),
        ([0.5, 1.0], [0, 1], "whole numbers"),
    ):
        with pytest.raises(InputError, match=words):
            classification_metrics(found, truth, 3)
