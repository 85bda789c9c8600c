"""One file in, one file out: a volume is segmented or restored on its own grid, in memory.

Volumes larger than memory belong to the engine that goes block by block.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressLine

from ..configs.errors import InputError
from ..data.normalize import denormalize, measure_intensity, normalize
from ..data.open import open_volume
from ..data.save import check_out, labels_store, save_labels, save_volume
from ..data.volume import Volume
from ..data.voxel import VoxelSize, parse_voxel_size
from .image import Precision, Progress, predict_maps, voxel_size_warning
from .instances import split_objects
from .memory import free_memory, need_memory
from .sbatch import command_words
from .task_weights import Task, TaskWeights, load_task

if TYPE_CHECKING:
    from .blockwise_command import BlockOptions


def predict_command(
    weights: str,
    volume: str,
    out: str,
    task: Task | None = None,
    structure: str | None = None,
    *,
    threshold: float | None = None,
    probabilities: bool = False,
    instances: bool = False,
    channel: str | None = None,
    voxel_size: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    blocks: BlockOptions | None = None,
) -> bool:
    """Predict one volume and say what was found; the body of `luxvox predict`.

    What does not fit into memory goes block by block, if it can be written that way.

    Args:
        weights: a RUN, a folder of weights, or a name that ships.
        volume: any path that `open_volume` takes.
        out: a name in .ome.zarr, .ome.tif or .nii.gz, or STORE.ome.zarr/labels/NAME.
        task: of pretrained weights. structure: the same; text that names the foreground.
        threshold: see `predict_volume`. probabilities, instances: the same.
        channel: by index or name; needed where there are several.
        voxel_size: "z y x" in um, in place of what the file says.
        device: "auto", "cpu" or "cuda".
        overwrite: replace what stands at `out`.
        blocks: options of prediction by blocks; any of them asks for it.

    Returns:
        Whether all of the volume could be read.

    Raises:
        InputError: anything that the user can mend.
    """
    from .blockwise_command import BlockOptions, predict_whole

    blocks = blocks or BlockOptions()
    size = None if voxel_size is None else parse_voxel_size(voxel_size, "--voxel-size")
    opened = open_volume(volume, channel=channel, voxel_size_um=size)
    check_out(out, overwrite=overwrite or blocks.asked, source=opened)
    loaded = load_task(weights, task, structure, choose_device(device)).asked(structure)
    need_name(loaded)
    _check(loaded, opened, threshold, probabilities, instances)
    if blocks.asked or (_too_large(loaded, opened, instances) and ".zarr" in out):
        asked = {
            "task": task, "structure": structure, "threshold": threshold,
            "probabilities": probabilities, "instances": instances, "channel": channel,
            "voxel_size": voxel_size, "device": device,
        }  # fmt: skip
        return predict_whole(
            loaded, opened, out, blocks, threshold=threshold, probabilities=probabilities,
            instances=instances, overwrite=overwrite,
            command=command_words(["luxvox", "predict", weights, volume, out], asked),
        )  # fmt: skip
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with ProgressLine(*columns, TimeRemainingColumn()) as line:
        tiles = line.add_task("tiles", total=None)
        result = predict_volume(
            loaded, opened, threshold=threshold, probabilities=probabilities, instances=instances,
            progress=lambda done, total: line.update(tiles, completed=done, total=total),
        )  # fmt: skip
    path = save_result(result, out, opened.voxel_size_um, overwrite=overwrite)
    print(f"{path}: {_says(result, instances)} in {time.monotonic() - began:.1f} s")
    return True


def predict_volume(
    weights: TaskWeights,
    volume: Volume,
    *,
    threshold: float | None = None,
    probabilities: bool = False,
    instances: bool = False,
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> NDArray[Any]:
    """Predict an open volume of one channel.

    Args:
        weights: of a task "segment" or "restore".
        volume: of one channel; its finest level is used.
        threshold: of binary segmentation, in place of that of the weights.
        probabilities: give them in place of labels.
        instances: number the objects of a binary segmentation, touching ones apart.
        precision: see `image.predict_image`.
        progress: told (tiles done, tiles in all).

    Returns:
        Labels [Z, Y, X]: uint8 0 and 1 of one foreground, the label values that were learnt from of
        several, uint32 of instances. Probabilities: [Z, Y, X] float32, of several classes
        [F, Z, Y, X]. Restored: [Z, Y, X] float32 in the intensity units of the volume.

    Raises:
        InputError: several channels, a task that gives no image, an option that does not fit the
            task, too little memory, or a volume without signal.
    """
    _check(weights, volume, threshold, probabilities, instances)
    need_memory(
        _memory(weights, volume, instances),
        f"{volume.path}: {' x '.join(map(str, volume.shape))} voxels",
        "predict it block by block into a name in .ome.zarr, or give a smaller part of it",
    )
    warning = voxel_size_warning(weights, volume.voxel_size_um)
    if warning is not None:
        print(f"warning: {volume.path}: {warning}", file=sys.stderr)
    stats = measure_intensity(volume)
    image = normalize(volume.read()[0], stats).astype(np.float32, copy=False)
    maps = predict_maps(weights, image, volume.voxel_size_um, 1, precision, progress)
    if weights.task.task == "restore":
        return denormalize(maps.answer[0].astype(np.float64), stats).astype(np.float32)
    if probabilities:
        return maps.answer if len(maps.answer) > 1 else maps.answer[0]
    if threshold is not None:
        weights = replace(weights, task=weights.task.model_copy(update={"threshold": threshold}))
    found = found_labels(weights, maps.answer)
    if instances:
        return split_objects(found > 0, volume.voxel_size_um, maps.distance)
    if not weights.task.label_values:
        return found.astype(np.uint8)
    values = np.array(weights.task.label_values)
    return values.astype(np.result_type(*map(np.min_scalar_type, weights.task.label_values)))[found]


def need_name(weights: TaskWeights) -> None:
    """Refuse to segment with pretrained weights that were not told what to find.

    Raises:
        InputError: no structure is named.
    """
    if weights.task.task == "segment" and weights.condition is None and not weights.fine_tuned:
        raise InputError(
            f"{weights.where}: pretrained weights segment what you name; give --structure, such as "
            '--structure "blood vessels"'
        )


def found_labels(weights: TaskWeights, probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Classes [Z, Y, X] of probabilities [F, Z, Y, X]: 0 = background, then 1, 2, ..."""
    if len(probabilities) == 1:
        return (probabilities[0] > weights.task.threshold).astype(np.int64)
    return probabilities.argmax(0)


