"""What describes a slice: features of its tiles, the mean over those that its stack chose.

Parts are joined: "classical" (the measures of sharpness), "encoder:WEIGHTS" (ours), "timm:NAME"
(any image encoder of timm) and "quality:FOLDER" (`luxvox focus-quality`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ..configs.errors import InputError
from ..data.focus_tiles import Pool, StackFrame, TileRule
from .focus_encoders import EncoderFeatures, QualityFeatures, TimmFeatures

_LEAST_SPREAD = 1e-9  # of a feature that is the same in all slices

KINDS = ("classical", "encoder", "timm", "quality")


class FeatureRecipe(BaseModel):
    """How slices are described; stands beside a table of features and in a fit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: tuple[str, ...] = ("classical",)
    """Of `KINDS`, with what comes behind the colon."""
    tile: int = Field(default=256, ge=16)
    """Pixels a side."""
    tiles: int = Field(default=32, ge=1)
    """In the foreground, at most."""
    share: float = Field(default=0.2, gt=0, le=1)
    """Of the tiles that is kept."""
    pool: Pool = "foreground"
    colour: str | None = None
    """Of RGB images: red, green, blue; None = luminance."""
    relative: bool = False
    """Features against those of the other slices of the stack: what differs between specimens goes,
    and so does all that could be said of a slice alone. Only for sweeps."""
    seed: int = 42

    @property
    def rule(self) -> TileRule:
        """How tiles are chosen."""
        return TileRule(self.tile, self.tiles, share=self.share, pool=self.pool, seed=self.seed)


@dataclass(frozen=True)
class StackStandard:
    """What the features of a stack are measured against. D features.

    Attributes:
        centre, spread: [D], mean and standard deviation over its slices.
    """

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[np.float64]) -> StackStandard:
        """Of described slices [S, D]; rows of nan are left out."""
        known = features[~np.isnan(features).all(1)]
        if not len(known):
            return cls(np.zeros(features.shape[1]), np.ones(features.shape[1]))
        spread = known.std(0)
        return cls(known.mean(0), np.where(spread > _LEAST_SPREAD, spread, 1.0))

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """[S, D] -> [S, D]."""
        return (features - self.centre) / self.spread


class TileFeatures(Protocol):
    """One part of the description."""

    @property
    def module(self) -> nn.Module | None:
        """What has weights; None where nothing has."""
        ...

    def __call__(self, tiles: NDArray[np.float32], frame: StackFrame) -> Tensor:
        """[T, y, x] in the file's units -> [T, D]."""
        ...


class SliceFeatures:
    """Describes slices by a recipe.

    Args:
        recipe: what to join.
        base: folder that weights are relative to, where no such path is found from here.
        device: where encoders run.

    Raises:
        InputError: an unknown part, or weights that cannot be had without a network.
    """

    def __init__(
        self, recipe: FeatureRecipe, base: Path | None = None, device: str | torch.device = "cpu"
    ) -> None:
        self.recipe = recipe
        self._parts: list[TileFeatures] = [
            _part(name, base, torch.device(device), recipe) for name in recipe.parts
        ]

    @torch.inference_mode()
    def describe(self, image: NDArray[np.float32], frame: StackFrame) -> NDArray[np.float64]:
        """[D] of a slice [Y, X]; the frame is that of its stack."""
        tiles = frame.cut(image)
        return np.concatenate(
            [part(tiles, frame).double().mean(0).cpu().numpy() for part in self._parts]
        )

    def describe_all(
        self, slices: Iterable[NDArray[np.float32]], frame: StackFrame
    ) -> NDArray[np.float64]:
        """[S, D] of slices; rows of nan where a slice is empty."""
        found = [None if frame.is_empty(image) else self.describe(image, frame) for image in slices]
        width = next((len(row) for row in found if row is not None), 1)
        return np.stack([np.full(width, np.nan) if row is None else row for row in found])

    def fingerprint(self) -> str:
        """Changes when any weight of any part does."""
        digest = hashlib.sha256()
        for part in self._parts:
            if part.module is not None:
                for name, tensor in sorted(part.module.state_dict().items()):
                    digest.update(name.encode())
                    digest.update(tensor.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


class _Classical:
    """Fourth roots of the classical measures: they span decades, and may be 0 without noise."""

    module = None

    def __call__(self, tiles: NDArray[np.float32], frame: StackFrame) -> Tensor:
        from ..data.sharpness import MEASURES, cut_tiles, measure_sharpness, spectra

        found = measure_sharpness(spectra(cut_tiles(torch.from_numpy(frame.scaled(tiles)))))
        columns = [found[name].flatten(1).mean(1) for name in MEASURES]
        return torch.stack(columns, 1).clamp(min=0).pow(0.25)


def _part(
    name: str, base: Path | None, device: torch.device, recipe: FeatureRecipe
) -> TileFeatures:
    kind, _, what = name.partition(":")
    if kind not in KINDS or bool(what) == (kind == "classical"):
        raise InputError(
            f"features {name!r}, expected classical, encoder:WEIGHTS, timm:NAME or quality:FOLDER; "
            "several with commas between them"
        )
    if kind == "classical":
        return _Classical()
    if base is not None and not Path(what).exists() and (base / what).exists():
        what = str(base / what)
    if kind == "encoder":
        return EncoderFeatures(what, device)
    if kind == "quality":
        return QualityFeatures(what, device)
    return TimmFeatures(what, device, recipe.seed)
