"""How well the dense model finds named structures, and restores, with no label of the user's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...configs.errors import InputError
from ...data.manifest import open_labels, open_row, read_dataset
from ...data.normalize import measure_intensity, normalize
from ...data.row import Row
from ...data.synthetic.stock import STRUCTURES, SceneStock
from ...models.dense import DenseModel
from ...models.heads.restore import RestoreHead
from ...models.heads.segment import SegmentHead
from ...models.metrics.overlap import dice
from ...models.text import TextTower
from ...predict.image import predict_image
from ...predict.task_weights import TaskConfig, TaskWeights
from .objective import well_imaged
from .recipe import DenseRecipe
from .targets import condition_of

_OTHER_SEED = 1_000_003  # scenes that training never draws


@torch.no_grad()
def on_simulated(
    model: DenseModel, recipe: DenseRecipe, words: Tensor, device: torch.device
) -> dict[str, float]:
    """Dice of each structure and error of restoration on scenes of another seed.

    Args:
        model: in evaluation mode.
        recipe: of the run.
        words: [S, V, T], the vectors that name the structures.
        device: of the model.

    Returns:
        `val/dice_NAME`, their mean `val/dice`; `val/restore_error` and `val/identity_error`: mean
        squared error to the well imaged crop over its variance, of the restored and the given crop.
    """
    found: dict[str, list[float]] = defaultdict(list)
    segment, restore = heads_of(model)
    stock = recipe.stock.model_copy(update={"renew_every": 0})
    with SceneStock(stock, recipe.seed + _OTHER_SEED, str(device), recipe.workers) as scenes:
        for step in range(recipe.evaluate.batches):
            batch = scenes.batch(step, recipe.batch_size)
            known = torch.ones(len(batch.image), dtype=torch.bool, device=device)
            condition = condition_of(batch.main, words)
            features = model(batch.image, batch.voxel_size_um, known, condition)
            mask = segment(features.full, features.coarse).logits[:, 0] > 0
            good = well_imaged(batch.clean)
            variance = good.var(dim=(1, 2, 3, 4)).clamp(min=1e-6)
            for name, image in (
                ("val/restore_error", restore(features.full, batch.image)),
                ("val/identity_error", batch.image),
            ):
                error = (image - good).square().mean((1, 2, 3, 4)) / variance
                found[name].extend(error.tolist())
            for number, bit in enumerate(batch.main.tolist()):
                truth = (batch.labels[number] >> bit) & 1 == 1
                value = dice(mask[number].cpu().numpy(), truth.cpu().numpy())
                found[f"val/dice_{STRUCTURES[bit]}"].append(value)
    metrics = {
        # The median: one crop of near-constant dye has an error without bounds.
        name: float((np.median if name.endswith("_error") else np.mean)(values))
        for name, values in found.items()
    }
    each = [value for name, value in metrics.items() if name.startswith("val/dice_")]
    return metrics | {"val/dice": float(np.mean(each))}


@torch.no_grad()
def on_real(
    model: DenseModel, lists: Sequence[str], tower: TextTower, tile: tuple[int, int, int]
) -> dict[str, dict[str, float | str]]:
    """Dice of every labelled row, segmented by the name of its structure alone.

    Args:
        model: in evaluation mode.
        lists: labelled lists.
        tower: encodes the names.
        tile: (z, y, x) voxels that are predicted together.

    Returns:
        By id: `dice`, `structure`, `group`.
    """
    results: dict[str, dict[str, float | str]] = {}
    for row in (row for source in lists for row in read_dataset(source)):
        if row.labels is not None and row.structure:
            probability = segment_row(model, row, tower.encode([row.structure]), tile)
            labels = open_labels(row).read()[0]
            wanted = row.foreground_label
            truth = labels == wanted if wanted is not None else labels > 0
            counts = ~np.isin(labels, row.ignore_label or ())
            if truth.shape != probability.shape:
                raise InputError(
                    f"{row.where}: labels of {truth.shape} for an image of {probability.shape}; "
                    "correct the list"
                )
            value = dice(probability > 0.5, truth, counts)
            results[row.id] = {"dice": value, "structure": row.structure, "group": row.group}
    return results


@torch.no_grad()
def segment_row(
    model: DenseModel, row: Row, named: Tensor, tile: tuple[int, int, int]
) -> np.ndarray:
    """Probability [Z, Y, X] of the structure that `named` [1, T] names, over a whole volume."""
    volume = open_row(row)
    image = normalize(volume.read()[0], measure_intensity(volume))
    # In float32 everywhere: numbers of different machines shall be comparable.
    task = TaskConfig(task="segment", head="segment", structure=row.structure, tile=tile)
    weights = TaskWeights(model, task, "the model", condition=named)
    return predict_image(weights, image, volume.voxel_size_um, precision="no")[0]


def heads_of(model: DenseModel) -> tuple[SegmentHead, RestoreHead]:
    """The two heads that stage B always has."""
    segment, restore = model.heads["segment"], model.heads["restore"]
    assert isinstance(segment, SegmentHead)
    assert isinstance(restore, RestoreHead)
    return segment, restore
