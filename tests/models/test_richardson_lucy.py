"""The first guess of a restoration undoes a known blur, keeps light positive, is in the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.restoration import richardson_lucy as of_scikit_image

from luxvox.models.dense import DenseConfig, DenseModel, RestoreConfig
from luxvox.models.heads.restore import RestoreHead
from luxvox.models.heads.richardson_lucy import DeconvolutionConfig, blur_matrix, richardson_lucy
from luxvox.models.sizes import SIZES

SIGMA = (2.0, 1.0, 1.0)


def config(sigma=SIGMA, iterations: int = 25) -> DeconvolutionConfig:
    return DeconvolutionConfig(sigma=sigma, iterations=iterations)


def blurred_points(noise: float = 0.0) -> tuple[torch.Tensor, ...]:
    """Light of points, sharp by one voxel, and the same blurred by sigma more."""
    rng = np.random.default_rng(0)
    points = np.zeros((32, 40, 48))
    points[tuple(rng.integers(4, side - 4, 30) for side in points.shape)] = 500
    sharp = gaussian_filter(points, 1.0)
    blurred = gaussian_filter(sharp, SIGMA) + noise * rng.standard_normal(points.shape)
    return tuple(torch.from_numpy(a).float()[None, None] for a in (sharp, blurred))


def error(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found - truth).square().mean().sqrt())


def test_a_known_blur_is_undone_along_its_axes() -> None:
    sharp, blurred = blurred_points()
    found = richardson_lucy(blurred.asinh(), config()).sinh()
    assert error(found, sharp) < 0.6 * error(blurred, sharp)
    turned = richardson_lucy(blurred.asinh(), config((1.0, 1.0, 2.0))).sinh()
    assert error(turned, sharp) > 1.3 * error(found, sharp)
    fewer = richardson_lucy(blurred.asinh(), config(iterations=2)).sinh()
    assert error(found, sharp) < error(fewer, sharp) < error(blurred, sharp)


@pytest.mark.parametrize("sigma", [0.7, 2.0, 9.0])
def test_the_matrix_is_a_mirrored_gaussian_blur(sigma: float) -> None:
    rng = np.random.default_rng(1)
    axis = rng.random(7)
    matrix = blur_matrix(7, sigma).double().numpy()
    assert np.allclose(matrix @ axis, gaussian_filter(axis, sigma, mode="reflect"), atol=1e-4)
    assert np.allclose(matrix, matrix.T, atol=1e-6)  # what the update asks of its transpose


def test_it_is_the_algorithm_of_scikit_image_away_from_the_rim() -> None:
    _, blurred = blurred_points()
    light = blurred[0, 0].double().numpy() + 0.05
    radius = np.arange(-8, 9)
    kernels = [np.exp(-0.5 * (radius / s) ** 2) for s in SIGMA]
    psf = np.einsum("i,j,k->ijk", *kernels)
    # It begins with a flat image and has one blur less behind it; many iterations forget that.
    theirs = of_scikit_image(light, psf / psf.sum(), 60, clip=False)
    ours = richardson_lucy(blurred.asinh(), config(iterations=60)).sinh()[0, 0].numpy()
    middle = (slice(10, -10),) * 3
    assert np.corrcoef(ours[middle].ravel(), theirs[middle].ravel())[0, 1] > 0.99


def test_light_stays_positive_and_noise_low_and_any_shape_goes() -> None:
    _, blurred = blurred_points(noise=1.0)
    found = richardson_lucy(blurred.asinh(), config()).sinh()
    assert float(found.min()) >= float(blurred.min()) - 0.1
    thin = richardson_lucy(torch.randn(2, 1, 3, 9, 8), config((4.0, 1.0, 1.0)))
    assert thin.shape == (2, 1, 3, 9, 8)
    assert bool(thin.isfinite().all())
    flat = torch.full((1, 1, 8, 8, 8), 1.5)
    assert torch.allclose(richardson_lucy(flat, config()), flat, atol=1e-3)


def test_each_crop_of_a_batch_is_on_its_own() -> None:
    dim, bright = torch.randn(1, 1, 8, 16, 16), 4 + torch.randn(1, 1, 8, 16, 16)
    few = config(iterations=5)  # many raise rounding errors to where they show
    both = richardson_lucy(torch.cat((dim, bright)), few)
    assert torch.allclose(both[:1], richardson_lucy(dim, few), atol=1e-4)
    assert torch.allclose(both[1:], richardson_lucy(bright, few), atol=1e-4)


def test_the_head_adds_to_the_guess() -> None:
    guess = config(iterations=3)
    crop, full = torch.randn(1, 1, 8, 16, 16), torch.randn(1, 4, 8, 16, 16)
    head = RestoreHead(4, guess)
    assert torch.equal(head(full, crop), richardson_lucy(crop, guess))
    with torch.no_grad():
        head.residual.bias.fill_(0.5)
    assert torch.allclose(head(full, crop), richardson_lucy(crop, guess) + 0.5)
    settings = DenseConfig(channels=(4, 8, 16), heads={"restore": RestoreConfig(first_guess=guess)})
    again = DenseConfig.model_validate_json(settings.model_dump_json())
    model = DenseModel(SIZES["nano"], again)
    assert model.heads["restore"].first_guess == guess


def test_a_deconvolution_without_iterations_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        config(iterations=0)
