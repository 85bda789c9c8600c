"""Packing a crop bank: `luxvox bank`. Reading is in `bank.py`, the file in `bank_file.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..configs.errors import InputError
from .bank import PER_CROP, is_bank
from .bank_file import SUFFIX, BankWriter
from .crop_plan import CropConfig, CropPlan, Triple
from .crops import CropSource
from .manifest import read_dataset
from .row import Row
from .voxel import parse_voxel_size

LARGEST_CODE = 65535
COVERAGE = 2  # crops hold at most so many times the voxels of their volume


def bank_command(
    source: str,
    out: str,
    shape: Triple = (96, 96, 96),
    voxel_size: str | None = None,
    crops: int = 32,
    seed: int = 0,
    skip_unreadable: bool = False,
    overwrite: bool = False,
) -> None:
    """Pack crops of the volumes of a list; the body of `luxvox bank DATASET OUT`.

    Args:
        source: anything that `read_dataset` takes.
        out: a name in .safetensors.
        shape: (z, y, x) voxels of a crop; training crops may be smaller.
        voxel_size: wanted "z y x" in micrometres; None packs the voxels as they are.
        crops: of each volume, at most.
        seed: chooses the places.
        skip_unreadable: leave unreadable volumes out.
        overwrite: replace what stands at `out`.

    Raises:
        InputError: as `read_dataset`, `CropSource` and `write_bank`.
    """
    path = check_out(out, overwrite)
    size = None if voxel_size is None else parse_voxel_size(voxel_size, "--voxel-size")
    # Patches of one voxel: thin volumes keep all their planes, and training cuts whole patches.
    if min(shape) < 1:
        raise InputError(f"--shape: found {shape}, expected three sides of at least 1 voxel")
    config = CropConfig(shape=shape, voxel_size_um=size, patch=(1, 1, 1))
    rows = read_dataset(source, allow_missing=skip_unreadable).rows
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        opening = bar.add_task("opening volumes", total=len(rows))
        volumes = CropSource(
            rows,
            config,
            skip_unreadable=skip_unreadable,
            progress=lambda done, _: bar.update(opening, completed=done),
        )
        for item in volumes.skipped:
            console.print(
                f"skipped {escape(item.row.where)}: {escape(item.reason)}", soft_wrap=True
            )
        total = sum(crops_wanted(item.plan, crops) for item in volumes.opened)
        estimate = total * math.prod(shape) * 2 / 1e9
        console.print(f"{total} crops of {len(volumes)} volumes, {estimate:.2f} GB")
        packing = bar.add_task("packing crops", total=total)
        write_bank(
            volumes,
            path,
            crops_per_volume=crops,
            seed=seed,
            overwrite=overwrite,
            progress=lambda done, _: bar.update(packing, completed=done),
        )
    console.print(f"wrote {escape(str(path))}", soft_wrap=True)


def check_out(out: str | Path, overwrite: bool) -> Path:
    """The path of a new bank.

    Raises:
        InputError: another ending than .safetensors, or something stands there already.
    """
    path = Path(out).expanduser()
    if not is_bank(path):
        raise InputError(f"{path}: expected a name that ends in {SUFFIX}")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; choose another name or pass --overwrite")
    return path


def encode(
    crop: NDArray[np.float32], real: Sequence[int]
) -> tuple[NDArray[np.uint16], float, float]:
    """Turn a normalised crop into codes that use their whole range.

    Args:
        crop: [Z, Y, X] float32.
        real: (z, y, x) real voxels from the origin; beyond them codes are 0.

    Returns:
        [Z, Y, X] codes, scale and offset; code * scale + offset is within half a scale of the crop.
    """
    z, y, x = real
    inside = crop[:z, :y, :x]
    low, high = float(inside.min()), float(inside.max())
    scale = (high - low) / LARGEST_CODE or 1.0
    codes = np.zeros(crop.shape, dtype=np.uint16)
    codes[:z, :y, :x] = np.rint((inside - low) / scale)
    return codes, scale, low


def crops_wanted(plan: CropPlan, most: int) -> int:
    """How many crops a volume gives: enough to cover it about twice, at least 1, at most `most`."""
    return min(most, max(1, math.ceil(COVERAGE * math.prod(plan.size) / math.prod(plan.box))))


def write_bank(
    source: CropSource,
    out: str | Path,
    *,
    crops_per_volume: int = 32,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Pack crops of every volume of a source into one file.

    Args:
        source: volumes, and what a crop is.
        out: ends in .safetensors.
        crops_per_volume: at most; small volumes give fewer (see `crops_wanted`).
        seed: chooses the places.
        overwrite: replace what stands at `out`.
        progress: called with (crops written, crops in all).

    Returns:
        The path of the bank; it appears only when it is whole.

    Raises:
        InputError: wrong ending, something stands there, no room, or a volume is damaged.
    """
    out = check_out(out, overwrite)
    counts = [crops_wanted(item.plan, crops_per_volume) for item in source.opened]
    total, shape = sum(counts), source.config.shape
    tensors: dict[str, tuple[Any, tuple[int, ...]]] = {
        "scale": (np.float32, (total,)),
        "offset": (np.float32, (total,)),
        "noise": (np.float32, (total,)),
        "variance": (np.float32, (total,)),
        "spacing_known": (np.bool_, (total,)),
        "voxel_size_um": (np.float32, (total, 3)),
        "extent": (np.int64, (total, 3)),
        "codes": (np.uint16, (total, *shape)),
    }
    # Numbers of 8 bytes first, then 4, 2 and 1: every tensor then starts where its type may.
    order = sorted(tensors, key=lambda name: -np.dtype(tensors[name][0]).itemsize)
    about = {
        "rows": [_about(row) for row in source.rows],
        "counts": counts,
        "config": source.config.model_dump(mode="json"),
    }
    done = 0
    with BankWriter(out, {name: tensors[name] for name in order}, about) as writer:
        for volume, count in enumerate(counts):
            for number in range(count):
                sample = source.fixed(volume, number, seed)
                codes, scale, offset = encode(sample["crop"][0], sample["extent"])
                kept = {name: sample[name] for name in PER_CROP}
                writer.put(done, {**kept, "codes": codes, "scale": scale, "offset": offset})
                done += 1
                if progress is not None:
                    progress(done, total)
    return out


def _about(row: Row) -> dict[str, Any]:
    """A row as JSON: what it says of the volume, not where its files lay."""
    known = {name: value for name, value in asdict(row).items() if value is not None}
    return {**known, "image": row.image.name, "labels": None, "target": None}
