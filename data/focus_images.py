"""The pixels of one slice: a 2D TIFF or PNG, or a plane of a volume; colour as one channel.

What an axis is, the file says or the list does. A stack is never taken for a colour image because
it has three axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from ..configs.errors import InputError
from .focus_row import FocusRow
from .formats.axes import reason
from .open import open_volume
from .volume import Volume

_LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Of red, green and blue, ITU-R BT.709."""
COLOURS = ("red", "green", "blue")


def read_slice(row: FocusRow, colour: str | None = None) -> NDArray[np.float32]:
    """The pixels of a slice, in the file's intensity units.

    Args:
        row: names file and plane; `channel` chooses from a volume of several channels.
        colour: of an RGB image: one of `COLOURS`; None = luminance.

    Returns:
        [Y, X] float32.

    Raises:
        InputError: no readable image, a stack where a slice was expected, or no such plane.
    """
    if row.plane is not None:
        return _plane(row, row.plane)
    if not row.image_path.is_file():
        raise InputError(
            f"{row.where or row.image_path}: image_path {row.image_path} not found; paths are "
            "relative to the list"
        )
    pixels = _png(row.image_path) if row.image_path.suffix.lower() == ".png" else _tiff(row)
    return pixels.astype(np.float32) if pixels.ndim == 2 else _grey(pixels, colour, row.image_path)


def read_slices(
    stack: Sequence[FocusRow], colour: str | None = None
) -> Iterator[NDArray[np.float32]]:
    """The slices of one stack, one after the other: [Y, X] float32, in the order of the rows.

    Raises:
        InputError: as `read_slice`; or slices of different sizes.
    """
    shape: tuple[int, ...] | None = None
    for row in stack:
        image = read_slice(row, colour)
        shape = shape or image.shape
        if image.shape != shape:
            raise InputError(
                f"{row.where or row.image_path}: {image.shape} (y, x) pixels, but z "
                f"{stack[0].z_index} of stack {row.stack_id!r} has {shape}; the slices of a stack "
                "must be of one size"
            )
        yield image


@lru_cache(maxsize=2)
def _opened(path: Path) -> Volume:
    return open_volume(path)


def _plane(row: FocusRow, plane: int) -> NDArray[np.float32]:
    volume = _opened(row.image_path)
    _, height, width = volume.shape
    channel = row.channel or 0
    return volume.read((plane, 0, 0), (1, height, width), channels=channel)[0, 0].astype(np.float32)


def _tiff(row: FocusRow) -> NDArray:
    path = row.image_path
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            axes, pixels = series.axes, series.asarray()
    except Exception as error:  # tifffile has many, as in formats/tiff.py
        raise InputError(f"{path}: cannot be read as TIFF ({reason(error)})") from error
    long = "".join(a for a, n in zip(axes, pixels.shape, strict=True) if n > 1 or a in "YX")
    pixels = pixels.reshape([n for a, n in zip(axes, pixels.shape, strict=True) if a in long])
    if long in ("YX", "YXS"):
        return pixels
    if long == "SYX":
        return np.moveaxis(pixels, 0, -1)
    raise InputError(
        f"{path}: axes {axes} of sizes {series.shape}, expected one slice (y, x); for a stack give "
        "the column plane, or a dataset list of volumes"
    )


def _png(path: Path) -> NDArray:
    import imagecodecs

    try:
        return np.asarray(imagecodecs.png_decode(path.read_bytes()))
    except Exception as error:
        raise InputError(f"{path}: cannot be read as PNG ({reason(error)})") from error


def _grey(pixels: NDArray, colour: str | None, path: Path) -> NDArray[np.float32]:
    """[Y, X, S] -> [Y, X]; an opacity behind grey or colours is left out."""
    if pixels.ndim != 3 or pixels.shape[-1] > 4:
        raise InputError(f"{path}: {pixels.shape} values, expected grey or RGB; split the channels")
    if pixels.shape[-1] < 3:
        return pixels[..., 0].astype(np.float32)
    if colour is None:
        return pixels[..., :3].astype(np.float32) @ np.array(_LUMINANCE, np.float32)
    if colour not in COLOURS:
        raise InputError(f"colour {colour!r}, expected one of {', '.join(COLOURS)}")
    return pixels[..., COLOURS.index(colour)].astype(np.float32)
