"""Boxes of a resampled volume: equal to the whole, whatever is cut."""

from __future__ import annotations

import numpy as np
import pytest

from luxvox.data.crop_plan import resample_box
from luxvox.data.resample import resample, source_box

BEFORE = (20, 33, 41)


def whole(shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])


@pytest.mark.parametrize("after", [(10, 33, 17), (45, 20, 41), (7, 100, 60)])
@pytest.mark.parametrize("how", ["linear", "nearest"])
def test_a_box_is_cut_from_the_resampled_whole(after, how):
    image = np.random.default_rng(0).integers(0, 5000, BEFORE).astype(np.uint16)
    expected = resample(image, whole(BEFORE), whole(after), BEFORE, after, how)
    assert expected.shape == after
    if how == "linear":
        assert np.allclose(expected, resample_box(image, after), rtol=1e-4)
    else:
        assert expected.dtype == np.uint16
        places = [(np.arange(n) + 0.5) * b / n for n, b in zip(after, BEFORE, strict=True)]
        assert np.array_equal(expected, image[np.ix_(*(np.floor(p).astype(int) for p in places))])
    rng = np.random.default_rng(1)
    for _ in range(20):
        ends = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in after]
        z, y, x = (slice(int(a), int(b)) for a, b in ends)
        needed = source_box((z, y, x), BEFORE, after)
        found = resample(image[needed], needed, (z, y, x), BEFORE, after, how)
        assert np.allclose(found, expected[z, y, x], rtol=1e-6)


def test_a_straight_ramp_stays_one_and_channels_are_alike():
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32), (2, 8, 8, 40)) * [[[[1]]], [[[3]]]]
    found = resample(ramp, whole((8, 8, 40)), whole((8, 8, 80)), (8, 8, 40), (8, 8, 80))
    assert np.allclose(found[0, 0, 0, 2:-2], (np.arange(80) / 2 - 0.25)[2:-2])
    assert np.allclose(found[1], 3 * found[0], rtol=1e-5)


def test_nan_counts_for_nothing():
    image = np.ones((8, 8, 16), np.float32)
    image[:, :, 3] = np.nan
    image[:, :, 10:] = np.nan
    found = resample(image, whole((8, 8, 16)), whole((8, 8, 8)), (8, 8, 16), (8, 8, 8))
    assert np.allclose(found[..., :5], 1)
    assert np.isnan(found[..., 7]).all()
