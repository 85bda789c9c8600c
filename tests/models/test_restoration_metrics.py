"""Restored images: the scaling contract, scikit-image as judge."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from luxvox.configs.errors import InputError
from luxvox.models.metrics.restoration import restoration_metrics, scaled_by_target

GENERATOR = np.random.default_rng(0)
TRUTH = 100 + 900 * gaussian_filter(GENERATOR.normal(size=(16, 20, 24)), 1.5)
FOUND = TRUTH + GENERATOR.normal(0, 20, TRUTH.shape)


def test_agrees_with_scikit_image_on_scaled_images():
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    low, high = np.percentile(TRUTH, [1, 99.9])
    found, truth = (FOUND - low) / (high - low), (TRUTH - low) / (high - low)
    scores = restoration_metrics(FOUND, TRUTH)
    assert set(scores) == {"psnr", "ssim", "nrmse"}
    expected = peak_signal_noise_ratio(truth, found, data_range=1)
    assert scores["psnr"] == pytest.approx(expected)
    assert scores["ssim"] == pytest.approx(structural_similarity(truth, found, data_range=1))
    assert 0.3 < scores["ssim"] < 0.999
    assert scores["nrmse"] == pytest.approx(np.sqrt(np.mean((FOUND - TRUTH) ** 2)) / (high - low))


def test_by_hand():
    low, high = np.percentile(TRUTH, [1, 99.9])
    off = restoration_metrics(TRUTH + 0.1 * (high - low), TRUTH)
    assert off["psnr"] == pytest.approx(20)
    assert off["nrmse"] == pytest.approx(0.1)
    same = restoration_metrics(TRUTH, TRUTH)
    assert (same["psnr"], same["nrmse"]) == (np.inf, 0)
    assert same["ssim"] == pytest.approx(1)


def test_scaled_by_the_target_alone_and_not_clipped():
    # A gain or an offset on BOTH changes nothing; on the restored image alone it costs.
    both = restoration_metrics(7 * FOUND - 300, 7 * TRUTH - 300)
    alone = restoration_metrics(1.2 * FOUND, TRUTH)
    scores = restoration_metrics(FOUND, TRUTH)
    assert both == pytest.approx(scores)
    assert alone["psnr"] < scores["psnr"] - 1
    _, truth = scaled_by_target(FOUND, TRUTH)
    assert truth.max() > 1
    assert truth.min() < 0
    # Cutting the brightest structure off is an error, though it lies above the range.
    cut = TRUTH.copy()
    cut[np.unravel_index(TRUTH.argmax(), TRUTH.shape)] = np.percentile(TRUTH, 99.9)
    assert np.isfinite(restoration_metrics(cut, TRUTH)["psnr"])


def test_what_does_not_count_changes_nothing():
    counts = np.ones(TRUTH.shape, dtype=bool)
    counts[10:, 12:, 5:15] = False
    before = restoration_metrics(FOUND, TRUTH, counts)
    found, truth = FOUND.copy(), TRUTH.copy()
    found[~counts], truth[~counts] = np.nan, 1e6
    assert restoration_metrics(found, truth, counts) == before
    assert before != restoration_metrics(FOUND, TRUTH)


def test_thin_crops_and_integers():
    truth = TRUTH[:3].astype(np.uint16)
    assert restoration_metrics(truth, truth)["ssim"] == pytest.approx(1)
    assert restoration_metrics(truth[:1], truth[:1])["ssim"] == pytest.approx(1)
    with pytest.raises(InputError, match="at least 3"):
        restoration_metrics(truth[:2], truth[:2])


def test_mistakes_are_one_line():
    with pytest.raises(InputError, match="shape"):
        restoration_metrics(FOUND[1:], TRUTH)
    with pytest.raises(InputError, match="percentile"):
        restoration_metrics(FOUND, np.zeros_like(TRUTH))
    with pytest.raises(InputError, match="finite"):
        restoration_metrics(np.full_like(TRUTH, np.nan), TRUTH)
    with pytest.raises(InputError, match="no voxel counts"):
        restoration_metrics(FOUND, TRUTH, np.zeros(TRUTH.shape, dtype=bool))
