"""The first guess of a restoration undoes a known blur, and is part of the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.restoration import wiener

from luxvox.models.dense import DenseConfig, DenseModel, RestoreConfig
from luxvox.models.heads.restore import RestoreHead
from luxvox.models.heads.wiener import WienerConfig, wiener_filter
from luxvox.models.sizes import SIZES

SIGMA = (2.0, 1.0, 1.0)


def blurred_points(sigma=SIGMA, noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Light of points, sharp by one voxel, and the same blurred by sigma more."""
    rng = np.random.default_rng(0)
    points = np.zeros((32, 40, 48))
    points[tuple(rng.integers(4, side - 4, 30) for side in points.shape)] = 500
    sharp = gaussian_filter(points, 1.0)
    blurred = gaussian_filter(sharp, sigma) + noise * rng.standard_normal(points.shape)
    return (torch.from_numpy(a).float()[None, None] for a in (sharp, blurred))


def error(found: torch.Tensor, truth: torch.Tensor) -> float:
    inside = (..., slice(6, -6), slice(6, -6), slice(6, -6))
    return float((found - truth)[inside].square().mean().sqrt())


def test_a_known_blur_is_undone() -> None:
    sharp, blurred = blurred_points()
    found = wiener_filter(blurred.asinh(), WienerConfig(sigma=SIGMA, strength=1e-4)).sinh()
    assert error(found, sharp) < 0.5 * error(blurred, sharp)
    other = wiener_filter(blurred.asinh(), WienerConfig(sigma=(1.0, 1.0, 2.0), strength=1e-4))
    assert error(other.sinh(), sharp) > 1.5 * error(found, sharp)  # the axes are not mixed up


def test_it_is_the_filter_of_scikit_image() -> None:
    _, blurred = blurred_points(noise=0.5)
    light = blurred[0, 0].double().numpy()
    radius = np.arange(-8, 9)
    kernels = [np.exp(-0.5 * (radius / s) ** 2) for s in SIGMA]
    psf = np.einsum("i,j,k->ijk", *kernels)
    theirs = wiener(light, psf / psf.sum(), 0.1, clip=False)
    ours = wiener_filter(blurred.asinh(), WienerConfig(sigma=SIGMA, strength=0.1)).sinh()[0, 0]
    middle = (slice(10, -10),) * 3
    assert np.abs(ours.numpy() - theirs)[middle].max() < 0.02 * np.ptp(theirs[middle])


def test_a_stronger_penalty_is_smoother_and_any_shape_goes() -> None:
    _, blurred = blurred_points(noise=3.0)
    rough, smooth = (
        wiener_filter(blurred.asinh(), WienerConfig(sigma=SIGMA, strength=s)).sinh()
        for s in (1e-3, 1.0)
    )
    assert smooth.diff(dim=-1).abs().mean() < 0.5 * rough.diff(dim=-1).abs().mean()
    thin = wiener_filter(torch.randn(2, 1, 3, 9, 8), WienerConfig(sigma=(4.0, 1, 1), strength=0.1))
    assert thin.shape == (2, 1, 3, 9, 8)
    assert bool(thin.isfinite().all())


def test_the_head_adds_to_the_guess() -> None:
    guess = WienerConfig(sigma=SIGMA, strength=0.1)
    crop, full = torch.randn(1, 1, 8, 16, 16), torch.randn(1, 4, 8, 16, 16)
    head = RestoreHead(4, guess)
    assert torch.equal(head(full, crop), wiener_filter(crop, guess))
    with torch.no_grad():
        head.residual.bias.fill_(0.5)
    assert torch.allclose(head(full, crop), wiener_filter(crop, guess) + 0.5)
    config = DenseConfig(channels=(4, 8, 16), heads={"restore": RestoreConfig(first_guess=guess)})
    again = DenseConfig.model_validate_json(config.model_dump_json())
    model = DenseModel(SIZES["nano"], again)
    assert model.heads["restore"].first_guess == guess


def test_a_filter_without_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        WienerConfig(sigma=SIGMA, strength=0)
