"""The contact sheet: true proportions, one grey scale a volume, whatever the shapes."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.image import imread

from luxvox.report.contact_sheet import Tile, contact_sheet


def tile(shape: tuple[int, int, int], seed: int = 0, bright: bool = False) -> Tile:
    volume = np.random.default_rng(seed).poisson(50.0, shape).astype(np.uint16)
    if bright:
        volume[:, :, : shape[2] // 2] += 500
    return Tile(volume, (3.0, 1.0, 1.0), f"volume {seed}")


def picture(*rows) -> np.ndarray:
    return imread(io.BytesIO(contact_sheet(rows)), format="png")[..., :3]


def test_the_sheet_grows_with_rows_and_columns() -> None:
    one = picture(("a", [tile((8, 32, 32))], []))
    wide = picture(("a", [tile((8, 32, 32), n) for n in range(3)], []))
    tall = picture(("a", [tile((8, 32, 32))], []), ("b", [tile((8, 32, 32), 5)], []))
    both = picture(("a", [tile((8, 32, 32))], [tile((5, 20, 40), 9)]))
    assert wide.shape[1] > 2 * one.shape[1]
    assert tall.shape[0] > 1.5 * one.shape[0]
    assert both.shape[1] > 1.8 * one.shape[1]


def test_what_is_bright_in_a_volume_is_bright_on_the_sheet() -> None:
    plain, half = (picture(("a", [tile((12, 40, 40), 3, bright)], [])) for bright in (False, True))
    middle = half.shape[0] // 3  # inside the view from above
    grey = half[middle, :, 0]
    inside = np.flatnonzero(half[middle].std(axis=1) < 0.02)
    left = grey[inside[: len(inside) // 3]]
    assert left.max() > 0.9
    assert np.abs(plain - half).max() > 0.5


def test_flat_and_deep_volumes_are_drawn() -> None:
    flat = Tile(np.full((1, 16, 16), 7, np.uint8), None, "flat")
    deep = Tile(np.random.default_rng(0).random((200, 16, 16), np.float32), (5.0, 1.0, 1.0), "deep")
    assert picture(("odd", [flat, deep], [])).shape[0] > 100
