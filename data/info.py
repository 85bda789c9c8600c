"""`luxvox info`: what a volume is, and what is missing before it can be used."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..configs.errors import InputError
from .formats.ome_zarr import missing_chunks
from .open import open_volume
from .volume import Volume
from .voxel import format_voxel_size

_SAMPLE_VOXELS = 4_000_000
_BLOCKS_ALONG_AXIS = 3


@dataclass(frozen=True)
class Intensity:
    """Of one channel, in the file's own numbers; NaN and infinity are counted and left out."""

    minimum: float
    median: float
    p999: float
    maximum: float
    not_finite: int
    sampled: float


def sample_intensity(volume: Volume, channel: int = 0) -> Intensity:
    """Look at a volume's intensities: all of them where they are few, else 27 spread blocks.

    Args:
        volume: any volume.
        channel: which one.

    Returns:
        Statistics of the sample; `sampled` is its share of the volume.
    """
    whole = int(np.prod(volume.shape))
    if whole <= _SAMPLE_VOXELS:
        values = volume.read(channels=channel).ravel()
    else:
        side = int((_SAMPLE_VOXELS / _BLOCKS_ALONG_AXIS**3) ** (1 / 3))
        size = [min(side, length) for length in volume.shape]
        corners = [
            {round(step * (length - part) / (_BLOCKS_ALONG_AXIS - 1)) for step in range(3)}
            for length, part in zip(volume.shape, size, strict=True)
        ]
        blocks = itertools.product(*map(sorted, corners))
        values = np.concatenate(
            [volume.read(corner, size, channels=channel).ravel() for corner in blocks]
        )
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)  # booleans have no percentiles
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    share, lost = values.size / whole, values.size - finite.size
    if finite.size == 0:
        return Intensity(np.nan, np.nan, np.nan, np.nan, lost, share)
    median, p999 = np.percentile(finite, [50, 99.9])
    return Intensity(
        float(finite.min()), float(median), float(p999), float(finite.max()), lost, share
    )


def describe(volume: Volume) -> list[tuple[str, str]]:
    """Say what a volume is: (what, value) rows in the order of reading."""
    rows = [
        ("format", f"{volume.format}, {volume.dtype}, axes in the file {volume.file_axes}"),
        ("size z y x", _times(volume.shape)),
        ("voxel size z y x", format_voxel_size(volume.voxel_size_um)),
    ]
    if volume.voxel_size_um is not None:
        extent = (n * s for n, s in zip(volume.shape, volume.voxel_size_um, strict=True))
        rows.append(("extent z y x", " x ".join(f"{length:.4g}" for length in extent) + " um"))
    rows.append(("channels", ", ".join(volume.channel_names)))
    if volume.num_times > 1:
        rows.append(("time points", f"{volume.num_times}, read is {volume.time}"))
    for number, level in enumerate(volume.levels):
        chunks = f", chunks {_times(level.chunks)}" if level.chunks else ""
        size = f", {format_voxel_size(level.voxel_size_um)}" if level.voxel_size_um else ""
        rows.append((f"level {number}", f"{_times(level.shape)}{size}{chunks}"))
    for channel, name in enumerate(volume.channel_names):
        seen = sample_intensity(volume, channel)
        numbers = f"min {seen.minimum:g}, median {seen.median:g}, p99.9 {seen.p999:g}"
        rows.append(
            (
                f"intensity of {name}" if volume.num_channels > 1 else "intensity",
                f"{numbers}, max {seen.maximum:g} ({_share(seen.sampled)} of the volume seen)",
            )
        )
        if seen.not_finite:
            rows.append(("beware", f"{seen.not_finite} voxels of the sample are NaN or infinite"))
        if seen.minimum == seen.maximum:
            rows.append(("beware", "all voxels of the sample are equal"))
    if volume.voxel_size_um is None:
        rows.append(
            ("missing", "voxel size: fill it in the list, or luxvox convert --voxel-size 'z y x'")
        )
    for level, (missing, expected) in enumerate(missing_chunks(volume)):
        if missing:
            text = f"{missing} of {expected} chunk files of level {level}: read as the fill value"
            rows.append(("missing", text))
    rows += [("note", note) for note in volume.notes]
    return rows


def info_command(paths: Sequence[str]) -> None:
    """Print a table about each volume; the body of `luxvox info VOLUME...`.

    Raises:
        InputError: a path could not be read; with several, the others are shown first.
    """
    console = Console()
    failures = []
    for path in paths:
        try:
            rows = describe(open_volume(path))
        except InputError as error:
            failures.append(error)
            continue
        table = Table(title=escape(str(path)), title_justify="left", show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for what, value in rows:
            style = "yellow" if what in ("missing", "beware") else None
            table.add_row(what, escape(value), style=style)
        console.print(table)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        reasons = "; ".join(str(error) for error in failures)
        raise InputError(f"{len(failures)} of {len(paths)} volumes cannot be read: {reasons}")


def _share(part: float) -> str:
    """`all`, or a percentage that is never rounded up to it."""
    return "all" if part >= 1 else f"{min(100 * part, 99):.2g} %"


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(str(size) for size in sizes)