def save_result(
    result: NDArray[Any],
    out: str | Path,
    voxel_size_um: VoxelSize | None,
    overwrite: bool = False,
) -> Path:
    """Write what `predict_volume` gave, with the voxel size of the volume; integers are labels.

    Args:
        result: [Z, Y, X] or [F, Z, Y, X].
        out: a name in .ome.zarr, .ome.tif or .nii.gz; labels may go into a store:
            STORE/labels/NAME.
        voxel_size_um: (z, y, x); None = not known.
        overwrite: replace what stands there.

    Raises:
        InputError: as `data.save`; or an image for STORE/labels.
    """
    path = Path(out).expanduser()
    store, labels = labels_store(path), result.dtype.kind in "ui"
    if store is None:
        return save_volume(
            result, path, voxel_size_um=voxel_size_um, axes="zyx" if result.ndim == 3 else "czyx",
            kind="labels" if labels else "image", overwrite=overwrite,
        )  # fmt: skip
    if not labels:
        raise InputError(
            f"{path}: an image of {result.dtype}, expected labels in that place; give a name in "
            ".ome.zarr, .ome.tif or .nii.gz"
        )
    ngff = "0.5" if (store / "zarr.json").exists() else "0.4"
    return save_labels(
        result, store, path.name, voxel_size_um=voxel_size_um, ngff=ngff, overwrite=overwrite
    )


def _check(
    weights: TaskWeights,
    volume: Volume,
    threshold: float | None,
    probabilities: bool,
    instances: bool,
) -> None:
    task, where = weights.task, weights.where
    if task.task == "classify":
        raise InputError(
            f"{where}: classifies whole crops, expected weights that segment or restore; luxvox "
            "evaluate gives the class of every row of a list"
        )
    several = len(task.classes) > 1
    for option, given, fits in (
        ("--threshold", threshold is not None, task.task == "segment" and not several),
        ("--instances", instances, task.task == "segment" and not several),
        ("--probabilities", probabilities, task.task == "segment"),
    ):
        if given and not fits:
            what = "several classes" if several else f"task {task.task!r}"
            raise InputError(f"{where}: {option} does not fit {what}; leave it out")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"--threshold is {threshold:g}, expected 0 to 1, a probability")
    if probabilities and instances:
        raise InputError("--probabilities and --instances ask for two results; choose one")
    if volume.num_channels > 1:
        names = ", ".join(f"{i} {name!r}" for i, name in enumerate(volume.channel_names))
        raise InputError(
            f"{volume.path}: {volume.num_channels} channels ({names}), expected one; choose it "
            "with --channel"
        )


def _memory(weights: TaskWeights, volume: Volume, instances: bool) -> int:
    """Bytes that prediction in memory takes at most."""
    voxels = int(np.prod(volume.shape, dtype=np.int64))
    # The file, the image and a padded copy, the sum of tiles, its quotient, their weights, labels.
    channels = max(1, len(weights.task.classes)) + 1
    each = volume.dtype.itemsize + 4 * (2 + 2 * channels + 1) + 8 + (16 if instances else 0)
    return voxels * each


def _too_large(weights: TaskWeights, volume: Volume, instances: bool) -> bool:
    free = free_memory()
    return free is not None and _memory(weights, volume, instances) > free


def choose_device(name: str) -> str:
    """Where to run: "auto" is a GPU where there is one.

    Raises:
        InputError: "cuda", and torch finds none.
    """
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError("--device is cuda, and torch finds none here; leave it out, or see doctor")
    return name if name != "auto" else "cuda" if there else "cpu"


def _says(result: NDArray[Any], instances: bool) -> str:
    if result.dtype.kind == "f":
        return f"{result.dtype} image of {' x '.join(map(str, result.shape))}"
    if instances:
        return f"{int(result.max(initial=0))} objects"
    return f"{float((result > 0).mean()):.2%} of the voxels are foreground"
