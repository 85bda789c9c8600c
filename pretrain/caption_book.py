"""The captions of a run as vectors: every wording encoded once by the frozen tower, drawn anew each
step.

With `text.trainable_layers` above 0 the tower learns, so wordings are handed on as text instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.draws import keyed_rng
from ..models.text import TextTower
from .objectives import Captions


@dataclass(frozen=True)
class CaptionBook:
    """Wordings of every caption of a run.

    wordings: per caption id, one or more truthful sentences, the full caption first.
    features: per caption id, [V, T] vectors of the wordings; empty where the tower learns.
    noise: standard deviation added to a frozen vector, relative to its norm.
    """

    wordings: list[list[str]]
    features: list[Tensor]
    noise: float

    @classmethod
    def read(cls, wordings: list[list[str]], tower: TextTower, noise: float) -> CaptionBook:
        """Encode all wordings, once, with a frozen tower."""
        if tower.trainable_layers:
            return cls(wordings, [], 0.0)
        return cls(wordings, [tower.encode(options).cpu() for options in wordings], noise)

    def full(self, device: torch.device) -> Captions:
        """Every caption of the run in full, row = caption id."""
        ids = torch.arange(len(self.wordings), device=device)
        if not self.features:
            return Captions(ids, texts=[options[0] for options in self.wordings])
        return Captions(ids, torch.stack([vectors[0] for vectors in self.features]).to(device))

    def draw(self, caption_ids: Tensor, seed: int, step: int, device: torch.device) -> Captions:
        """The distinct captions among `caption_ids`, each in one wording; equal on every rank.

        Args:
            caption_ids: of the global batch, any shape; -1 (no caption) is passed over.
            seed: of the run.
            step: number of the optimiser step.
            device: where the vectors are wanted.
        """
        ids = torch.unique(caption_ids.cpu())
        ids = ids[ids >= 0]
        rng = keyed_rng("caption", seed, step)
        chosen = [int(rng.integers(len(self.wordings[i]))) for i in ids.tolist()]
        if not self.features:
            texts = [self.wordings[i][k] for i, k in zip(ids.tolist(), chosen, strict=True)]
            return Captions(ids.to(device), texts=texts)
        vectors = torch.stack(
            [self.features[i][k] for i, k in zip(ids.tolist(), chosen, strict=True)]
        )
        jitter = torch.from_numpy(rng.standard_normal(vectors.shape).astype(np.float32))
        size = vectors.norm(dim=1, keepdim=True) / vectors.shape[1] ** 0.5
        return Captions(ids.to(device), features=(vectors + self.noise * size * jitter).to(device))
