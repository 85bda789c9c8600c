"""Restoration without learning: Wiener filter and Richardson-Lucy, tuned on the support.

Wiener is scikit-image's. Richardson-Lucy is the one that our own net starts from: scikit-image's
treats the image as dark beyond its rim, and is worse by half a dB to more than 1 on real pairs, so
it would be too easy to beat.

The blur is taken for Gaussian, its width and the strength of the regularisation are those that give
the best PSNR on the pairs of the support.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.restoration import wiener

from ...data.normalize import denormalize, normalize
from ...models.heads.richardson_lucy import DeconvolutionConfig, richardson_lucy
from ...models.metrics.restoration import restoration_metrics
from ..examples import Example

Method = Literal["wiener", "richardson_lucy"]

WIDTHS = (0.6, 1.0, 1.5, 2.2, 3.2)
"""Standard deviations of the blur across, in voxels; along z once and twice as much."""
ELONGATIONS = (1.0, 2.0)
STRENGTHS: dict[Method, tuple[float, ...]] = {
    "wiener": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    "richardson_lucy": (4, 10, 25),
}
"""Wiener: weight of its Laplacian penalty; Richardson-Lucy: iterations."""
_TUNED_ON = 64  # voxels a side of the middle of each volume


class Deconvolution(NamedTuple):
    """Settings of a method.

    Attributes:
        method: which.
        sigma: (z, y, x) of the Gaussian blur, in voxels; all 0 changes nothing.
        strength: see `STRENGTHS`.
    """

    method: Method
    sigma: tuple[float, float, float]
    strength: float

    @property
    def config(self) -> DeconvolutionConfig:
        """Of Richardson-Lucy, as a restoration head keeps it."""
        return DeconvolutionConfig(sigma=self.sigma, iterations=int(self.strength))

    def __call__(self, example: Example) -> NDArray[np.float32]:
        """[Z, Y, X] restored, normalised like the image; the target is not looked at."""
        if not any(self.sigma):
            return example.image
        if self.method == "wiener":
            given = denormalize(example.image, example.stats)
            return normalize(_wiener(given, self), example.stats)
        crop = torch.from_numpy(example.image)[None, None]
        return richardson_lucy(crop, self.config)[0, 0].numpy()


def fit_deconvolution(examples: Sequence[Example], method: Method) -> Deconvolution:
    """The settings with the best mean PSNR on the support; none at all is among them."""
    parts = [_middle(example) for example in examples]
    truths = [denormalize(_target(part), part.stats) for part in parts]
    best, chosen = -np.inf, Deconvolution(method, (0.0, 0.0, 0.0), 0.0)
    settings = [
        Deconvolution(method, (width * long, width, width), strength)
        for width, long, strength in product(WIDTHS, ELONGATIONS, STRENGTHS[method])
    ]
    for setting in (chosen, *settings):
        scores = [
            restoration_metrics(denormalize(setting(part), part.stats), truth)["psnr"]
            for part, truth in zip(parts, truths, strict=True)
        ]
        if np.mean(scores) > best:
            best, chosen = float(np.mean(scores)), setting
    return chosen


def _target(example: Example) -> NDArray[np.float32]:
    assert example.target is not None
    return example.target


def _middle(example: Example) -> Example:
    box = tuple(
        slice((n - min(n, _TUNED_ON)) // 2, (n + min(n, _TUNED_ON)) // 2)
        for n in example.image.shape
    )
    return example.cut(box)


def _wiener(given: NDArray[np.float32], setting: Deconvolution) -> NDArray[np.float32]:
    low, span = float(given.min()), max(float(np.ptp(given)), 1e-6)
    scaled = (given - low) / span  # it expects numbers from 0 to 1
    reach = [int(np.ceil(3 * s)) for s in setting.sigma]
    padded = np.pad(scaled, [(r, r) for r in reach], mode="reflect")
    found = np.asarray(wiener(padded, _gaussian(setting.sigma), setting.strength, clip=False))
    inside = tuple(slice(r, r + n) for r, n in zip(reach, given.shape, strict=True))
    return (found[inside] * span + low).astype(np.float32)


@cache
def _gaussian(sigma: tuple[float, float, float]) -> NDArray[np.float64]:
    axes = [np.arange(-int(np.ceil(3 * s)), int(np.ceil(3 * s)) + 1) for s in sigma]
    z, y, x = (np.exp(-0.5 * (a / s) ** 2) for a, s in zip(axes, sigma, strict=True))
    kernel = z[:, None, None] * y[:, None] * x
    return kernel / kernel.sum()
