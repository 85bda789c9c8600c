"""What a door finds in a file, still in the file's own axis order.

The doors (`ome_zarr`, `tiff`, `nifti`, `hdf5`) describe; `volume` turns. So the rules about axes
stand in one place and no door reorders anything by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...configs.errors import InputError

KNOWN_AXES = "tczyxs"
"""t time, c channel, z y x space, s samples of a colour pixel (read as channels)."""


class Reader(Protocol):
    """Reads boxes of a file's arrays in the file's axis order; survives pickling and forking."""

    def read(self, level: int, box: tuple[slice, ...]) -> np.ndarray:
        """Give the box of a level; as many axes as the file has. It may be a read-only view."""
        ...


@dataclass(frozen=True)
class FileLevel:
    """One resolution as it lies in the file; every tuple in the file's axis order.

    `size_um` and `translation_um` hold None at axes that are no lengths or whose unit is unknown.
    `factor` says how many voxels of level 0 one voxel spans (1.0 at level 0).
    """

    shape: tuple[int, ...]
    size_um: tuple[float | None, ...] | None = None
    translation_um: tuple[float | None, ...] | None = None
    chunks: tuple[int, ...] | None = None
    factor: tuple[float, ...] | None = None


@dataclass(frozen=True)
class FileContents:
    """All that a door says about a file."""

    format: str
    axes: str
    dtype: np.dtype
    levels: tuple[FileLevel, ...]
    reader: Reader
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def reason(error: BaseException) -> str:
    """Give what a library says about an error as one line, for an error of our own."""
    kind = type(error).__name__
    text = str(error).strip()
    if not text:
        return kind
    # A bare key or number, as a KeyError has it, says nothing without its kind.
    return text.splitlines()[0] if " " in text else f"{kind}: {text}"


def parse_axes(text: str, ndim: int, path: str) -> str:
    """Check axes that a user or a file names, such as "xyz" or "tczyx".

    Raises:
        InputError: an unknown or doubled letter, another number of axes than the array has, or no
            z, y and x among them.
    """
    axes = text.strip().lower()
    unknown = sorted(set(axes) - set(KNOWN_AXES))
    if unknown:
        raise InputError(
            f"{path}: axes {text!r} hold {', '.join(map(repr, unknown))}, expected letters of"
            f" {KNOWN_AXES!r} (t time, c channel, s colour)"
        )
    if len(set(axes)) != len(axes):
        raise InputError(f"{path}: axes {text!r} name an axis twice")
    if len(axes) != ndim:
        raise InputError(
            f"{path}: axes {text!r} name {len(axes)} axes, but the array has {ndim};"
            " name them as the array lies in the file"
        )
    missing = [axis for axis in "zyx" if axis not in axes]
    if missing:
        raise InputError(
            f"{path}: a 2D image, expected a volume: axes {axes!r} hold no {', '.join(missing)}"
            " (if the planes are z, pass the axes, such as zyx)"
        )
    return axes


def assume_axes(ndim: int, path: str) -> str:
    """Name the axes of an array that says nothing of itself: three are (z, y, x).

    Raises:
        InputError: fewer than three axes (a 2D image), or more, which cannot be told apart.
    """
    if ndim < 3:
        raise InputError(f"{path}: a 2D image, expected a volume (the array has {ndim} axes)")
    if ndim > 3:
        raise InputError(
            f"{path}: the array has {ndim} axes and does not say which; name them as they lie in"
            " the file, such as axes=czyx or axes=tzyx"
        )
    return "zyx"


def pick_array(shapes: Mapping[str, Sequence[int]], wanted: str | None, path: str) -> str:
    """Choose the array of a container that is the volume: the wanted one, else the largest.

    Args:
        shapes: name -> shape of every array in the file.
        wanted: a name the user gave, or None.
        path: the file, for messages.

    Raises:
        InputError: no array of three or more axes, the wanted name is missing, or several are
            equally large and none is called raw, image, volume or data.
    """
    if wanted is not None:
        name = wanted.strip("/")
        if name in shapes:
            return name
        raise InputError(f"{path}: no array {wanted!r} in it; there is {_listing(shapes)}")
    volumes = {name: tuple(shape) for name, shape in shapes.items() if len(shape) >= 3}
    if not volumes:
        found = _listing(shapes) if shapes else "no array at all"
        raise InputError(f"{path}: no 3D array in it, expected a volume; there is {found}")
    voxels = {name: int(np.prod(shape)) for name, shape in volumes.items()}
    largest = [name for name in voxels if voxels[name] == max(voxels.values())]
    if len(largest) > 1:
        # An image and its labels are equally large: go by the names that are common for images.
        usual = [n for n in largest if n.rsplit("/", 1)[-1] in ("raw", "image", "volume", "data")]
        if len(usual) != 1:
            raise InputError(
                f"{path}: several arrays of equal size ({_listing(volumes)}); name one:"
                f" {path}/{largest[0]} or dataset={largest[0]}"
            )
        largest = usual
    return largest[0]


def _listing(shapes: Mapping[str, Sequence[int]]) -> str:
    shown = [f"{name} {'x'.join(map(str, shape))}" for name, shape in list(shapes.items())[:8]]
    return ", ".join(shown) + (", ..." if len(shapes) > 8 else "")
