"""Weights over an array: normalised image in, probabilities or restored image out, by tiles.

What fine-tuning, evaluation and prediction of files all run, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.tiles import blend_tiles, tile_grid
from ..data.voxel import VoxelSize, format_voxel_size
from .frame import FAR
from .task_weights import TaskWeights, Triple

Precision = Literal["auto", "bf16", "no"]
Progress = Callable[[int, int], None]
"""Told (tiles done, tiles in all)."""


class Maps(NamedTuple):
    """What a model says of every voxel.

    answer: [F, Z, Y, X] float32, see `predict_image`.
    distance: [Z, Y, X] float32 of heads with that channel; None of others.
    """

    answer: NDArray[np.float32]
    distance: NDArray[np.float32] | None


def predict_image(
    weights: TaskWeights,
    image: NDArray[np.float32],
    voxel_size_um: VoxelSize | None = None,
    batch_size: int = 1,
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Segment or restore a whole image.

    Args:
        weights: of a task "segment" or "restore".
        image: [Z, Y, X], normalised; any size. Sides shorter than a patch are filled up by their
            mirror image, and cut back.
        voxel_size_um: (z, y, x); None = not known.
        batch_size: tiles predicted together.
        precision: "auto" = bf16 where the device is fast at it, else float32 ("no").
        progress: told of every batch of tiles.

    Returns:
        [F, Z, Y, X] float32. Segmentation: probabilities, F = 1 of a binary head, else one for each
        class, background included. Restoration: F = 1, normalised like the image.
    """
    return predict_maps(weights, image, voxel_size_um, batch_size, precision, progress).answer


