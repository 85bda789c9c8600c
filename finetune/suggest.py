"""What next? The crops of a volume whose labels would teach most, and where a prediction is weak.

Crops are ranked by how little the model agrees with itself on mirror images (mutual information,
arXiv 1112.5745); of the least certain ones those are taken that look least alike to the encoder
(farthest points), so that three suggestions are not three times the same thing.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from ..configs.errors import InputError
from ..data.draws import keyed_rng
from ..data.normalize import measure_intensity, normalize
from ..data.open import open_volume
from ..data.tiles import tile_grid
from ..data.volume import Volume
from ..data.voxel import VoxelSize
from ..predict.image import predict_image
from ..predict.task_weights import TaskWeights, open_dense
from ..predict.volume import choose_device, found_labels, one_channel
from ..report.cases import Case
from ..report.suggest import write_suggest_page
from .confidence import disagreement, expected_dice

CANDIDATES = 64
"""Crops that are looked at, at most; of larger volumes a drawn sample."""
_POOL = 4  # least certain crops among which the different ones are looked for, times the count
_VIEWS = ((), (1,), (2,), (1, 2))  # mirrored in y and x, as at prediction


@dataclass(frozen=True)
class Candidate:
    """One crop.

    Attributes:
        origin: (z, y, x) of the first voxel. shape: voxels.
        origin_um: the same in um; None where the voxel size is unknown.
        uncertainty: mean over voxels of the mutual information, in nats.
        expected_dice: see `confidence.expected_dice`; of binary tasks, else None.
        rank: 1 = label this first; 0 = not suggested.
    """

    origin: tuple[int, int, int]
    shape: tuple[int, int, int]
    origin_um: VoxelSize | None
    uncertainty: float
    expected_dice: float | None
    rank: int = 0


def suggest(
    run: str | Path,
    path: str | Path,
    count: int,
    out: Path,
    seed: int = 0,
    device: str = "cpu",
    structure: str | None = None,
    channel: str | None = None,
) -> list[Candidate]:
    """Look at crops of a volume, and write which to label next.

    Args:
        run: a fine-tuned RUN of segmentation.
        path: any volume that `open_volume` takes.
        count: of crops to label.
        out: folder; receives suggest.json, suggest.csv (all crops that were looked at) and
            suggest.html (those suggested).
        seed: draws candidates from volumes that have more than `CANDIDATES`.
        device: where the model runs.
        structure: which of several that the run has learnt.
        channel: which of several of the volume, by index or name.

    Returns:
        The crops to label, the most useful first.

    Raises:
        InputError: no such run or volume; another task, or none; several channels; fewer crops
            than wanted; a folder that cannot be written.
    """
    dense = open_dense(run, device)
    if dense.task is None:
        raise InputError(
            f"{run}: pretrained weights, expected a run of luxvox finetune segment; label one crop "
            "and fine-tune on it first"
        )
    weights = dense.told(structure=structure).asked(structure)
    if weights.task.task != "segment":
        raise InputError(
            f"{run}: fine-tuned for {weights.task.task!r}, expected a run of luxvox finetune "
            "segment: other tasks give no probabilities to be unsure of"
        )
    volume = open_volume(path, channel=channel)
    one_channel(volume)
    places = _places(volume, weights.task.tile, seed)
    if count > len(places):
        raise InputError(
            f"{path}: holds {len(places)} crops of {weights.task.tile} voxels, expected {count} or "
            "more; lower --count"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{out}: the folder cannot be made ({error.strerror}); give another --out"
        ) from error
    stats = measure_intensity(volume)
    plain = replace(weights, task=weights.task.model_copy(update={"tta": False}))
    found: list[Candidate] = []
    looks: list[NDArray[np.float32]] = []
    cases: list[Case] = []
    for place in track(places, f"{len(places)} crops", transient=True):
        origin, shape = _box(place)
        raw = volume.read(origin, shape, channels=[0])[0]
        image = normalize(raw, stats).astype(np.float32, copy=False)
        views = [_mirrored(plain, image, volume.voxel_size_um, axes) for axes in _VIEWS]
        mean = np.mean(views, axis=0)
        size = volume.voxel_size_um
        at_um = None if size is None else _product(origin, size)
        expected = expected_dice(mean[0], weights.task.threshold) if len(mean) == 1 else None
        found.append(Candidate(origin, shape, at_um, disagreement(views), expected))
        looks.append(_look(weights, image, size))
        labels = found_labels(weights, mean)
        cases.append(Case(_name(origin), image, size, found=labels))
    order = choose([one.uncertainty for one in found], np.stack(looks), count)
    for rank, number in enumerate(order, 1):
        found[number] = replace(found[number], rank=rank)
    _write(out, str(path), str(run), found)
    write_suggest_page(
        out / "suggest.html",
        f"{Path(path).name}: what to label next",
        [replace(cases[number], note=_said(found[number])) for number in order],
    )
    return [found[number] for number in order]


def suggest_command(
    run: str,
    volume: str,
    count: int = 3,
    out: Path | None = None,
    structure: str | None = None,
    channel: str | None = None,
) -> None:
    """Print what to label next; the body of `luxvox suggest`.

    Args:
        run: see `suggest`. volume, count, structure, channel: the same.
        out: folder; None = RUN/suggest/NAME.

    Raises:
        InputError: anything that the user can mend.
    """
    folder = out or Path(run) / "suggest" / Path(volume).name.split(".")[0]
    device = choose_device("auto")
    for one in suggest(run, volume, count, folder, 0, device, structure, channel):
        print(f"{one.rank}. {_name(one.origin)}, {_said(one)}")
    print(folder / "suggest.html")


def choose(uncertainty: Sequence[float], looks: NDArray[np.float32], count: int) -> list[int]:
    """The least certain one, then among the least certain those farthest from all chosen.

    Args:
        uncertainty: of N crops.
        looks: [N, D] features.
        count: of crops, at most N.

    Returns:
        Numbers of crops, in the order in which they were chosen.
    """
    pool = np.argsort(-np.asarray(uncertainty), kind="stable")[: _POOL * count]
    spread = looks[pool].std(0)
    scaled = (looks[pool] - looks[pool].mean(0)) / np.where(spread > 0, spread, 1)
    chosen = [0]
    nearest = np.full(len(pool), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, np.linalg.norm(scaled - scaled[chosen[-1]], axis=1))
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return [int(pool[place]) for place in chosen]


def _places(
    volume: Volume, tile: tuple[int, int, int], seed: int
) -> list[tuple[slice, slice, slice]]:
    z, y, x = volume.shape
    everything = tile_grid((z, y, x), tile, (0, 0, 0))
    if len(everything) <= CANDIDATES:
        return everything
    drawn = keyed_rng("suggest", seed, 0).permutation(len(everything))[:CANDIDATES]
    return [everything[place] for place in sorted(drawn)]


def _mirrored(
    weights: TaskWeights,
    image: NDArray[np.float32],
    size: VoxelSize | None,
    axes: tuple[int, ...],
) -> NDArray[np.float32]:
    """[F, Z, Y, X] probabilities of a mirror image, turned back."""
    answer = predict_image(weights, np.flip(image, axes), size)
    return np.flip(answer, tuple(axis + 1 for axis in axes))


@torch.no_grad()
def _look(
    weights: TaskWeights, image: NDArray[np.float32], size: VoxelSize | None
) -> NDArray[np.float32]:
    """[D] mean of the encoder's tokens; of nets without tokens the mean of their features."""
    missing = [
        max(0, p - n) for p, n in zip(weights.model.encoder.config.patch, image.shape, strict=True)
    ]
    filled = np.pad(image, [(0, m) for m in missing], mode="symmetric")
    device = next(weights.model.parameters()).device
    crop = torch.from_numpy(np.ascontiguousarray(filled))[None, None].to(device)
    voxels = torch.tensor([size or (1.0, 1.0, 1.0)], device=device)
    features = weights.model(crop, voxels, torch.tensor([size is not None], device=device))
    tokens = features.encoded.tokens
    mean = tokens.mean(1) if tokens.shape[1] else features.full.mean((2, 3, 4))
    return mean[0].float().cpu().numpy()


