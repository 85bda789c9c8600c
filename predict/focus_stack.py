"""Stacks of slices to be judged: a channel of a volume, a folder of 2D files, or one image.

Slices are read one at a time, when they are asked for. In a folder the number in the name is the
place of a slice; the order in which the files lie there says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..configs.errors import InputError
from ..data.focus_images import COLOURS, read_slice
from ..data.focus_row import FocusRow
from ..data.open import open_volume
from ..data.volume import Volume
from ..data.voxel import VoxelSize

FILES = (".tif", ".tiff", ".png")
LUMINANCE = "luminance"
_BT709 = (0.2126, 0.7152, 0.0722)
_Z = re.compile(r"(?<![A-Za-z])z([+-]?\d+)", re.IGNORECASE)
_LAST = re.compile(r"(\d+)(?!.*\d)")


@dataclass(frozen=True)
class FocusStack:
    """Slices of one channel. S slices of Y by X pixels.

    Attributes:
        image_paths: [S], the file of each slice; of a volume all the same.
        stack_id: names the stack in tables.
        channel: name of the channel, "" where there is one.
        t: time point.
        z_index: [S] rising numbers, with gaps where slices are missing.
        voxel_size_um: (z, y, x); None = not known, or not all of it.
        shape: (Y, X).
        largest: top of the number type of the file, where that is an integer.
        notes: what the user should know about it.
        load: gives slice i of the S, [Y, X] in the file's number type.
    """

    image_paths: tuple[str, ...]
    stack_id: str
    channel: str
    t: int
    z_index: tuple[int, ...]
    voxel_size_um: VoxelSize | None
    shape: tuple[int, int]
    largest: float | None
    notes: tuple[str, ...]
    load: Callable[[int], NDArray]

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.z_index)

    def read(self, places: Sequence[int]) -> Tensor:
        """Slices by their places from 0: [len(places), Y, X] float32."""
        planes = [np.ascontiguousarray(self.load(place), dtype=np.float32) for place in places]
        return torch.from_numpy(np.stack(planes))


def open_stacks(
    path: str | Path, channel: str | None = None, voxel_size_um: VoxelSize | None = None
) -> list[FocusStack]:
    """Open what a user names: each channel is a stack of its own.

    Args:
        path: a volume of any readable format, a folder of 2D TIFF or PNG files, or one such file.
        channel: only this one, by index or name; of colour images also red, green, blue.
            Without it every channel; colours as luminance.
        voxel_size_um: (z, y, x), in place of what the file says.

    Raises:
        InputError: nothing readable there, slices of different sizes, two slices of one number.
    """
    where = Path(path).expanduser()
    if where.is_dir():
        files = [file for file in sorted(where.iterdir()) if file.suffix.lower() in FILES]
        if files and not (where / "zarr.json").exists() and _is_flat(files[0]):
            return [_folder(where, files, channel, voxel_size_um)]
    elif where.is_file() and where.suffix.lower() in FILES and _is_flat(where):
        return [_folder(where, [where], channel, voxel_size_um)]
    volume = open_volume(path, voxel_size_um=voxel_size_um)
    if "s" in volume.file_axes and channel in (None, LUMINANCE):
        return [_luminance(volume)]
    if channel is not None:
        names = [name.lower() for name in COLOURS]
        named = channel.lower()
        index = names.index(named) if "s" in volume.file_axes and named in names else channel
        volume = open_volume(path, voxel_size_um=voxel_size_um, channel=index)
    return [_channel(volume, index) for index in range(volume.num_channels)]


def z_number(file: Path) -> int | None:
    """Place of a slice by its name: the number behind `z`, with its sign, else the last number.

    None where there is no number.
    """
    found = _Z.findall(file.stem) or _LAST.findall(file.stem)
    return int(found[-1]) if found else None


def z_numbers(files: Sequence[Path]) -> list[int]:
    """Places of slices by their names, see `z_number`.

    Raises:
        InputError: a name without a number, or two of one number.
    """
    seen: dict[int, Path] = {}
    for file in files:
        number = z_number(file)
        if number is None:
            raise InputError(
                f"{file}: no number in its name, expected names such as S001_z-10.tif; rename it"
            )
        if number in seen:
            raise InputError(
                f"{file}: slice {number} stands in {seen[number].name} already; take one of them "
                "out of the folder"
            )
        seen[number] = file
    return list(seen)


def _channel(volume: Volume, index: int) -> FocusStack:
    depth, high, wide = volume.shape

    def load(place: int) -> NDArray:
        return volume.read((place, 0, 0), (1, high, wide), channels=index)[0, 0]

    integer = volume.dtype.kind in "ui"
    return FocusStack(
        image_paths=(volume.path,) * depth,
        stack_id=_name(Path(volume.path)),
        channel=volume.channel_names[index] if volume.num_channels > 1 else "",
        t=volume.time,
        z_index=tuple(range(depth)),
        voxel_size_um=volume.voxel_size_um,
        shape=(high, wide),
        largest=float(np.iinfo(volume.dtype).max) if integer else None,
        notes=volume.notes
        + ((f"{volume.num_times} time points; only the first is judged",) * (volume.num_times > 1)),
        load=load,
    )


def _luminance(volume: Volume) -> FocusStack:
    """Colours of one plane as one image; the ceiling of the type is lost on the way."""
    high, wide = volume.shape[1:]

    def load(place: int) -> NDArray:
        colours = volume.read((place, 0, 0), (1, high, wide))[:3, 0].astype(np.float32)
        if len(colours) < 3:  # grey with opacity
            return colours[0]
        return np.tensordot(np.array(_BT709, np.float32), colours, 1)

    return replace(_channel(volume, 0), channel="", load=load)


def _folder(
    where: Path, files: list[Path], channel: str | None, voxel_size_um: VoxelSize | None
) -> FocusStack:
    numbers = z_numbers(files) if where.is_dir() else [0]
    order = np.argsort(numbers)
    files, numbers = [files[i] for i in order], [numbers[i] for i in order]
    colour = None if channel in (None, LUMINANCE) else channel
    shapes = {file: _flat_shape(file) for file in files}
    for file, shape in shapes.items():
        if shape != shapes[files[0]]:
            raise InputError(
                f"{file}: {shape[0]} x {shape[1]} pixels (y, x), but {files[0].name} has "
                f"{shapes[files[0]][0]} x {shapes[files[0]][1]}; the slices of a stack must be "
                "of one size"
            )

    def load(place: int) -> NDArray:
        return read_slice(FocusRow(files[place], "", numbers[place]), colour)

    return FocusStack(
        image_paths=tuple(map(str, files)),
        stack_id=_name(where),
        channel=channel or "",
        t=0,
        z_index=tuple(numbers),
        voxel_size_um=voxel_size_um,
        shape=shapes[files[0]],
        largest=_largest(files[0]),
        notes=_gaps(numbers),
        load=load,
    )


def _gaps(numbers: Sequence[int]) -> tuple[str, ...]:
    """A note that names missing slices; numbers in even steps (0, 5, 10) have no gap."""
    steps = np.diff(numbers)
    if not steps.size or (steps == steps.min()).all():
        return ()
    step = int(steps.min())
    missing = sorted(set(range(numbers[0], numbers[-1], step)) - set(numbers))
    shown = ", ".join(map(str, missing[:5])) + (" ..." if len(missing) > 5 else "")
    return (f"slices are missing: z {shown}; the others keep their places",)


def _name(path: Path) -> str:
    name = path.name
    for suffix in (".ome.zarr", ".ome.tif", ".ome.tiff", ".nii.gz"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name if path.is_dir() else path.stem


def _is_flat(file: Path) -> bool:
    """Whether a file holds one 2D image."""
    if file.suffix.lower() == ".png":
        return True
    try:
        with tifffile.TiffFile(file) as tiff:
            series = tiff.series[0]
            sides = zip(series.axes, series.shape, strict=True)
            return not [axis for axis, side in sides if axis not in "YXS" and side > 1]
    except Exception:
        return False  # open_volume says what is wrong with it


def _flat_shape(file: Path) -> tuple[int, int]:
    """(Y, X) of a 2D file, from its head where the format has one.

    Raises:
        InputError: the file is no image, or a stack.
    """
    if file.suffix.lower() == ".png":
        image = read_slice(FocusRow(file, "", 0))
        return image.shape[0], image.shape[1]
    try:
        with tifffile.TiffFile(file) as tiff:
            page = tiff.series[0].keyframe
            high, wide = page.imagelength, page.imagewidth
    except Exception as error:
        raise InputError(f"{file}: cannot be read as TIFF ({error}); fetch it again") from error
    if not _is_flat(file):
        raise InputError(f"{file}: a stack among slices; give it on its own")
    return int(high), int(wide)


def _largest(file: Path) -> float | None:
    if file.suffix.lower() == ".png":
        return None  # 8 or 16 bits: a plateau at the top shows what is saturated
    with tifffile.TiffFile(file) as tiff:
        dtype = np.dtype(tiff.series[0].dtype)
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else None
