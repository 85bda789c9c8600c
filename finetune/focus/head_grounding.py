"""Stage one of the stain-aware head: texts of stains are aligned with images.

Tokens and adapter learn; the text tower and what images are described by are frozen: the tokens of
the 3D encoder, or, without one, the fixed bank of the stem.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ...models.focus_bank import FocusBank, blur_px
from ...models.focus_config import FocusConfig
from ...models.focus_stain import StainGrounding, stain_prompts
from .head_examples import Example
from .head_recipe import HeadRecipe

_BATCH = 32
_LR = 3e-3
_TEMPERATURE = 10.0


class TextEncoder(Protocol):
    """What is asked of a text tower."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """M texts -> [M, W] vectors."""
        ...


def ground_stains(
    examples: Sequence[Example],
    stains: Sequence[str],
    tower: TextEncoder,
    recipe: HeadRecipe,
    dim: int,
) -> tuple[StainGrounding, list[float]]:
    """Align stains with images of them.

    Args:
        examples: to learn from; some of known stain.
        stains: that get a vector.
        tower: frozen.
        recipe: epochs, seed, how often the stain is not told.
        dim: of the vectors.

    Returns:
        The grounding, frozen, and the loss of each epoch.
    """
    images = torch.stack([image_features(example) for example in examples])
    labels = torch.tensor([example.stain for example in examples])
    torch.manual_seed(recipe.seed)
    texts = tower.encode(stain_prompts(list(stains))).detach().float().cpu()
    grounding = StainGrounding(texts, dim, images.shape[1])
    optimizer = torch.optim.AdamW(grounding.parameters(), _LR, weight_decay=1e-3)
    losses = []
    for _ in range(recipe.grounding_epochs):
        total = 0.0
        for part in torch.randperm(len(images)).split(_BATCH):
            # Some are shown as unknown, so that the unknown stain lies amid all of them.
            hidden = torch.rand(len(part)) < recipe.unknown_stain
            wanted = torch.where(hidden, 0, labels[part])
            loss = F.cross_entropy(_TEMPERATURE * grounding.align(images[part]), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(part)
        losses.append(total / len(images))
    return grounding.requires_grad_(False).eval(), losses


@torch.no_grad()
def image_features(example: Example) -> Tensor:
    """[D]: mean and spread of the frozen tokens of a stack, or of the bank's features."""
    if example.tokens is not None:
        flat = example.tokens.flatten(0, -2)
    else:
        bank = FocusBank(FocusConfig().rings)
        found = bank(example.tiles.flatten(0, 1)[None], blur_px(example.lens[None]))
        flat = found[0].movedim(1, -1).flatten(0, -2)
    return torch.cat([flat.mean(0), flat.std(0, correction=0)])
