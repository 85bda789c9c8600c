"""Classification by intensity and texture: the features that one would write down by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import kurtosis, skew
from skimage.feature import graycomatrix, graycoprops
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ..examples import Example

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
_SCALES = (1.0, 2.0, 4.0)
_GREYS = 16
_PROPERTIES = ("contrast", "homogeneity", "energy", "correlation")
_PLANES = 5
_VIEWS = 8  # boxes of each volume that are learnt from
_SIDE = 64


@dataclass(frozen=True)
class TextureClassifier:
    """A fitted classifier of whole volumes."""

    fitted: Pipeline

    def __call__(self, example: Example) -> str:
        """The class of one example; its own is not looked at."""
        return str(self.fitted.predict(texture(example.image)[None])[0])


def fit_texture(examples: Sequence[Example], seed: int = 0) -> TextureClassifier:
    """Logistic regression on boxes of each volume and the whole of it, as our linear probe gets."""
    rng = np.random.default_rng(seed)
    given, classes = [], []
    for example in examples:
        for view in range(_VIEWS + 1):
            image = example.image if view == _VIEWS else _box(example.image, rng)
            given.append(texture(image))
            classes.append(str(example.class_name))
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return TextureClassifier(fitted.fit(np.stack(given), classes))


def texture(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Features of a volume: quantiles, moments, energies of bands, grey-level co-occurrence.

    Args:
        image: [Z, Y, X], normalised.
    """
    found = [
        *np.quantile(image, _QUANTILES),
        image.std(),
        skew(image.ravel()),
        kurtosis(image.ravel()),
    ]
    before = image
    for scale in _SCALES:
        smooth = gaussian_filter(image, scale)
        band = before - smooth
        found += [band.std(), kurtosis(band.ravel())]
        found += [slope.std() for slope in np.gradient(smooth)]
        before = smooth
    low, high = np.quantile(image, [0.005, 0.995])
    levels = np.clip((image - low) / max(high - low, 1e-6) * _GREYS, 0, _GREYS - 1).astype(np.uint8)
    planes = np.unique(np.linspace(0, len(levels) - 1, _PLANES).round().astype(int))
    props = []
    for plane in planes:
        matrix = graycomatrix(
            levels[plane], [1, 3], [0, np.pi / 2], _GREYS, symmetric=True, normed=True
        )
        props.append([graycoprops(matrix, name).mean() for name in _PROPERTIES])
    return np.array([*found, *np.mean(props, axis=0)])


def _box(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    box = []
    for side in image.shape:
        start = int(rng.integers(side - min(side, _SIDE) + 1))
        box.append(slice(start, start + min(side, _SIDE)))
    return image[tuple(box)]
