"""`luxvox tables`: what its options mean, progress, and what is said at the end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ...configs.errors import InputError
from ...data.open import open_volume
from ...data.volume import Volume
from ...data.voxel import parse_voxel_size
from .measure import Tables, measure
from .on_grid import ReadBox
from .regions import atlas_regions, grid_regions


def tables_command(
    labels: str,
    out: Path,
    *,
    image: str | None,
    channel: str | None,
    atlas: str | None,
    regions: str | None,
    lengths: bool,
    instances: bool | None,
    background: int,
    voxel_size: str | None,
    overwrite: bool,
) -> None:
    """Measure labels and write the tables.

    Args:
        labels: any path that `open_volume` takes.
        out: folder of the tables.
        image: the same, where intensity is measured. channel: of it.
        atlas: labels in the same frame; or regions: "z,y,x" voxels of blocks to count in.
        lengths: measure centrelines.
        instances: whether every value is one object; None = unless they have 8 bits.
        background: the label of nothing.
        voxel_size: "z y x" in um, in place of what the labels say.
        overwrite: replace tables that stand in `out`.

    Raises:
        InputError: anything that the user can mend.
    """
    if atlas is not None and regions is not None:
        raise InputError("--atlas and --regions: two ways to divide the volume; choose one")
    if channel is not None and image is None:
        raise InputError("--channel is that of an image; give --image VOLUME")
    if (out / "objects.csv").exists() and not overwrite:
        raise InputError(f"{out}: holds tables already; choose another folder or pass --overwrite")
    size = None if voxel_size is None else parse_voxel_size(voxel_size, "--voxel-size")
    opened = open_volume(labels, voxel_size_um=size)
    picture = None if image is None else open_volume(image, channel=channel)
    single = opened.dtype.itemsize > 1 if instances is None else instances
    if opened.voxel_size_um is None:
        print(
            f"warning: {labels}: voxel size unknown, so what is in um stays empty; --voxel-size",
            file=sys.stderr,
        )
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as line:
        bar = line.add_task("boxes", total=None)
        tables = measure(
            opened, instances=single, image=picture, regions=_regions(opened, atlas, regions),
            lengths=lengths, background=background,
            progress=lambda done, total: line.update(bar, completed=done, total=total),
        )  # fmt: skip
    tables.write(out)
    print(f"{out}: {says(tables, single)} in {time.monotonic() - began:.1f} s")


def says(tables: Tables, instances: bool) -> str:
    """What was found, in a few words."""
    kind = "every label one object" if instances else "every connected piece one object"
    words = [f"{len(tables.objects['id'])} objects ({kind})"]
    if not instances:
        words.append(f"{len(tables.structures['label'])} structures")
    if tables.regions is not None:
        words.append(f"{len(set(tables.regions['region'].tolist()))} regions")
    if "length_um" in tables.structures:
        words.append(f"{tables.structures['length_um'].sum() / 1000:.4g} mm of centreline")
    return ", ".join(words)


def _regions(labels: Volume, atlas: str | None, regions: str | None) -> ReadBox | None:
    if atlas is not None:
        return atlas_regions(open_volume(atlas), labels)
    if regions is None:
        return None
    words = regions.replace(",", " ").split()
    if len(words) != 3 or not all(word.isdigit() for word in words):
        raise InputError(
            f"--regions {regions!r}: expected three numbers of voxels z,y,x, such as 256,256,256"
        )
    z, y, x = map(int, words)
    return grid_regions(labels.shape, (z, y, x))
