"""`luxvox simulate`: volumes, labels, captions and optics on disk, and the list that names them."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from rich.progress import track

from ...configs.errors import InputError
from ...configs.load import load_recipe
from ...configs.whole_file import whole_file
from ..save import save_labels, save_volume
from .catalogue import choose
from .describe import caption, short_templates, wordings
from .grid import Grid
from .recipe import SimulateRecipe
from .sample import Sample, make_sample

COLUMNS = (
    "id", "image", "labels", "target", "class", "group", "split", "stain", "structure", "caption",
    "voxel_size_um", "axes", "foreground_label", "na", "wavelength_nm", "refractive_index",
)  # fmt: skip
Format = Literal["ome-zarr", "tiff"]

_BYTES_A_VOXEL = 64  # of the fine grid, at the peak of drawing and rendering; measured
_TABLE = "dataset.csv"


def simulate_command(
    out: str | Path,
    *,
    count: int,
    seed: int,
    structures: str | None = None,
    format: Format = "ome-zarr",
    overrides: list[str] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    recipe: str = "simulate/brain.yaml",
) -> Path:
    """Read the recipe, simulate, and say what was written."""
    words = list(overrides or [])
    if structures is not None:
        words.append(f"structures=[{structures}]")
    plan = load_recipe(recipe, SimulateRecipe, words)
    table = simulate(
        out, plan, count=count, seed=seed, format=format, workers=workers, overwrite=overwrite
    )
    print(f"{count} volumes, their labels and captions: {table}")
    return table


def simulate(
    out: str | Path,
    recipe: SimulateRecipe,
    *,
    count: int,
    seed: int,
    format: Format = "ome-zarr",
    workers: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write simulated volumes; the same bytes whatever the number of workers.

    For each volume: the image; labels, instances and centrelines of every structure that is there;
    the clean dye as `target`; and a JSON file with all parameters and wordings. The list comes
    last: a folder without `dataset.csv` was not finished, and the same command with `overwrite`
    finishes it.

    Args:
        out: folder, made if needed.
        recipe: ranges of everything.
        count: how many volumes.
        seed: 0 or above.
        format: "ome-zarr" (labels inside the store of the image) or "tiff" (labels beside it).
        workers: processes; None takes one for each core.
        overwrite: go on in a folder that is not empty; files of the same name are replaced.

    Returns:
        Path of `dataset.csv`.

    Raises:
        InputError: numbers out of range, unknown structures, too large for the memory, or a folder
            that is not empty.
    """
    if count < 1 or seed < 0 or min(recipe.size) < 1:
        raise InputError(
            f"simulate: count {count}, seed {seed}, size {recipe.size}: expected a count and sides "
            "of at least 1 and a seed of at least 0"
        )
    choose(recipe.structures)
    _warn_thin_sheet(recipe)
    processes = min(count, workers or os.cpu_count() or 1)
    processes = _check_memory(recipe, processes)
    folder = _folder(Path(out).expanduser(), overwrite)
    write = partial(_write_sample, recipe=recipe, seed=seed, folder=folder, format=format)
    rows = list(track(_spread(write, count, processes), "simulating", total=count))
    with (
        whole_file(folder / _TABLE) as draft,
        draft.open("w", newline="", encoding="utf-8") as file,
    ):
        names: list[str] = list(COLUMNS)
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder / _TABLE


