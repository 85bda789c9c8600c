"""The quality branch: an encoder that learns, without labels, how an image is spoilt.

In the spirit of Re-IQA (arXiv 2304.00451), on simulated light-sheet planes. Two crops that overlap
and are spoilt alike belong together. Every other kind or strength is pushed away, above all the
same content spoilt otherwise: half of the contents trade degradations in pairs, so content tells
nothing. Other contents spoilt just alike are neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from ...configs.errors import InputError
from ...data.draws import keyed_rng
from ...data.synthetic.compose import compose
from ...data.synthetic.recipe import SimulateRecipe
from ...models.checkpoint import save_weights
from ...models.quality import QualityConfig, QualityEncoder
from ..loop import rate_at
from .degradations import (
    KINDS,
    LEVELS,
    Degradation,
    degraded,
    draw_degradation,
    draw_microscope,
    photograph_planes,
)

_LEVEL, _TOP = 0.01, 0.998  # quantiles of all images of a content, as of the slices of a stack
_WARM_UP = 0.1  # of the steps


class QualityRecipe(BaseModel):
    """How the quality branch is trained: configs/focus/quality.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: QualityConfig = Field(default_factory=QualityConfig)
    scene: SimulateRecipe = Field(default_factory=SimulateRecipe)
    """What is drawn; its size and pixels are not used."""
    scenes: int = Field(default=24, ge=2)
    planes: int = Field(default=33, ge=3)
    """Of a scene, 1 um apart."""
    side: int = Field(default=160, ge=32)
    """Pixels of 1 um of a scene."""
    crop: int = Field(default=80, ge=16)
    """Pixels of a crop."""
    overlap: tuple[float, float] = (0.1, 0.3)
    """Share of a crop that its partner shares."""
    contents: int = Field(default=8, ge=2, multiple_of=2)
    """Of a batch."""
    photographs: int = Field(default=50, ge=1)
    """Batches that are imaged; steps go through them in turn, and cut them anew."""
    steps: int = Field(default=150, ge=1)
    lr: float = Field(default=2e-3, gt=0)
    temperature: float = Field(default=0.1, gt=0)
    seed: int = 0


@dataclass(frozen=True)
class Photographs:
    """Spoilt images, two of each content in a row. C contents.

    Attributes:
        images: [2 C, Y, X], level 0 and brightest 1 over both images of a content.
        degradations: [2 C] numbers.
    """

    images: Tensor
    degradations: Tensor


@dataclass(frozen=True)
class QualityBatch:
    """Pairs of crops. P pairs.

    Attributes:
        first, second: [P, 1, y, x] crops that overlap, spoilt alike.
        degradations: [P] numbers.
    """

    first: Tensor
    second: Tensor
    degradations: Tensor


