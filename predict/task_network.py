"""Weights for a task as the block engine wants them: a plain function of tiles, and their hash."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.voxel import VoxelSize
from .image import Precision, autocast, has_distance, predict_tiles, spacing
from .task_weights import TaskWeights


class TaskNetwork(NamedTuple):
    """Answers of a task for tiles.

    Attributes:
        weights: of a task "segment" or "restore".
        voxel_size_um: (z, y, x) of the tiles; None = not known.
        precision: not "auto": every machine is to compute alike.
        distance: of a head with that channel: give it too, last.
    """

    weights: TaskWeights
    voxel_size_um: VoxelSize | None
    precision: Precision
    distance: bool = False

    def __call__(self, tiles: Tensor) -> Tensor:
        """[B, 1, z, y, x], normalised -> [B, C, z, y, x]; any sides."""
        answer = predict_tiles(self.weights, tiles, self.voxel_size_um, self.precision)
        if has_distance(self.weights) and not self.distance:
            answer = answer[:, :-1]
        return answer


class ClassNetwork(NamedTuple):
    """Classes of whole tiles.

    Attributes:
        weights: of the task "classify".
        voxel_size_um: (z, y, x) of the tiles; None = not known.
        precision: not "auto": every machine is to compute alike.
    """

    weights: TaskWeights
    voxel_size_um: VoxelSize | None
    precision: Precision

    @torch.no_grad()
    def __call__(self, tiles: Tensor) -> Tensor:
        """[B, 1, z, y, x], normalised -> probabilities [B, K, 1, 1, 1]."""
        model = self.weights.model
        device = next(model.parameters()).device
        size, known = spacing(self.voxel_size_um, len(tiles), device)
        with autocast(device, self.precision):
            logits = model.classify(tiles.to(device), size, known, head=self.weights.task.head)
        return logits.float().softmax(1)[:, :, None, None, None]


def weights_hash(weights: TaskWeights) -> str:
    """Hash of every number that decides the answers, and of the task."""
    found = hashlib.sha256(weights.task.model_dump_json().encode())
    tensors = dict(weights.model.state_dict())
    if weights.condition is not None:
        tensors["condition"] = weights.condition
    for name in sorted(tensors):
        found.update(name.encode())
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