@torch.no_grad()
def predict_maps(
    weights: TaskWeights,
    image: NDArray[np.float32],
    voxel_size_um: VoxelSize | None = None,
    batch_size: int = 1,
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> Maps:
    """As `predict_image`, with the distance channel of heads that have one."""
    tile = weights.task.tile
    overlap = (tile[0] // 4, tile[1] // 4, tile[2] // 4)
    total = len(tile_grid((image.shape[0], image.shape[1], image.shape[2]), tile, overlap))
    done = 0

    def answers(tiles: Tensor) -> Tensor:
        nonlocal done
        found = predict_tiles(weights, tiles, voxel_size_um, precision)
        done += len(tiles)
        if progress is not None:
            progress(done, total)
        return found

    whole = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
    maps = blend_tiles(answers, whole, tile, overlap, batch_size=batch_size).numpy()
    with_distance = has_distance(weights)
    return Maps(maps[:-1] if with_distance else maps, maps[-1] if with_distance else None)


@torch.no_grad()
def classify_image(
    weights: TaskWeights,
    image: NDArray[np.float32],
    voxel_size_um: VoxelSize | None = None,
    precision: Precision = "auto",
) -> NDArray[np.float32]:
    """Probabilities [K] of the classes: the mean over tiles that cover the image.

    Arguments as `predict_image`; the task is "classify".
    """
    filled = _fill(image, weights.model.encoder.config.patch)
    shape = (filled.shape[0], filled.shape[1], filled.shape[2])
    device = next(weights.model.parameters()).device
    found = []
    for z, y, x in tile_grid(shape, weights.task.tile, (0, 0, 0)):
        tile = torch.from_numpy(filled[z, y, x])[None, None].to(device)
        size, known = spacing(voxel_size_um, 1, device)
        with autocast(device, precision):
            logits = weights.model.classify(tile, size, known, head=weights.task.head)
        found.append(logits.float().softmax(1)[0])
    return torch.stack(found).mean(0).cpu().numpy()


def voxel_size_warning(weights: TaskWeights, voxel_size_um: VoxelSize | None) -> str | None:
    """One line where voxels are far from those that the weights were trained on, else None.

    Args:
        weights: which know what they were trained on, or not.
        voxel_size_um: (z, y, x) of the volume.
    """
    own = weights.task.voxel_size_um
    trained = (own, own) if own is not None else weights.voxel_range_um
    if trained is None or voxel_size_um is None:
        return None
    triples = list(zip("zyx", voxel_size_um, *trained, strict=True))
    coarse = [axis for axis, size, _, largest in triples if size > FAR * largest]
    fine = [axis for axis, size, smallest, _ in triples if size < smallest / FAR]
    if not coarse and not fine:
        return None
    suffers = [
        f"coarser along {', '.join(coarse)}: small and thin objects will be missed, near ones merge"
        if coarse
        else "",
        f"finer along {', '.join(fine)}: large objects will be hollow or fall apart, noise is found"
        if fine
        else "",
    ]
    low, high = (format_voxel_size(size) for size in trained)
    span = low if low == high else f"{low} to {high}"
    return (
        f"voxels of {format_voxel_size(voxel_size_um)}, but {weights.where} was trained on {span}; "
        f"{' and '.join(filter(None, suffers))}; resample the volume, or fine-tune on a crop of it"
    )


def bf16_or_no(precision: Precision, device: torch.device) -> Literal["bf16", "no"]:
    """What "auto" comes to on a device: bf16 where it is fast at that, else float32 ("no")."""
    if precision == "auto":
        return "bf16" if _fast_bf16(device) else "no"
    return precision


@torch.no_grad()
def predict_tiles(
    weights: TaskWeights, tiles: Tensor, voxel_size_um: VoxelSize | None, precision: Precision
) -> Tensor:
    """[N, 1, z, y, x] tiles -> [N, F, z, y, x] float32 on the device of the model.

    Sides below a patch are filled up by their mirror image, and cut back. The mean over mirror
    images where the task asks for it. Heads with a distance channel have it last.
    """
    device = next(weights.model.parameters()).device
    z, y, x = tiles.shape[2:]
    tiles = tiles.to(device)
    for axis, edge in enumerate(weights.model.encoder.config.patch, start=2):
        tiles = _mirror_filled(tiles, axis, edge)
    views = ((), (3,), (4,), (3, 4)) if weights.task.tta else ((),)
    found = [
        _answer(weights, tiles.flip(axes), voxel_size_um, precision).flip(axes) for axes in views
    ]
    answer = torch.stack(found).mean(0) if len(found) > 1 else found[0]
    return answer[:, :, :z, :y, :x]


def _answer(
    weights: TaskWeights, tiles: Tensor, voxel_size_um: VoxelSize | None, precision: Precision
) -> Tensor:
    count, device = len(tiles), tiles.device
    size, known = spacing(voxel_size_um, count, device)
    named = weights.condition
    named = None if named is None else named.to(device).expand(count, -1)
    with autocast(device, precision):
        if weights.task.task == "restore":
            head = weights.task.head
            return weights.model.restore(tiles, size, known, named, head=head).float()
        found = weights.model.segment(tiles, size, known, named, head=weights.task.head)
    logits = found.logits.float()
    answer = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
    return answer if found.distance is None else torch.cat([answer, found.distance.float()], 1)


def _mirror_filled(tiles: Tensor, axis: int, edge: int) -> Tensor:
    """No shorter than an edge along an axis: its own mirror image follows, as often as it takes."""
    side = tiles.shape[axis]
    if side >= edge:
        return tiles
    places = torch.arange(edge, device=tiles.device) % (2 * side)
    return tiles.index_select(axis, torch.where(places < side, places, 2 * side - 1 - places))


def has_distance(weights: TaskWeights) -> bool:
    """Whether the head of the task gives a distance channel as well."""
    return bool(getattr(weights.model.config.heads[weights.task.head], "distance", False))


def spacing(
    voxel_size_um: VoxelSize | None, count: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """[B, 3] sizes and [B] whether they are known, as the model takes them."""
    size = torch.tensor([voxel_size_um or (1.0, 1.0, 1.0)], device=device)
    known = torch.tensor([voxel_size_um is not None], device=device)
    return size.expand(count, 3), known.expand(count)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """In what the model computes on a device; one precision for each call.

    Not accelerate's: that one is settled once for the whole process.
    """
    chosen = bf16_or_no(precision, device)
    return torch.autocast(device.type, torch.bfloat16) if chosen == "bf16" else nullcontext()


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # A private name of torch: where it is gone, float32 is right everywhere.
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and ask is not None and bool(ask())


def _fill(image: NDArray[np.float32], patch: Triple) -> NDArray[np.float32]:
    """Sides shorter than a patch filled up by their mirror image."""
    missing = [max(0, p - n) for p, n in zip(patch, image.shape, strict=True)]
    filled = np.pad(image, [(0, m) for m in missing], mode="symmetric") if any(missing) else image
    return np.ascontiguousarray(filled, dtype=np.float32)
