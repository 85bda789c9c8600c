"""The pictures are checked by their pixels: what is drawn must follow what was measured."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from luxvox.report.figures import DARK, LIGHT, Panel, _project, _running_mean, curves, embedding_map


def pixels(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png))[..., :3]


def count(image: np.ndarray, colour: str) -> int:
    """How many pixels have exactly this colour."""
    rgb = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return int((np.abs(image - rgb) < 2 / 255).all(-1).sum())


def test_curves_draw_every_line_in_its_colour():
    steps = list(range(10))
    lines = {"one": (steps, [1.0] * 10), "two": (steps, [2.0] * 10)}
    image = pixels(curves([Panel("p", lines, {"level": 1.5})]))
    assert count(image, LIGHT.accents[0]) > 100
    assert count(image, LIGHT.accents[1]) > 100
    assert count(image, LIGHT.accents[2]) == 0


def test_two_panels_stand_side_by_side_and_four_in_two_rows():
    panel = Panel("p", {"one": ([1, 2], [1.0, 2.0])}, {}, log=True)
    two, four = pixels(curves([panel] * 2)), pixels(curves([panel] * 4))
    assert two.shape[1] == four.shape[1]
    assert four.shape[0] == 2 * two.shape[0]


def test_a_loss_of_zero_does_not_break_the_logarithmic_axis():
    assert curves([Panel("p", {"one": ([1, 2], [0.0, 1.0])}, {}, log=True)])


def test_theme_sets_the_paper():
    panel = Panel("p", {"one": ([1, 2], [1.0, 2.0])}, {})
    assert pixels(curves([panel], LIGHT))[0, 0].min() == 1.0
    assert pixels(curves([panel], DARK))[0, 0].max() < 0.2


def test_running_mean_is_exact_on_a_constant_and_calmer_on_noise():
    np.testing.assert_allclose(_running_mean([3.0] * 50), 3.0)
    noise = np.random.default_rng(0).normal(size=400)
    assert _running_mean(list(noise)).std() < 0.5 * noise.std()


def test_projection_keeps_the_distances_of_a_plane():
    """Points of a plane in many dimensions keep all distances on two axes."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(20, 2)) @ np.linalg.qr(rng.normal(size=(16, 2)))[0].T + 5.0
    points, stars, share = _project(plane, plane[:3] + 100.0)
    between = lambda x: np.linalg.norm(x[:, None] - x[None], axis=-1)  # noqa: E731
    np.testing.assert_allclose(between(points), between(plane), atol=1e-9)
    assert share.sum() == pytest.approx(1.0)
    assert np.abs(stars).max() < 10  # the offset between the two clouds is taken out


def test_map_draws_points_and_stars_of_a_caption_in_one_colour():
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(12, 8)), rng.normal(size=(2, 8))
    with_stars = pixels(embedding_map(image, np.repeat([0, 1], 6), text))
    for colour in LIGHT.accents[:2]:
        assert count(with_stars, colour) > 50  # the stars are opaque
    without = pixels(embedding_map(image, np.full(12, -1), np.zeros((0, 8))))
    assert count(without, LIGHT.accents[1]) == 0
