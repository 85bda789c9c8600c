"""Fit an alignment: crops of a frozen encoder beside their captions, and beside bare names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...data.draws import keyed_rng
from ...models.alignment import Alignment
from ...models.losses.contrastive import contrastive_loss
from ..caption_book import CaptionBook
from ..ema import Ema
from ..optimizer import make_optimizer
from .encoded import EncodedCrops
from .recipe import AlignRecipe

_SCALE = 1 / 0.07
"""Factor on cosines, the temperature that CLIP starts from (arXiv 2103.00020); a few hundred steps
would not move it far."""


def fit_alignment(
    alignment: Alignment,
    lists: Sequence[EncodedCrops],
    captions: CaptionBook,
    names: CaptionBook,
    recipe: AlignRecipe,
) -> dict[str, float]:
    """Train pool and projections; the encoder is not asked any more.

    Args:
        alignment: with fresh weights; ends up with averaged ones, in evaluation mode.
        lists: what is learnt from; every batch holds as much of each.
        captions: wordings by the numbers of their `caption`.
        names: names by the numbers of their `structure`.
        recipe: steps, rates, noise.

    Returns:
        `captions` and `names`: the two terms, each the mean over the last tenth of the steps.
    """
    device = next(alignment.parameters()).device
    optimizer = make_optimizer(alignment, recipe.optim)
    ema = Ema(alignment, recipe.optim.ema)
    last: list[dict[str, float]] = []
    decks = [_decks(crops) for crops in lists]
    alignment.train()
    for step in range(recipe.steps):
        rng = keyed_rng("align", recipe.seed, step)
        shares = [
            crops.at(_draw(deck, recipe.batch_size // len(lists), rng))
            for crops, deck in zip(lists, decks, strict=True)
        ]
        batch = EncodedCrops.joined(shares)
        images = alignment.images(batch.to(device).as_encoder_gives())
        terms = {
            "captions": _term(alignment, images, batch.caption, captions, recipe.seed, step),
            # Another stream of numbers, so that name and caption do not go together.
            "names": _term(alignment, images, batch.structure, names, recipe.seed + 1, step),
        }
        loss = terms["captions"] + recipe.naming * terms["names"]
        for group in optimizer.param_groups:
            group["lr"] = recipe.optim.rate(step, recipe.steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(alignment.parameters(), recipe.optim.clip)
        optimizer.step()
        ema.update(alignment, step)
        if step >= recipe.steps - max(1, recipe.steps // 10):
            last.append({name: float(term.detach()) for name, term in terms.items()})
    ema.take(alignment)
    alignment.eval()
    return {name: float(np.mean([terms[name] for terms in last])) for name in last[0]}


def _term(
    alignment: Alignment,
    images: Tensor,
    ids: Tensor,
    book: CaptionBook,
    seed: int,
    step: int,
) -> Tensor:
    """Contrastive loss of images against the distinct texts of a batch, each in one wording."""
    said = book.draw(ids, seed, step, images.device)
    if said.features is None or len(said.ids) < 2:
        return 0.0 * images.sum()  # one text alone tells nothing apart
    texts = alignment.sentences(said.features)
    scale = images.new_tensor(_SCALE)
    return contrastive_loss(images, ids.to(images.device), texts, said.ids, scale).loss


def _decks(crops: EncodedCrops) -> list[list[NDArray[np.int64]]]:
    """Numbers of the crops: of each caption, of each of its volumes."""
    caption, volume = crops.caption.numpy(), crops.volume.numpy()
    return [
        [np.flatnonzero(volume == one) for one in np.unique(volume[caption == said])]
        for said in np.unique(caption)
    ]


def _draw(decks: list[list[NDArray[np.int64]]], count: int, rng: np.random.Generator) -> Tensor:
    """[count] crops: captions as equally often as can be, of each a volume, of that a crop."""
    rounds = [rng.permutation(len(decks)) for _ in range(-(-count // len(decks)))]
    chosen = []
    for caption in np.concatenate(rounds)[:count]:
        volumes = decks[caption]
        chosen.append(int(rng.choice(volumes[rng.integers(len(volumes))])))
    return torch.tensor(chosen)
