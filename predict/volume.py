"""One file in, one file out: a volume is segmented or restored on its own grid, in memory.

Volumes larger than memory belong to the engine that goes block by block.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError
from ..data.normalize import measure_intensity, normalize
from ..data.resample import How
from ..data.save import labels_store, save_labels, save_volume
from ..data.volume import Volume
from ..data.voxel import VoxelSize
from .blockwise_request import output_of, task_frame
from .image import Precision, Progress, predict_maps, voxel_size_warning
from .instances import split_objects
from .memory import need_memory
from .task_weights import TaskWeights


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
        volume: of one channel. Where its voxels are more than twice as fine or coarse as those of
            the training, a coarser level is used, or a resampled one.
        threshold: of binary segmentation, in place of that of the weights.
        probabilities: give them in place of labels.
        instances: number the objects of a binary segmentation, touching ones apart.
        precision: see `image.predict_image`.
        progress: told (tiles done, tiles in all).

    Returns:
        On the grid of the finest level. Labels [Z, Y, X]: uint8 0 and 1 of one foreground, the
        values that were learnt from of several, uint32 of instances. Probabilities: [Z, Y, X]
        float32, of several classes [F, Z, Y, X]. Restored: [Z, Y, X] float32 in the intensity units
        of the volume.

    Raises:
        InputError: several channels, a task that gives no image, an option that does not fit the
            task, too little memory, or a volume without signal.
    """
    check_request(weights, volume, threshold, probabilities, instances)
    if weights.task.task == "classify":
        raise InputError(
            f"{weights.where}: classifies whole tiles, expected weights that segment or restore; "
            "luxvox predict writes a map of the classes, luxvox evaluate gives that of every row"
        )
    need_memory(
        memory_for(weights, volume, instances),
        f"{volume.path}: {' x '.join(map(str, volume.shape))} voxels",
        "predict it block by block into a name in .ome.zarr, or give a smaller part of it",
    )
    frame = task_frame(weights, volume)
    level = volume.levels[frame.level]
    size = frame.seen_um(level)
    warning = voxel_size_warning(weights, size)
    if warning is not None:
        print(f"warning: {volume.path}: {warning}", file=sys.stderr)
    stats, seen = measure_intensity(volume), _whole(frame.seen)
    raw = frame.cut(volume.read(level=frame.level)[0], _whole(frame.voxels), seen)
    image = normalize(raw, stats).astype(np.float32, copy=False)
    maps = predict_maps(weights, image, size, 1, precision, progress)

    def back(values: NDArray, how: How = "linear") -> NDArray[Any]:
        return frame.back(values, seen, _whole(frame.stored), how)

    output = output_of(weights, threshold, probabilities)
    values = output.values(maps.answer, stats)
    if not instances:
        return back(values, "nearest" if output.is_labels else "linear")
    distance = None if maps.distance is None else back(maps.distance)
    return split_objects(back(values, "nearest") > 0, volume.voxel_size_um, distance)


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
    ngff: Literal["0.4", "0.5"] = "0.5",
    translation_um: VoxelSize | None = None,
) -> Path:
    """Write what `predict_volume` gave, with the voxel size of the volume; integers are labels.

    Args:
        result: [Z, Y, X] or [F, Z, Y, X].
        out: a name in .ome.zarr, .ome.tif or .nii.gz; labels may go into a store:
            STORE/labels/NAME.
        voxel_size_um: (z, y, x); None = not known.
        overwrite: replace what stands there.
        ngff: version of OME-Zarr; labels in a store have that of the store.
        translation_um: (z, y, x) of the centre of the first voxel.

    Raises:
        InputError: as `data.save`; or an image for STORE/labels.
    """
    path = Path(out).expanduser()
    store, labels = labels_store(path), result.dtype.kind in "ui"
    if store is None:
        return save_volume(
            result, path, voxel_size_um=voxel_size_um, axes="zyx" if result.ndim == 3 else "czyx",
            kind="labels" if labels else "image", overwrite=overwrite, ngff=ngff,
            translation_um=translation_um,
        )  # fmt: skip
    if not labels:
        raise InputError(
            f"{path}: an image of {result.dtype}, expected labels in that place; give a name in "
            ".ome.zarr, .ome.tif or .nii.gz"
        )
    return save_labels(
        result, store, path.name, voxel_size_um=voxel_size_um, overwrite=overwrite,
        ngff="0.5" if (store / "zarr.json").exists() else "0.4", translation_um=translation_um,
    )  # fmt: skip


def check_request(
    weights: TaskWeights,
    volume: Volume,
    threshold: float | None,
    probabilities: bool,
    instances: bool,
) -> None:
    """Refuse options that do not fit the weights, and volumes of several channels.

    Arguments as `predict_volume`.

    Raises:
        InputError: which option, and why.
    """
    task, where = weights.task, weights.where
    several = len(task.classes) > 1
    for option, given, fits in (
        ("--threshold", threshold is not None, task.task == "segment" and not several),
        ("--instances", instances, task.task == "segment" and not several),
        ("--probabilities", probabilities, task.task != "restore"),
    ):
        if given and not fits:
            what = "several classes" if several else f"task {task.task!r}"
            raise InputError(f"{where}: {option} does not fit {what}; leave it out")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"--threshold is {threshold:g}, expected 0 to 1, a probability")
    if probabilities and instances:
        raise InputError("--probabilities and --instances ask for two results; choose one")
    one_channel(volume)


def one_channel(volume: Volume) -> None:
    """Refuse a volume of several channels.

    Raises:
        InputError: it names them.
    """
    if volume.num_channels > 1:
        names = ", ".join(f"{i} {name!r}" for i, name in enumerate(volume.channel_names))
        raise InputError(
            f"{volume.path}: {volume.num_channels} channels ({names}), expected one; choose it "
            "with --channel"
        )


def memory_for(weights: TaskWeights, volume: Volume, instances: bool) -> int:
    """Bytes that prediction in memory takes at most."""
    voxels = int(np.prod(volume.shape, dtype=np.int64))
    # The file, the image and a padded copy, the sum of tiles, its quotient, their weights, labels.
    channels = max(1, len(weights.task.classes)) + 1
    each = volume.dtype.itemsize + 4 * (2 + 2 * channels + 1) + 8 + (16 if instances else 0)
    return voxels * each


def choose_device(name: str) -> str:
    """Where to run: "auto" is a GPU where there is one.

    Raises:
        InputError: a GPU, and torch finds none.
    """
    import torch

    there = torch.cuda.is_available()
    if name.startswith("cuda") and not there:
        raise InputError(
            f"device {name}: torch finds no such GPU here; leave it out, or see luxvox doctor"
        )
    return name if name != "auto" else "cuda" if there else "cpu"


def _whole(shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])
