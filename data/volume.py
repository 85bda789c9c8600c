"""A volume: one acquired 3D image behind one interface, whatever file it lies in.

Boxes come out as [C, Z, Y, X] in the file's number type; only what is cut is read. The turning from
the file's axis order to ours happens here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from einops import rearrange

from ..configs.errors import InputError
from .formats.axes import FileContents, Reader
from .voxel import VoxelSize, check_voxel_size

Box = tuple[int, int, int]


@dataclass(frozen=True)
class Level:
    """One resolution of a volume; 0 is the finest. All tuples are (z, y, x).

    `translation_um` is where the centre of voxel (0, 0, 0) lies; None where sizes are unknown.
    `factor` is how many voxels of level 0 one voxel spans; known even where sizes are not.
    """

    shape: Box
    voxel_size_um: VoxelSize | None
    translation_um: VoxelSize | None
    chunks: Box | None
    factor: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Volume:
    """One time point of an image: channels by z, y, x, at one or more levels.

    Built by `open_volume`. Can be pickled and forked: files are opened anew where it is read.
    """

    path: str
    format: str
    levels: tuple[Level, ...]
    dtype: np.dtype
    channel_names: tuple[str, ...]
    num_times: int
    notes: tuple[str, ...]
    file_axes: str
    reader: Reader
    time: int = 0
    file_channels: tuple[int, ...] = (0,)

    @property
    def shape(self) -> Box:
        """(Z, Y, X) of level 0."""
        return self.levels[0].shape

    @property
    def voxel_size_um(self) -> VoxelSize | None:
        """(z, y, x) of level 0 in micrometres; None when unknown, never guessed."""
        return self.levels[0].voxel_size_um

    @property
    def num_channels(self) -> int:
        """How many channels `read` gives by default."""
        return len(self.file_channels)

    def read(
        self,
        origin: Sequence[int] = (0, 0, 0),
        shape: Sequence[int] | None = None,
        level: int = 0,
        channels: int | str | Sequence[int | str] | None = None,
    ) -> np.ndarray:
        """Read a box. Only the chunks, planes or bytes that it touches are read.

        Args:
            origin: (z, y, x) of the first voxel, in voxels of `level`.
            shape: (Z, Y, X) of the box; None goes to the end of the volume.
            level: resolution, 0 the finest.
            channels: which channels, by index or name; None gives all.

        Returns:
            [C, Z, Y, X], C-contiguous, owned by the caller, in the file's number type.

        Raises:
            InputError: no such level or channel, the box does not lie inside the volume, or the
                file is damaged there.
        """
        if not 0 <= level < len(self.levels):
            raise InputError(f"{self.path}: no level {level}, expected 0 to {len(self.levels) - 1}")
        start, stop = self._check_box(origin, shape, level)
        wanted = self._find_channels(channels)
        parts = [
            self._read_run(start, stop, level, first, last)
            for first, last in _runs([self.file_channels[index] for index in wanted])
        ]
        box = parts[0] if len(parts) == 1 else np.concatenate(parts)
        # A copy only where the door gave a view of a file or of the cache.
        return np.require(np.asarray(box), self.dtype, ["C", "W"])

    def _check_box(
        self, origin: Sequence[int], shape: Sequence[int] | None, level: int
    ) -> tuple[Box, Box]:
        whole = self.levels[level].shape
        if len(origin) != 3 or (shape is not None and len(shape) != 3):
            raise InputError(f"{self.path}: the box {origin}, {shape} is not given as (z, y, x)")
        start = (int(origin[0]), int(origin[1]), int(origin[2]))
        stop = whole
        if shape is not None:
            stop = (start[0] + int(shape[0]), start[1] + int(shape[1]), start[2] + int(shape[2]))
        if any(a < 0 or b <= a or b > size for a, b, size in zip(start, stop, whole, strict=True)):
            raise InputError(
                f"{self.path}: the box from {start} to {stop} does not lie inside level {level},"
                f" which has (z, y, x) = {whole} voxels"
            )
        return start, stop

    def _find_channels(self, channels: int | str | Sequence[int | str] | None) -> list[int]:
        if channels is None:
            return list(range(self.num_channels))
        if isinstance(channels, int | str):
            channels = [channels]
        return [find_channel(channel, self.channel_names, self.path) for channel in channels]

    def _read_run(self, start: Box, stop: Box, level: int, first: int, last: int) -> np.ndarray:
        spans = {axis: slice(a, b) for axis, a, b in zip("zyx", start, stop, strict=True)}
        spans["t"] = slice(self.time, self.time + 1)
        spans["c"] = spans["s"] = slice(first, last)
        array = self.reader.read(level, tuple(spans[axis] for axis in self.file_axes))
        names = self.file_axes.replace("s", "c")
        ours = (
            ("(t c)" if "t" in names else "c") if "c" in names else ("t" if "t" in names else "1")
        )
        return rearrange(array, f"{' '.join(names)} -> {ours} z y x")


def _runs(channels: list[int]) -> list[tuple[int, int]]:
    """Group file channels into [first, last) runs of neighbours, so that one read serves a run."""
    runs: list[tuple[int, int]] = []
    for channel in channels:
        if runs and runs[-1][1] == channel:
            runs[-1] = (runs[-1][0], channel + 1)
        else:
            runs.append((channel, channel + 1))
    return runs


def find_channel(channel: int | str, names: Sequence[str], path: str) -> int:
    """Give the index of a channel that a user names by index or by name (in any letter case).

    Raises:
        InputError: no such channel, or a name that several channels have; it lists those there are.
    """
    listing = ", ".join(f"{index} {name!r}" for index, name in enumerate(names))
    if isinstance(channel, str):
        matches = [i for i, name in enumerate(names) if name.lower() == channel.strip().lower()]
        if len(matches) > 1:
            raise InputError(f"{path}: several channels are called {channel!r}: {listing}")
        if matches:
            return matches[0]
        if not channel.strip().isdigit():
            raise InputError(f"{path}: no channel {channel!r}; there is {listing}")
        channel = int(channel)
    if not 0 <= channel < len(names):
        raise InputError(f"{path}: no channel {channel}; there is {listing}")
    return channel


def build_volume(
    path: str,
    contents: FileContents,
    *,
    channel: int | str | None = None,
    time: int = 0,
    voxel_size_um: VoxelSize | None = None,
) -> Volume:
    """Turn what a door found into a volume in (c, z, y, x).

    Args:
        path: as the user named it.
        contents: what the door found, in the file's axis order.
        channel: keep only this one, by index or name.
        time: time point to read.
        voxel_size_um: (z, y, x) of level 0, in place of what the file says.

    Raises:
        InputError: a 2D or empty image, two kinds of channel axes, numbers that are no intensities,
            no such channel or time point.
    """
    axes, finest = contents.axes, contents.levels[0].shape
    sizes = dict(zip(axes, finest, strict=True))
    if "c" in sizes and "s" in sizes:
        raise InputError(
            f"{path}: both channels and colour samples (axes {axes}), expected one kind"
        )
    if min(finest) == 0:
        raise InputError(f"{path}: an empty image: axes {axes}, sizes {finest}")
    if sizes["z"] == 1:
        raise InputError(
            f"{path}: a 2D image, expected a volume: axes {axes}, sizes {finest}, so one plane only"
        )
    if contents.dtype.kind not in "uifb":
        raise InputError(f"{path}: numbers of type {contents.dtype}, expected integers or floats")
    num_times = sizes.get("t", 1)
    if not 0 <= time < num_times:
        raise InputError(f"{path}: no time point {time}, expected 0 to {num_times - 1}")
    count = sizes.get("c", sizes.get("s", 1))
    names = contents.channel_names if len(contents.channel_names) == count else ()
    names = names or tuple(str(index) for index in range(count))
    kept = tuple(range(count)) if channel is None else (find_channel(channel, names, path),)
    levels = _canonical_levels(contents)
    if voxel_size_um is not None:
        levels = _resized(levels, check_voxel_size(voxel_size_um, f"{path}: voxel size"))
    return Volume(
        path=path,
        format=contents.format,
        levels=levels,
        dtype=contents.dtype.newbyteorder("="),
        channel_names=tuple(names[index] for index in kept),
        num_times=num_times,
        notes=contents.notes,
        file_axes=axes,
        reader=contents.reader,
        time=time,
        file_channels=kept,
    )


def _canonical_levels(contents: FileContents) -> tuple[Level, ...]:
    z, y, x = (contents.axes.index(axis) for axis in "zyx")

    def known(values: Sequence[float | None] | None) -> VoxelSize | None:
        if values is None:
            return None
        a, b, c = values[z], values[y], values[x]
        return None if a is None or b is None or c is None else (a, b, c)

    whole = contents.levels[0].shape
    levels = []
    for found in contents.levels:
        shape, chunks, size = found.shape, found.chunks, known(found.size_um)
        levels.append(
            Level(
                shape=(shape[z], shape[y], shape[x]),
                voxel_size_um=size,
                translation_um=(known(found.translation_um) or (0.0, 0.0, 0.0)) if size else None,
                chunks=None if chunks is None else (chunks[z], chunks[y], chunks[x]),
                factor=known(found.factor)
                or (
                    float(round(whole[z] / shape[z])),
                    float(round(whole[y] / shape[y])),
                    float(round(whole[x] / shape[x])),
                ),
            )
        )
    return tuple(levels)


def _resized(levels: tuple[Level, ...], size: VoxelSize) -> tuple[Level, ...]:
    """Give all levels the sizes that follow when level 0 has voxels of `size` micrometres."""
    resized = []
    for level in levels:
        z, y, x = (s * f for s, f in zip(size, level.factor, strict=True))
        # Centres of coarse voxels: half a coarse voxel in, less half a fine one.
        shift = (0.5 * (z - size[0]), 0.5 * (y - size[1]), 0.5 * (x - size[2]))
        resized.append(replace(level, voxel_size_um=(z, y, x), translation_um=shift))
    return tuple(resized)
