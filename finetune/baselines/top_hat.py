"""Threshold segmentation: smooth, white top-hat, Otsu times a factor; all chosen on the support.

On normalised intensity, whose asinh keeps a few bright voxels from stretching Otsu's histogram: on
linear intensity the method found next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, white_tophat
from skimage.filters import threshold_otsu

from ...models.metrics.overlap import dice
from ..examples import Example

SMOOTHING = (0.0, 1.0)
"""Standard deviations in voxels."""
RADII = (None, 3, 6, 12)
"""Of the top-hat across, in voxels; None = no top-hat."""
FACTORS = (0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 4.5)
"""Of Otsu's threshold."""


class TopHat(NamedTuple):
    """Settings.

    Attributes:
        smoothing: standard deviation of a Gaussian, in voxels across.
        radius: of the top-hat, in voxels across; None = none.
        factor: of Otsu's threshold.
    """

    smoothing: float
    radius: int | None
    factor: float

    def __call__(self, example: Example) -> NDArray[np.bool_]:
        """[Z, Y, X] bool, foreground of one example; its labels are not looked at."""
        flat = flattened(example, self.smoothing, self.radius)
        return flat > self.factor * _otsu(flat)


def fit_top_hat(examples: Sequence[Example]) -> TopHat:
    """The settings with the best mean Dice on the support."""
    best, chosen = -1.0, TopHat(0.0, None, 1.0)
    for smoothing, radius in product(SMOOTHING, RADII):
        flats = [flattened(example, smoothing, radius) for example in examples]
        cuts = [_otsu(flat) for flat in flats]
        for factor in FACTORS:
            scores = []
            for example, flat, cut in zip(examples, flats, cuts, strict=True):
                assert example.labels is not None
                found = flat > factor * cut
                scores.append(dice(found, example.labels > 0, example.counts))
            if np.mean(scores) > best:
                best, chosen = float(np.mean(scores)), TopHat(smoothing, radius, factor)
    return chosen


def flattened(example: Example, smoothing: float, radius: int | None) -> NDArray[np.float32]:
    """[Z, Y, X] normalised intensity, smoothed and with its slow part removed."""
    light = example.image
    size = example.voxel_size_um
    # Along z as many micrometres, where they are known.
    along = 1.0 if size is None else min(1.0, size[1] / size[0])
    if smoothing:
        light = gaussian_filter(light, (smoothing * along, smoothing, smoothing))
    if radius is not None:
        side = 2 * radius + 1
        light = white_tophat(light, size=(2 * round(radius * along) + 1, side, side))
    return np.asarray(light, np.float32)


def _otsu(flat: NDArray[np.float32]) -> float:
    return float(threshold_otsu(flat, nbins=512))
