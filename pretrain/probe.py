"""Scores that say whether image features carry meaning: retrieval, nearest neighbours, spread.

Pure functions of arrays: no model, no files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


def retrieval_r1_macro(images: Floats, captions: Floats, caption_of_image: Ints) -> float:
    """Share of images whose nearest caption is their own, averaged per caption first.

    Args:
        images: [n, D] unit vectors.
        captions: [M, D] unit vectors of the M distinct captions.
        caption_of_image: [n], the row of `captions` that belongs to each image.

    Returns:
        Macro-averaged R@1 in 0..1; chance is 1 / M.
    """
    found = (images @ captions.T).argmax(axis=1) == caption_of_image
    return float(
        np.mean([found[caption_of_image == c].mean() for c in np.unique(caption_of_image)])
    )


def knn_balanced_accuracy(
    train: Floats, train_class: Ints, test: Floats, test_class: Ints, neighbours: int = 5
) -> float:
    """Balanced accuracy of a vote among the nearest training features by cosine.

    Args:
        train: [n, D] features; train_class: [n] classes.
        test: [m, D]; test_class: [m], each class also found in `train_class`.
        neighbours: how many vote; ties go to the class with the nearest neighbour.
    """
    similarity = _unit(test) @ _unit(train).T
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :neighbours]
    votes = train_class[nearest]  # [m, neighbours], nearest first
    guess = np.array([_first_most_common(row) for row in votes])
    return float(np.mean([(guess[test_class == c] == c).mean() for c in np.unique(test_class)]))


def spread(features: Floats) -> float:
    """How far unit features fill their space: 0 when all are equal, 1 when isotropic.

    The mean over dimensions of the standard deviation, times sqrt(D), as in SimSiam (arXiv
    2011.10566).
    """
    unit = _unit(features)
    return float(unit.std(axis=0).mean() * np.sqrt(unit.shape[1]))


def effective_rank(features: Floats) -> float:
    """exp(entropy) of the normalised singular values of the centred features (Roy, Vetterli
    2007)."""
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    if values.sum() == 0:
        return 0.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _unit(features: Floats) -> Floats:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _first_most_common(row: Ints) -> int:
    classes, first, counts = np.unique(row, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    return int(classes[order[0]])
