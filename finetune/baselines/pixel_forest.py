"""Pixel classification: filter responses at several scales and a random forest, as interactive
tools have it. The threshold is chosen on the forest's out-of-bag answers, not on what it learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.feature import hessian_matrix, hessian_matrix_eigvals
from sklearn.ensemble import RandomForestClassifier

from ..examples import Example

SCALES = (0.7, 1.6, 3.5)
"""Standard deviations in voxels across; along z as many micrometres, where they are known."""
TREES = 60
SAMPLES = 40_000
"""Voxels learnt from at most, half of them foreground where there is as much."""
THRESHOLDS = np.arange(0.1, 0.95, 0.05)
_ROWS = 400_000  # voxels answered at once; all of a volume take gigabytes


@dataclass(frozen=True)
class PixelForest:
    """A fitted forest; foreground where more than `threshold` of it votes so."""

    forest: RandomForestClassifier
    threshold: float

    def __call__(self, example: Example) -> NDArray[np.bool_]:
        """[Z, Y, X] bool, foreground of one example; its labels are not looked at."""
        given = responses(example).reshape(_COUNT, -1).T
        votes = np.concatenate(
            [
                np.asarray(self.forest.predict_proba(given[at : at + _ROWS]))[:, 1]
                for at in range(0, len(given), _ROWS)
            ]
        )
        return (votes > self.threshold).reshape(example.image.shape)


def fit_pixel_forest(examples: Sequence[Example], seed: int = 0) -> PixelForest:
    """Learn from all labelled voxels that count, as many of the two classes as there are."""
    rng = np.random.default_rng(seed)
    given, truth, weight = [], [], []
    for example in examples:
        assert example.labels is not None
        found = responses(example).reshape(_COUNT, -1)
        labels = example.labels.ravel() > 0
        counts = np.ones_like(labels) if example.counts is None else example.counts.ravel()
        share = SAMPLES // (2 * len(examples))
        for value in (False, True):
            pool = np.flatnonzero(counts & (labels == value))
            chosen = rng.permutation(pool)[:share]
            given.append(found[:, chosen].T)
            truth.append(labels[chosen])
            # What a voxel stands for: the threshold shall be right for the volume as it is.
            weight.append(np.full(len(chosen), len(pool) / max(1, len(chosen))))
    x, y, w = np.concatenate(given), np.concatenate(truth), np.concatenate(weight)
    forest = RandomForestClassifier(
        TREES, min_samples_leaf=4, max_features="sqrt", oob_score=True, random_state=seed, n_jobs=-1
    ).fit(x, y)
    votes = forest.oob_decision_function_[:, 1]
    scores = []
    for threshold in THRESHOLDS:
        hit = votes > threshold
        overlap = float(w[hit & y].sum())
        scores.append(2 * overlap / max(float(w[hit].sum() + w[y].sum()), 1e-9))
    return PixelForest(forest, float(THRESHOLDS[int(np.argmax(scores))]))


_EACH = 6  # responses at a scale
_COUNT = 1 + _EACH * len(SCALES)


def responses(example: Example) -> NDArray[np.float32]:
    """[F, Z, Y, X] float32: intensity, and at each scale Gaussian, gradient, Hessian, top-hat-like.

    Eigenvalues of the Hessian tell sheets, tubes and blobs apart.
    """
    image, size = example.image, example.voxel_size_um
    along = 1.0 if size is None else min(1.0, size[1] / size[0])
    found = [image]
    for scale in SCALES:
        sigma = (scale * along, scale, scale)
        smooth = gaussian_filter(image, sigma)
        wide = gaussian_filter(image, tuple(3 * s for s in sigma))
        slopes = np.gradient(smooth)
        gradient = np.sqrt(sum(slope**2 for slope in slopes))
        hessian = hessian_matrix(smooth, sigma=1, order="rc", use_gaussian_derivatives=False)
        curvatures = hessian_matrix_eigvals(hessian)
        found += [smooth, gradient, *curvatures, smooth - wide]
    assert len(found) == _COUNT
    return np.stack(found).astype(np.float32)
