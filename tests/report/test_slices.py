"""The slices must show what was given: one grey scale a row, hidden patches marked, true shapes."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from luxvox.report.slices import (
    _HIDDEN,
    Rebuilt,
    _real_box,
    _round_length,
    _row_images,
    shorten,
    slices,
)


def example(depth: int = 16, size_um: tuple[float, ...] = (4.0, 1.0, 1.0)) -> Rebuilt:
    original = np.random.default_rng(0).normal(size=(1, depth, 16, 16)).astype(np.float32)
    hidden = np.zeros(original.shape, bool)
    hidden[:, :, :9, :8] = True  # the xz slice at y = 8 goes through it
    rebuilt = np.where(hidden, 0.0, original).astype(np.float32)
    return Rebuilt(original, rebuilt, hidden, ("volume",), np.array([size_um]))


def test_hidden_voxels_are_marked_only_where_the_model_saw_nothing():
    for which, shown in enumerate(_row_images(example(), 0)):
        image = shown[0]
        marked = (np.abs(image - _HIDDEN) < 1e-6).all(-1)
        assert marked.any() == (which in (1, 4))
    middle = _row_images(example(), 0)[1][0]
    assert (np.abs(middle[:8, :8] - _HIDDEN) < 1e-6).all()
    assert not (np.abs(middle[9:] - _HIDDEN) < 1e-6).all(-1).any()


def test_visible_voxels_have_one_grey_scale_in_all_panels_of_a_row():
    original, seen, rebuilt, *_ = (image for image, _, _ in _row_images(example(), 0))
    np.testing.assert_array_equal(original[9:], seen[9:])
    np.testing.assert_array_equal(original[9:], rebuilt[9:])
    assert original[:8, :8].std() > 0.1 > rebuilt[:8, :8].std()


def test_slices_go_through_the_middle_of_what_is_no_padding():
    crops = example()
    crops.original[:, 8:] = np.nan  # the volume was only 8 planes deep
    assert _real_box(crops.original[0]) == (slice(8), slice(16), slice(16))
    images = _row_images(crops, 0)
    xy, xz = images[0][0], images[3][0]
    assert xz.shape[0] == 8
    low, high = np.percentile(crops.original[0, :8], (0.5, 99.7))
    expected = np.clip((crops.original[0, 4] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(xy[..., 0], expected, atol=1e-6)


def test_aspect_follows_the_voxel_size_and_is_one_where_it_is_unknown():
    assert [aspect for _, aspect, _ in _row_images(example(), 0)] == [1, 1, 1, 4, 4, 4]
    unknown = example(size_um=(np.nan,) * 3)
    assert [aspect for _, aspect, _ in _row_images(unknown, 0)] == [1] * 6


def test_picture_has_a_row_for_each_crop():
    one = example()
    two = Rebuilt(
        *(np.concatenate([part, part]) for part in (one.original, one.rebuilt, one.hidden)),
        ("a", "b"), np.concatenate([one.voxel_size_um] * 2),
    )  # fmt: skip
    first = imread(io.BytesIO(slices(one, [0.5])))
    second = imread(io.BytesIO(slices(two, [0.5, 0.5])))
    assert first.shape[1] == second.shape[1]
    assert second.shape[0] - first.shape[0] == pytest.approx(226, abs=2)  # 1.92 + 0.34 inches


@pytest.mark.parametrize(("at_most", "expected"), [(41.0, 20), (50.0, 50), (0.9, 0.5), (999, 500)])
def test_scale_bars_have_round_lengths(at_most, expected):
    assert _round_length(at_most) == pytest.approx(expected)


def test_shorten_keeps_both_ends():
    assert shorten("short", 10) == "short"
    assert shorten("abcdefghijkl", 7) == "abc…jkl"
