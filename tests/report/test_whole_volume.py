"""The page of a whole-volume prediction: what is drawn is what was found."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from luxvox.report.figures import DARK, LIGHT
from luxvox.report.planes import CLASSES
from luxvox.report.projections import Projections, brightest, draw_projections, grey_rgb
from luxvox.report.whole_volume import (
    Preview,
    WholeVolume,
    draw_planes,
    draw_whole,
    object_histogram,
    write_whole_volume_report,
)

SHAPE = (20, 40, 60)


def pixels(png: bytes) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) / 255


def has(picture: NDArray, colour: tuple[float, float, float]) -> int:
    """How many pixels have a colour laid over black by 60 %."""
    return int((np.abs(picture - 0.6 * np.array(colour)).max(-1) < 0.02).sum())


@pytest.fixture
def preview() -> Preview:
    image = np.random.default_rng(0).integers(90, 110, SHAPE).astype(np.uint16)
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:15, 10:20, 30:50] = 7
    labels[2:4, 30:38, 2:20] = 9
    image[labels == 0] = 0
    image[labels > 0] = 1  # black under the colours, as some voxels are bright
    image[0, :4] = 60000
    return Preview(image, labels, "labels", (4.0, 2.0, 2.0))


def words(path: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", path.read_text(encoding="utf-8")))


def test_the_page_says_and_shows_everything(preview, tmp_path):
    rows = 25
    regions = {
        "region": np.arange(rows), "voxels": np.arange(rows), "name": np.array(["a<b"] * rows),
        "volume_fraction": np.linspace(0, 0.5, rows), "objects_per_mm3": np.full(rows, np.nan),
    }  # fmt: skip
    whole = WholeVolume(
        "vessels & more", "labels of brain", preview, [("speed", "12 voxels/s")],
        "2 blocks missing",
        {"voxels": np.array([8, 27]), "volume_um3": np.array([64.0, 216.0])},
        {"label": np.array([7]), "voxels": np.array([2000])}, regions,
    )  # fmt: skip
    path = write_whole_volume_report(tmp_path / "page.html", whole)
    html, text = path.read_text(encoding="utf-8"), words(path)
    assert html.count('<img src="data:image/png') == 3
    assert not re.search(r"https?://|a<b", html)
    for part in (
        "vessels &amp; more", "2 blocks missing", "20 x 40 x 60 voxels of 4 x 2 x 2",
        "12 voxels/s", "objects per mm3", "The 20 with most; all 25", "a&lt;b", "0.4792",
    ):  # fmt: skip
        assert part in text, part
    assert "nan" not in text
    # Those with most come first, so the last rows of the table are left out.
    assert text.index("0.4792") < text.index("0.4583")
    assert "0.02083" not in text


def test_structures_with_most_stand_on_the_page(preview, tmp_path):
    rows = 25
    structures = {
        "label": np.arange(rows), "name": np.array([f"kind{n:02}" for n in range(rows)]),
        "voxels": np.arange(rows) * 10,
    }  # fmt: skip
    whole = WholeVolume("t", "", preview, [], structures=structures)
    text = words(write_whole_volume_report(tmp_path / "p.html", whole))
    assert "The 20 with most; all 25 stand in structures.csv" in text
    assert re.findall(r"kind\d+", text) == [f"kind{n:02}" for n in range(24, 4, -1)]


def test_what_was_not_measured_is_not_on_the_page(preview, tmp_path):
    path = write_whole_volume_report(tmp_path / "p.html", WholeVolume("t", "", preview, []))
    assert path.read_text(encoding="utf-8").count('<img src="data:image/png') == 2
    assert not re.search("Structures|Objects|Regions", words(path))


def test_labels_are_seen_in_planes_and_projections(preview):
    for draw in (draw_planes, draw_whole):
        picture = pixels(draw(preview))
        first, second = has(picture, CLASSES[0]), has(picture, CLASSES[1])
        assert first > 2 * second
        # The planes are cut where most is; only projections hold what lies elsewhere.
        assert (second > 100) == (draw is draw_whole)
        empty = Preview(preview.image, np.zeros(SHAPE, np.uint8), "labels", None)
        assert has(pixels(draw(empty)), CLASSES[0]) == 0


def test_objects_get_several_colours_and_images_stand_beside(preview):
    objects = np.zeros(SHAPE, np.uint32)
    for number in range(6):
        objects[2:18, 4:36, 10 * number : 10 * number + 8] = 1000 + number
    picture = pixels(draw_whole(Preview(preview.image, objects, "objects", None)))
    assert all(has(picture, colour) > 100 for colour in CLASSES)
    light = np.zeros(SHAPE, np.float32)
    light[:, 20:] = 1
    picture = pixels(draw_planes(Preview(preview.image, light, "image", None)))
    assert (picture[:, : picture.shape[1] // 2].min(-1) > 0.9).sum() < (
        picture[:, picture.shape[1] // 2 :].min(-1) > 0.9
    ).sum()
    red = np.zeros((*SHAPE, 3))
    red[..., 0] = 1
    picture = pixels(draw_planes(Preview(preview.image, red, "rgb", None)))
    assert (np.abs(picture - [1, 0, 0]).max(-1) < 0.02).sum() > 1000


def test_projections_keep_proportions():
    volume = np.zeros(SHAPE)
    volume[3, 5, 7] = 2
    xy, xz, yz = brightest(volume)
    assert xy[5, 7] == xz[3, 7] == yz[3, 5] == 2
    assert [plane.shape for plane in (xy, xz, yz)] == [(40, 60), (20, 60), (20, 40)]
    white = [np.ones((*plane.shape, 3)) for plane in (xy, xz, yz)]
    picture = pixels(
        draw_projections([Projections("t", (white[0], white[1], white[2]))], (6, 2, 2), DARK)
    )
    # Widths in um: 120, 120, 80; heights 80, 120, 120.
    panel = (picture > 0.99).all(-1)
    wide = [part.sum() for part in np.split(panel[-3], np.flatnonzero(np.diff(panel[-3])) + 1)]
    widths = [count for count in wide if count > 30]
    assert len(widths) == 2
    assert widths[0] / widths[1] == pytest.approx(120 / 80, rel=0.03)
    high = panel[:, 40].sum() / panel[:, -40].sum()
    assert high == pytest.approx(80 / 120, rel=0.12)  # its scale bar is not white
    grey = grey_rgb([xy, xz])
    assert grey[0].shape == (40, 60, 3)
    assert grey[0].max() <= 1


def test_the_histogram_knows_unknown_voxel_sizes():
    voxels = np.array([5, 50, 500])
    known = object_histogram({"voxels": voxels, "volume_um3": voxels * 2.0}, LIGHT)
    unknown = object_histogram({"voxels": voxels, "volume_um3": np.full(3, np.nan)}, LIGHT)
    assert known != unknown
    bars = (np.abs(pixels(unknown) - np.array([0, 0x72, 0xB2]) / 255).max(-1) < 0.05).any(0)
    assert (np.diff(bars.astype(int)) == 1).sum() == 3
    assert object_histogram({"voxels": voxels[:1], "volume_um3": np.array([3.0])}, LIGHT)
