"""Retrieval, neighbours and spread against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from luxvox.pretrain.probe import (
    effective_rank,
    knn_balanced_accuracy,
    retrieval_r1_macro,
    spread,
)


def test_retrieval_counts_each_caption_once_however_many_images_it_has() -> None:
    captions = np.eye(3)
    images = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0.9, 0.1, 0], [0, 0, 1]], dtype=float)
    own = np.array([0, 0, 0, 1, 2])  # caption 1 is missed, 0 and 2 are found
    assert retrieval_r1_macro(images, captions, own) == pytest.approx(2 / 3)


def test_collapsed_images_score_exactly_chance() -> None:
    images = np.tile([[0.3, 0.5, 0.2]], (12, 1))
    own = np.repeat([0, 1, 2], 4)
    assert retrieval_r1_macro(images, np.eye(3), own) == pytest.approx(1 / 3)


def test_neighbours_vote_and_classes_weigh_alike() -> None:
    train = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], dtype=float)
    classes = np.array([4, 4, 7, 7])
    test = np.array([[1, 0.05], [1, 0.1], [1, 0.2], [1, 0.0]])
    truth = np.array([4, 4, 4, 7])  # the last one looks like class 4
    assert knn_balanced_accuracy(train, classes, test, truth, neighbours=1) == pytest.approx(0.5)


def test_spread_sees_collapse() -> None:
    rng = np.random.default_rng(0)
    free = rng.standard_normal((500, 32))
    assert spread(free) == pytest.approx(1, abs=0.05)
    assert spread(np.ones((50, 32))) == pytest.approx(0, abs=1e-6)
    assert effective_rank(free) > 25
    assert effective_rank(np.outer(rng.standard_normal(50), np.ones(32))) == pytest.approx(
        1, abs=0.1
    )