def _spread(write: partial, count: int, processes: int) -> Iterator[dict[str, str]]:
    """Rows in order, made by one or several processes."""
    if processes == 1:
        yield from map(write, range(count))
        return
    # Fresh processes, not forks: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context)
    try:
        yield from pool.map(write, range(count))
    except BrokenProcessPool:
        raise InputError(
            "simulate: a worker was killed, most often for want of memory; use fewer --workers or "
            "a smaller size, and --overwrite to go on in this folder"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _write_sample(
    number: int, *, recipe: SimulateRecipe, seed: int, folder: Path, format: Format
) -> dict[str, str]:
    """Make one sample, write its files, and give its row."""
    sample = make_sample(recipe, seed, number)
    name = f"sim_{number:05d}"
    files = (
        _write_tiff(sample, folder, name) if format == "tiff" else _write_zarr(sample, folder, name)
    )
    scene, optics, facts = sample.scene, sample.optics, sample.facts
    known = {
        "seed": seed,
        "sample": number,
        "stained": list(scene.stained),
        "structures": sorted(scene.drawings),
        "facts": vars(facts),
        "wordings": wordings(facts),
        "short": short_templates(facts),
        "optics": {key: _finite(value) for key, value in optics.items()},
    }
    text = json.dumps(known, indent=1) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return {
        "id": name,
        **files,
        "class": scene.main.name,
        "group": f"sim_{seed}_{number:05d}",
        "split": _split(number, recipe),
        "stain": scene.stain,
        "structure": scene.main.title,
        "caption": caption(facts),
        "voxel_size_um": " ".join(f"{side:.6g}" for side in scene.grid.voxel_size_um),
        "axes": "zyx",
        "foreground_label": "1",
        "na": f"{optics['na']:.4g}",
        "wavelength_nm": f"{1000 * optics['wavelength_um']:.4g}",
        "refractive_index": f"{optics['index']:.4g}",
    }


def _layers(sample: Sample) -> Iterator[tuple[str, np.ndarray]]:
    """Labels of every structure of a scene, by name: semantic, instances, centreline."""
    for name in sorted(sample.scene.drawings):
        yield name, sample.scene.labels(name)
        yield f"{name}_instances", _smallest(sample.scene.instances(name))
        middle = sample.scene.centreline(name)
        if middle is not None:
            yield f"{name}_centreline", middle


def _write_zarr(sample: Sample, folder: Path, name: str) -> dict[str, str]:
    store, clean = f"{name}.ome.zarr", f"{name}_clean.ome.zarr"
    size = sample.scene.grid.voxel_size_um
    save_volume(sample.image, folder / store, voxel_size_um=size, overwrite=True)
    save_volume(sample.clean(), folder / clean, voxel_size_um=size, overwrite=True)
    for layer, values in _layers(sample):
        save_labels(values, folder / store, layer, voxel_size_um=size, overwrite=True)
    labels = f"{store}/labels/{sample.scene.main.name}"
    return {"image": store, "labels": labels, "target": clean}


def _write_tiff(sample: Sample, folder: Path, name: str) -> dict[str, str]:
    size = sample.scene.grid.voxel_size_um
    image, clean = f"{name}.ome.tif", f"{name}_clean.ome.tif"
    save_volume(sample.image, folder / image, voxel_size_um=size, overwrite=True)
    save_volume(sample.clean(), folder / clean, voxel_size_um=size, overwrite=True)
    for layer, values in _layers(sample):
        file = folder / f"{name}_{layer}_label.ome.tif"
        save_volume(values, file, voxel_size_um=size, kind="labels", overwrite=True)
    labels = f"{name}_{sample.scene.main.name}_label.ome.tif"
    return {"image": image, "labels": labels, "target": clean}


def _split(number: int, recipe: SimulateRecipe) -> str:
    """Hold whole rounds of structures back, evenly spread, so that every kind is in both splits."""
    turn = number // len(recipe.structures)
    share = recipe.val_share
    return "val" if int((turn + 1) * share) > int(turn * share) else "train"


def _smallest(instances: np.ndarray) -> np.ndarray:
    """The same numbers in 16 bits where they fit."""
    return instances.astype(np.uint16 if instances.max(initial=0) < 2**16 else np.uint32)


def _finite(value: float) -> float | None:
    """JSON knows no infinity: no attenuation is written as null."""
    return value if np.isfinite(value) else None


def _folder(folder: Path, overwrite: bool) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not overwrite and any(folder.iterdir()):
            raise InputError(
                f"{folder}: not empty; give another folder, or --overwrite to replace volumes of "
                "the same names"
            )
        (folder / _TABLE).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return folder


def _warn_thin_sheet(recipe: SimulateRecipe) -> None:
    """Say once, not in every process, that the thinnest sheet falls between the finest planes."""
    sheet_um, plane_um = 2 * recipe.optics.sheet_waist_um[0], recipe.pixel_um[1]
    if sheet_um < plane_um:
        print(
            f"warning: light sheets of {sheet_um:g} um are thinner than voxels of {plane_um:g} um: "
            "what lies between two planes is not imaged; raise optics.sheet_waist_um"
        )


def _check_memory(recipe: SimulateRecipe, processes: int) -> int:
    """How many processes the memory holds; refuses a size that not even one can."""
    across = recipe.pixel_um[1]
    finest = Grid.of_volume(recipe.size, (across * recipe.z_over_xy[1], across, across))
    needed = int(np.prod(finest.shape)) * _BYTES_A_VOXEL
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > free:
        raise InputError(
            f"simulate: size {recipe.size} with planes {recipe.z_over_xy[1]:g} times as far apart "
            f"as pixels needs about {needed / 2**30:.0f} GiB, and there are {free / 2**30:.0f}; "
            "use a smaller size=z,y,x or z_over_xy"
        )
    return max(1, min(processes, int(0.8 * free // needed)))
