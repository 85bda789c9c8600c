"""`luxvox predict`: what is asked for, whether it fits into memory, and what is said of it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressLine

from ..configs.errors import InputError
from ..data.block_tiff import is_tiff
from ..data.open import open_volume
from ..data.save import check_out
from ..data.volume import Volume
from ..data.voxel import format_voxel_size, parse_voxel_size
from .blockwise_command import BlockOptions, own_device, predict_whole
from .blockwise_request import output_of, request_task, structure_names
from .memory import free_memory
from .outcome import Outcome, check_tables
from .sbatch import command_words
from .tables.command import says
from .task_weights import Task, TaskWeights, load_task
from .token_request import load_tokens, request_tokens
from .volume import (
    check_request,
    choose_device,
    memory_for,
    need_name,
    one_channel,
    predict_volume,
    save_result,
)


def predict_command(
    weights: str,
    volume: str,
    out: str,
    task: Task | Literal["embed"] | None = None,
    structure: str | None = None,
    *,
    threshold: float | None = None,
    probabilities: bool = False,
    instances: bool = False,
    tables: bool = False,
    flips: bool = False,
    channel: str | None = None,
    voxel_size: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    ngff: Literal["0.4", "0.5"] = "0.5",
    blocks: BlockOptions | None = None,
) -> bool:
    """Predict one volume and say what was found; the body of `luxvox predict`.

    What does not fit into memory goes block by block, if it can be written that way; maps of
    embeddings and classes always do.

    Args:
        weights: a RUN, a folder of weights, or a name that ships.
        volume: any path that `open_volume` takes.
        out: a name in .ome.zarr, .ome.tif or .nii.gz, or STORE.ome.zarr/labels/NAME.
        task: of pretrained weights; "embed" of any. structure: text that names the foreground.
        threshold: see `predict_volume`. probabilities, instances: the same.
        tables: measure the labels, and write a page.
        flips: the mean over mirror images, see `TaskConfig.tta`.
        channel: by index or name; needed where there are several.
        voxel_size: "z y x" in um, in place of what the file says.
        device: "auto", "cpu" or "cuda".
        overwrite: replace what stands at `out`.
        ngff: version of OME-Zarr.
        blocks: options of prediction by blocks; any of them asks for it.

    Returns:
        Whether all of the volume could be read.

    Raises:
        InputError: anything that the user can mend.
    """
    blocks = blocks or BlockOptions()
    size = None if voxel_size is None else parse_voxel_size(voxel_size, "--voxel-size")
    opened = open_volume(volume, channel=channel, voxel_size_um=size)
    check_out(out, overwrite=overwrite or blocks.asked, source=opened)
    where = own_device(choose_device(device))
    asked = {
        "task": task, "structure": structure, "threshold": threshold,
        "probabilities": probabilities, "instances": instances, "tables": tables,
        "flips": flips, "channel": channel, "voxel_size": voxel_size, "device": device,
        "ngff": None if ngff == "0.5" else ngff,
    }  # fmt: skip
    command = command_words(["luxvox", "predict", weights, volume, out], asked)
    if task == "embed":
        _only_embed(weights, structure, threshold, probabilities, instances, tables, flips)
        one_channel(opened)
        request = request_tokens(load_tokens(weights, where), opened, out, ngff)
        return predict_whole(request, blocks, overwrite=overwrite, command=command)
    loaded = load_task(weights, task, structure, where).asked(structure)
    loaded = loaded.flipped() if flips else loaded
    need_name(loaded)
    check_request(loaded, opened, threshold, probabilities, instances)
    too_large = _too_large(loaded, opened, instances) and (".zarr" in out or is_tiff(Path(out)))
    if blocks.asked or too_large or loaded.task.task == "classify":
        request = request_task(
            loaded, opened, out, threshold=threshold, probabilities=probabilities,
            instances=instances, tables=tables, ngff=ngff,
        )  # fmt: skip
        return predict_whole(request, blocks, overwrite=overwrite, command=command)
    output = output_of(loaded, threshold, probabilities)
    if tables:
        check_tables(output)
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with ProgressLine(*columns, TimeRemainingColumn()) as line:
        tiles = line.add_task("tiles", total=None)
        result = predict_volume(
            loaded, opened, threshold=threshold, probabilities=probabilities, instances=instances,
            progress=lambda done, total: line.update(tiles, completed=done, total=total),
        )  # fmt: skip
    path = save_result(
        result, out, opened.voxel_size_um, overwrite=overwrite, ngff=ngff,
        translation_um=opened.levels[0].translation_um,
    )  # fmt: skip
    print(f"{path}: {_says(result, instances)} in {time.monotonic() - began:.1f} s")
    outcome = Outcome(opened, path, output, instances, structure_names(loaded))
    outcome.clear()
    if tables:
        _measure(outcome, time.monotonic() - began)
    return True


def _measure(outcome: Outcome, seconds: float) -> None:
    """Write the tables and the page of what was predicted in memory."""
    found = outcome.measure()
    shape = outcome.image.shape
    facts = [
        ("voxels (z, y, x)", " x ".join(map(str, shape))),
        ("voxel size", format_voxel_size(outcome.image.voxel_size_um)),
        ("speed", f"{math.prod(shape) / seconds:.3g} voxels/s, in memory"),
    ]
    lead = f"{outcome.output.what} of {Path(outcome.image.path).name}"
    page = outcome.report(lead, facts, "", found)
    print(f"{outcome.tables}: {says(found, outcome.instances)}; {page}")


def _only_embed(
    weights: str,
    structure: str | None,
    threshold: float | None,
    probabilities: bool,
    instances: bool,
    tables: bool,
    flips: bool,
) -> None:
    for option, given in (
        ("--structure", structure is not None),
        ("--threshold", threshold is not None),
        ("--probabilities", probabilities),
        ("--instances", instances),
        ("--tables", tables),
        ("--flips", flips),
    ):
        if given:
            raise InputError(f"{weights}: {option} does not fit --task embed; leave it out")


def _too_large(weights: TaskWeights, volume: Volume, instances: bool) -> bool:
    free = free_memory()
    return free is not None and memory_for(weights, volume, instances) > free


def _says(result: NDArray[Any], instances: bool) -> str:
    if result.dtype.kind == "f":
        return f"{result.dtype} image of {' x '.join(map(str, result.shape))}"
    if instances:
        return f"{int(result.max(initial=0))} objects"
    return f"{float((result > 0).mean()):.2%} of the voxels are foreground"