def train_quality(recipe: QualityRecipe, out: str | Path) -> dict[str, float]:
    """Train and write the weights to a folder.

    Returns:
        "loss", mean of the last tenth of the steps, and "chance", what guessing costs.

    Raises:
        InputError: crops larger than scenes, or a folder that cannot be written.
    """
    scenes = draw_scenes(recipe)
    taken = [photograph(scenes, recipe, number) for number in range(recipe.photographs)]
    torch.manual_seed(recipe.seed)
    model = QualityEncoder(recipe.model)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=1e-4)
    losses = []
    for step in range(recipe.steps):
        batch = cut_pairs(taken[step % len(taken)], recipe, step)
        found = [model.project(model(crops)) for crops in (batch.first, batch.second)]
        loss = quality_loss(found[0], found[1], batch.degradations, recipe.temperature)
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * rate_at((step + 0.5) / recipe.steps, _WARM_UP)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} of {recipe.steps}: loss {np.mean(losses[-50:]):.3f}")
    numbers = {
        "loss": float(np.mean(losses[-max(1, len(losses) // 10) :])),
        "chance": math.log(2 * 2 * recipe.contents - 1),
    }
    save_weights(Path(out), model.state_dict(), _config(recipe, numbers), _CARD)
    return numbers


def draw_scenes(recipe: QualityRecipe) -> Tensor:
    """[N, Z, Y, X] float32 dye, structures in turn.

    Raises:
        InputError: crops larger than scenes.
    """
    needed = math.ceil(recipe.crop * (2 - recipe.overlap[0]))
    if needed > recipe.side:
        raise InputError(
            f"side is {recipe.side}, two crops of {recipe.crop} with an overlap of "
            f"{recipe.overlap[0]:g} need {needed}; make side larger or crop smaller"
        )
    plan = recipe.scene.model_copy(
        update={
            "size": (recipe.planes, recipe.side, recipe.side),
            "pixel_um": (1.0, 1.0),
            "z_over_xy": (1.0, 1.0),
        }
    )
    drawn = []
    for number in range(recipe.scenes):
        scene = compose(plan, recipe.seed, number)
        step = scene.density.shape[0] // recipe.planes  # fine planes to one of the volume
        drawn.append(torch.from_numpy(np.ascontiguousarray(scene.density[step // 2 :: step])))
    return torch.stack(drawn).float()


def photograph(scenes: Tensor, recipe: QualityRecipe, number: int) -> Photographs:
    """Image contents with two degradations each; depends on (seed, number) only.

    Args:
        scenes: [N, Z, Y, X] dye.
        recipe: how many contents.
        number: from 0.
    """
    rng = keyed_rng("focus quality", recipe.seed, number)
    count = recipe.contents
    chosen = rng.choice(len(scenes), count, replace=len(scenes) < count)
    plans = draw_plans(count, rng)
    microscopes = [draw_microscope(rng) for _ in range(count)]
    spoilt = [degraded(microscopes[i], what) for i in range(count) for what in plans[i]]
    dye = scenes[np.repeat(chosen, 2)][:, None]
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    images = photograph_planes(dye, (1.0, 1.0, 1.0), spoilt, noise)
    numbers = [what.number for pair in plans for what in pair]
    return Photographs(_scaled_together(images, count), torch.tensor(numbers))


def cut_pairs(taken: Photographs, recipe: QualityRecipe, step: int) -> QualityBatch:
    """Two overlapping crops of every image, at places that depend on (seed, step) only."""
    rng = keyed_rng("focus quality crops", recipe.seed, step)
    pairs = [_overlapping(image, recipe, rng) for image in taken.images]
    first, second = (torch.stack(part)[:, None] for part in zip(*pairs, strict=True))
    return QualityBatch(first, second, taken.degradations)


def draw_plans(contents: int, rng: np.random.Generator) -> list[tuple[Degradation, Degradation]]:
    """Two different degradations for each content; in half of the pairs of contents, they trade.

    Contents 2 i and 2 i + 1 are a pair; where it trades, both have the same two.
    """
    plans: list[tuple[Degradation, Degradation]] = []
    for pair in range(contents // 2):
        mine, other = _two(rng), _two(rng)
        plans += [mine, (mine[1], mine[0])] if pair % 2 == 0 else [mine, other]
    return plans


def quality_loss(first: Tensor, second: Tensor, degradations: Tensor, temperature: float) -> Tensor:
    """Contrast of pairs (InfoNCE over both crops): scalar, float32.

    Args:
        first, second: [P, E] unit vectors; row i of both is one pair.
        degradations: [P] numbers; other pairs of the same number count neither way.
        temperature: of the similarities.
    """
    count = len(first)
    vectors = torch.cat([first, second]).float()
    numbers = degradations.repeat(2)
    likeness = vectors @ vectors.T / temperature
    partner = (torch.arange(2 * count, device=first.device) + count) % (2 * count)
    alike = numbers[:, None] == numbers
    alike[torch.arange(2 * count), partner] = False  # the partner counts, and nothing else alike
    return F.cross_entropy(likeness.masked_fill(alike, float("-inf")), partner)


def _two(rng: np.random.Generator) -> tuple[Degradation, Degradation]:
    mine = draw_degradation(rng)
    other = draw_degradation(rng)
    while other == mine:
        other = draw_degradation(rng)
    return mine, other


def _scaled_together(images: Tensor, contents: int) -> Tensor:
    """[2 C, Y, X]: level 0 and brightest 1 over both images of a content, as over a stack."""
    flat = images.reshape(contents, -1)
    low, high = torch.quantile(flat, torch.tensor([_LEVEL, _TOP]), dim=1)
    return ((flat - low[:, None]) / (high - low).clamp(min=1e-6)[:, None]).reshape(images.shape)


def _overlapping(
    image: Tensor, recipe: QualityRecipe, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Two crops [y, x] side by side along a random axis, that share part of their area."""
    side, size = recipe.side, recipe.crop
    shift = size - int(size * rng.uniform(*recipe.overlap))
    shift = min(shift, side - size)
    along, across = int(rng.integers(side - size - shift + 1)), int(rng.integers(side - size + 1))
    if rng.random() < 0.5:
        image = image.T
    crops = [
        image[start : start + size, across : across + size] for start in (along, along + shift)
    ]
    return crops[0], crops[1]


def _config(recipe: QualityRecipe, numbers: dict[str, float]) -> dict[str, Any]:
    return {
        "architecture": {"kind": "quality", "quality": recipe.model.model_dump(mode="json")},
        "normalisation": "0 = quantile 0.01, 1 = quantile 0.998 of all slices of a stack",
        "voxel_size_range_um": None,
        "stains": [],
        "structures": [],
        "recipe": recipe.model_dump(mode="json"),
        "data": {"simulated": recipe.scenes, "kinds": list(KINDS), "levels": LEVELS, **numbers},
        "licence": "Apache-2.0",
    }


_CARD = """# Image quality of light-sheet slices

Trained by `luxvox focus-quality` on simulated planes, without labels. Features for
`luxvox focus-features --features quality:THIS_FOLDER`; no score by itself.
"""


def quality_command(recipe: QualityRecipe, out: str | Path) -> None:
    """Train, and say what came of it; errors as `train_quality`."""
    numbers = train_quality(recipe, out)
    print(f"{out}: loss {numbers['loss']:.3f} (guessing: {numbers['chance']:.3f})")
