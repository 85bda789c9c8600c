"""A multiscale OME-Zarr written block by block, whole shards at a time.

zarr loses chunks without a word when two writers share a shard, so here one call writes each shard
once, whole. A level is made from the one before, read back from disk, so memory stays bounded by
one band of shards whatever the size of the volume.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec

from ...configs.errors import InputError
from ..voxel import VoxelSize
from .ngff import build_attributes
from .planes import Progress, ReadBox
from .pyramid import Step, halved, plan_steps, reduce_mean, reduce_mode

if TYPE_CHECKING:
    from zarr.core.array_spec import ArrayConfigLike

Box = tuple[int, int, int]

# A side of up to 96 voxels is one chunk, a longer one is cut into 64s: a 64^3 crop then touches 8
# chunks and unpacks 2.0 million voxels on average; with chunks of 96 it would be 4.0, with 32 fewer
# (0.9), but in 27 pieces.
_WHOLE_SIDE, _CHUNK_SIDE = 96, 64
_SHARD_SIDE = 256
_BAND_BYTES = 2**30
_CONFIG: ArrayConfigLike = {"write_empty_chunks": True}  # not stored: said wherever one writes


@dataclass(frozen=True)
class ZarrPlan:
    """What is written: sizes are (z, y, x); channels lie each in chunks of their own."""

    shape: Box
    channels: int
    dtype: np.dtype
    axes: str
    kind: str
    ngff: str
    name: str
    voxel_size_um: VoxelSize | None
    translation_um: VoxelSize | None
    channel_names: tuple[str, ...]
    chunks: Box | None
    shards: Box | None


def write_zarr(folder: Path, plan: ZarrPlan, read: ReadBox, progress: Progress) -> None:
    """Write the whole pyramid into an empty folder.

    Args:
        folder: is made; should be a temporary place.
        plan: sizes and metadata.
        read: gives a box of one channel of level 0; called once for each voxel.
        progress: told (voxels written, voxels in all) after every block.

    Raises:
        InputError: shards that are no multiple of the chunks.
    """
    begin_zarr(folder, plan)
    level = open_finest(folder)
    total, done = _voxels(plan, _shapes(plan)), 0
    _, shards = layout_of(plan.shape, plan.chunks, plan.shards)
    block = _band(plan.shape, shards, plan.dtype.itemsize)
    for channel, box in itertools.product(range(plan.channels), _boxes(plan.shape, block)):
        lead = (channel,) if "c" in plan.axes else ()
        values = read(channel, box)
        level[(*lead, *box)] = values
        done += values.size
        progress(done, total)
    finish_zarr(folder, plan, progress)


def begin_zarr(folder: Path, plan: ZarrPlan) -> None:
    """Make a store whose finest level waits to be filled; it opens as a volume of one level.

    Args:
        folder: is made, and emptied if something is in it.
        plan: sizes and metadata.

    Raises:
        InputError: shards that are no multiple of the chunks.
    """
    group = zarr.open_group(str(folder), mode="w", zarr_format=2 if plan.ngff == "0.4" else 3)
    _create(group, "0", plan.shape, plan)
    _describe(group, plan, [], (0.0, 1.0))


def open_finest(folder: Path) -> zarr.Array:
    """Level 0 of a store that `begin_zarr` made: to be written, but only by whole shards."""
    level = zarr.open_group(str(folder), mode="r+")["0"]
    assert isinstance(level, zarr.Array)
    return level.with_config(_CONFIG)


def finish_zarr(folder: Path, plan: ZarrPlan, progress: Progress) -> None:
    """Make the coarser levels from a filled finest one, and name them; may be done again.

    Args:
        folder: where `begin_zarr` has made the store.
        plan: the same.
        progress: told (voxels written, voxels in all); level 0 counts as written.
    """
    group = zarr.open_group(str(folder), mode="r+")
    steps, shapes = _steps(plan), _shapes(plan)
    total, done = _voxels(plan, shapes), _voxels(plan, shapes[:1])
    level = open_finest(folder)
    for number, (step, shape) in enumerate(zip(steps, shapes[1:], strict=True), start=1):
        above, level = level, _create(group, str(number), shape, plan)
        _, shards = layout_of(shape, plan.chunks, plan.shards)
        for channel, box in itertools.product(range(plan.channels), _boxes(shape, shards)):
            lead = (channel,) if "c" in plan.axes else ()
            values = _merge(above, lead, box, step, plan.kind)
            level[(*lead, *box)] = values
            done += values.size
            progress(done, total)
    _describe(group, plan, steps, _window(level))


def _steps(plan: ZarrPlan) -> list[Step]:
    chunks, _ = layout_of(plan.shape, plan.chunks, plan.shards)
    return plan_steps(plan.shape, plan.voxel_size_um, max(_WHOLE_SIDE, *chunks))


def _shapes(plan: ZarrPlan) -> list[Box]:
    return list(itertools.accumulate(_steps(plan), halved, initial=plan.shape))


def _voxels(plan: ZarrPlan, shapes: Sequence[Box]) -> int:
    return plan.channels * sum(math.prod(shape) for shape in shapes)


def _describe(
    group: zarr.Group, plan: ZarrPlan, steps: Sequence[Step], intensity: tuple[float, float]
) -> None:
    group.attrs.update(
        build_attributes(
            version=plan.ngff,
            axes=plan.axes,
            name=plan.name,
            paths=[str(number) for number in range(len(steps) + 1)],
            factors=list(itertools.accumulate(steps, _multiply, initial=(1, 1, 1))),
            voxel_size_um=plan.voxel_size_um,
            translation_um=plan.translation_um,
            channel_names=plan.channel_names,
            kind=plan.kind,
            intensity=intensity,
        )
    )


def layout_of(shape: Box, chunks: Box | None, shards: Box | None) -> tuple[Box, Box]:
    """Choose the chunks and shards of one level.

    Args:
        shape: (Z, Y, X) of the level.
        chunks: wanted by the user, or None.
        shards: wanted by the user, or None.

    Raises:
        InputError: sizes below 1, or shards that are no multiple of the chunks.
    """
    chosen = chunks or tuple(size if size <= _WHOLE_SIDE else _CHUNK_SIDE for size in shape)
    if min(*chosen, *(shards or (1,))) < 1:
        raise InputError(f"chunks {chunks} and shards {shards}, expected positive sizes (z, y, x)")
    sides = []
    for axis, (size, chunk) in enumerate(zip(shape, chosen, strict=True)):
        most = -(-size // chunk) * chunk
        side = shards[axis] if shards else max(chunk, _SHARD_SIDE // chunk * chunk)
        if side % chunk and most > chunk:
            raise InputError(f"shards {shards} are no multiple of the chunks {chosen} (z, y, x)")
        sides.append(most if side % chunk else min(side, most))
    return (chosen[0], chosen[1], chosen[2]), (sides[0], sides[1], sides[2])


def _create(group: zarr.Group, name: str, shape: Box, plan: ZarrPlan) -> zarr.Array:
    chunks, shards = layout_of(shape, plan.chunks, plan.shards)
    lead, one = ((plan.channels,), (1,)) if "c" in plan.axes else ((), ())
    # Measured on real volumes, one thread. 96^3 of 16 bits: lz4 with byte shuffle 1.85 times
    # smaller and 0.16 ms to unpack, with bit shuffle 1.90 and 0.5 ms, zstd 2.05 and 1.1 to 1.5 ms.
    # 64^3 of 8 bits: lz4 without shuffle 0.03 ms (labels, 21 times smaller) to 0.09 ms (an image,
    # 1.6 times), with bit shuffle 4 to 6 times as long, zstd 4 to 10 times.
    shuffle = "noshuffle" if plan.dtype.itemsize == 1 else "shuffle"
    common = {"shape": (*lead, *shape), "dtype": plan.dtype, "chunks": (*one, *chunks)}
    # Every chunk is stored, empty ones too, and the store says so: then a missing one is an error.
    common |= {"config": _CONFIG, "attributes": {"luxvox": {"dense": True}}}
    if plan.ngff == "0.4":
        code = {"shuffle": numcodecs.Blosc.SHUFFLE, "noshuffle": numcodecs.Blosc.NOSHUFFLE}
        return group.create_array(
            name,
            overwrite=True,
            compressors=numcodecs.Blosc("lz4", 5, code[shuffle]),
            chunk_key_encoding={"name": "v2", "separator": "/"},
            **common,
        )
    return group.create_array(
        name,
        overwrite=True,
        shards=(*one, *shards),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle=shuffle),
        dimension_names=list(plan.axes),
        **common,
    )


def _band(shape: Box, shards: Box, itemsize: int) -> Box:
    """Grow one shard along x, then y, as far as the memory for a band allows.

    Files that lie plane by plane are then decoded once, or at least seldom.
    """
    block = list(shards)
    for axis in (2, 1):
        bytes_now = math.prod(block) * itemsize
        times = max(1, min(-(-shape[axis] // shards[axis]), _BAND_BYTES // bytes_now))
        block[axis] = shards[axis] * times
    return (block[0], block[1], block[2])


def _boxes(shape: Box, block: Sequence[int]) -> Iterator[tuple[slice, slice, slice]]:
    """Blocks of whole shards, z slowest, that cover a level."""
    corners = (range(0, size, side) for size, side in zip(shape, block, strict=True))
    for z, y, x in itertools.product(*corners):
        yield (
            slice(z, min(z + block[0], shape[0])),
            slice(y, min(y + block[1], shape[1])),
            slice(x, min(x + block[2], shape[2])),
        )


def _merge(
    above: zarr.Array, lead: tuple[int, ...], box: tuple[slice, ...], step: Step, kind: str
) -> np.ndarray:
    """Make one shard of a level from the level before, some planes at a time."""
    reduce = reduce_mean if kind == "image" else reduce_mode
    limits = above.shape[-3:]
    start = [part.start * factor for part, factor in zip(box, step, strict=True)]
    stop = [
        min(part.stop * factor, limit)
        for part, factor, limit in zip(box, step, limits, strict=True)
    ]
    rows = _CHUNK_SIDE * step[0]
    parts = []
    for z in range(start[0], stop[0], rows):
        inner = (
            slice(z, min(z + rows, stop[0])),
            slice(start[1], stop[1]),
            slice(start[2], stop[2]),
        )
        parts.append(reduce(np.asarray(above[(*lead, *inner)]), step))
    return np.concatenate(parts)


def _multiply(factor: Step, step: Step) -> Step:
    return (factor[0] * step[0], factor[1] * step[1], factor[2] * step[2])


def _window(coarsest: zarr.Array) -> tuple[float, float]:
    """Least and greatest finite value of the coarsest level, for viewers."""
    values = np.asarray(coarsest[...])
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)


def list_labels(folder: Path, name: str, ngff: str) -> None:
    """Name labels in the group that holds all labels of an image, as OME-Zarr wants it."""
    group = zarr.open_group(str(folder), mode="a", zarr_format=2 if ngff == "0.4" else 3)
    attributes: dict = group.attrs.asdict()
    stored = attributes if ngff == "0.4" else attributes.get("ome", {})
    names = sorted({*stored.get("labels", []), name})
    if ngff == "0.4":
        group.attrs["labels"] = names
    else:
        group.attrs["ome"] = {"version": ngff, "labels": names}