def _write(out: Path, volume: str, run: str, found: Sequence[Candidate]) -> None:
    ordered = sorted(found, key=lambda one: (one.rank == 0, one.rank, -one.uncertainty))
    held = {"volume": volume, "run": run, "crops": [asdict(one) for one in ordered]}
    (out / "suggest.json").write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    with (out / "suggest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["rank", *_axes("origin"), *_axes("origin_um"), *_axes("shape"), "uncertainty",
             "expected_dice"]
        )  # fmt: skip
        for one in ordered:
            numbers: list[Any] = [*one.origin, *(one.origin_um or ("", "", "")), *one.shape]
            sure = "" if one.expected_dice is None else f"{one.expected_dice:.4f}"
            writer.writerow([one.rank or "", *numbers, f"{one.uncertainty:.6g}", sure])


def _axes(word: str) -> list[str]:
    return [f"{word}_{axis}" for axis in "zyx"]


def _box(
    place: tuple[slice, slice, slice],
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    z, y, x = place
    shape = (z.stop - z.start, y.stop - y.start, x.stop - x.start)
    return (z.start, y.start, x.start), shape


def _product(origin: tuple[int, int, int], size: VoxelSize) -> VoxelSize:
    return (origin[0] * size[0], origin[1] * size[1], origin[2] * size[2])


def _name(origin: tuple[int, int, int]) -> str:
    return f"crop from z {origin[0]}, y {origin[1]}, x {origin[2]}"


def _said(one: Candidate) -> str:
    place = ""
    if one.origin_um is not None:
        place = "at " + " ".join(f"{part:.0f}" for part in one.origin_um) + " um, "
    sure = "" if one.expected_dice is None else f", expected Dice {one.expected_dice:.2f}"
    return f"{place}uncertainty {one.uncertainty:.4f}{sure}"
