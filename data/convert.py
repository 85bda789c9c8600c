"""`luxvox convert`: any readable volume to multiscale OME-Zarr, OME-TIFF or NIfTI."""

from __future__ import annotations

from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from .open import open_volume
from .save import save_volume
from .volume import Volume
from .voxel import format_voxel_size, parse_voxel_size


def convert_command(
    source: str,
    out: str,
    voxel_size: str | None = None,
    axes: str | None = None,
    channel: str | None = None,
    time: int = 0,
    ngff: Literal["0.4", "0.5"] = "0.5",
    overwrite: bool = False,
    labels: bool = False,
    dataset: str | None = None,
) -> None:
    """Convert one time point of a volume, block by block; the body of `luxvox convert IN OUT`.

    Args:
        source: any path that `open_volume` takes.
        out: a name in .ome.zarr, .ome.tif or .nii.gz.
        voxel_size: "z y x" in micrometres, in place of what the file says.
        axes: the order in which the array lies in the file, in place of what it says.
        channel: keep one channel, by index or name.
        time: which time point.
        ngff: version of OME-Zarr.
        overwrite: replace what stands at `out`.
        labels: it holds labels: coarser levels keep the most frequent one instead of the mean.
        dataset: array of an HDF5 or Zarr container, or series of a TIFF.

    Raises:
        InputError: as `open_volume` and `save_volume`.
    """
    size = None if voxel_size is None else parse_voxel_size(voxel_size, "--voxel-size")
    volume = open_volume(
        source, axes=axes, voxel_size_um=size, channel=channel, time=time, dataset=dataset
    )
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"writing {escape(out)}", total=None, visible=False)
        path = save_volume(
            volume,
            out,
            voxel_size_um=None,
            kind="labels" if labels else "image",
            ngff=ngff,
            overwrite=overwrite,
            progress=lambda done, total: bar.update(
                task, completed=done, total=total, visible=True
            ),
        )
    _report(console, volume, open_volume(path))


def _report(console: Console, volume: Volume, written: Volume) -> None:
    """Say what was written, and what the user may have to set right."""
    sizes = ", ".join(" x ".join(map(str, level.shape)) for level in written.levels)
    console.print(
        f"{escape(written.path)}: {written.format}, {written.num_channels} channel(s), levels"
        f" {sizes}, voxel size {format_voxel_size(written.voxel_size_um)}"
    )
    if written.voxel_size_um is None:
        console.print("[yellow]voxel size unknown: pass --voxel-size 'z y x' in um[/yellow]")
    if volume.num_times > 1:
        console.print(f"time point {volume.time} of {volume.num_times} was written")
    for note in volume.notes:
        console.print(f"note: {escape(note)}")
