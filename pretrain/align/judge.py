"""How well crops find their sentence, and sentences their structure: per volume, then as means."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...models.alignment import Alignment
from .encoded import EncodedCrops

_TOGETHER = 32


class Judged(NamedTuple):
    """What was found for V volumes that have the text in question.

    right: [V] bool, whether the own text lies nearest.
    own: [V] int64, number of the own text.
    volume: [V] int64, row of the source.
    chance: 1 / number of texts.
    """

    right: NDArray[np.bool_]
    own: NDArray[np.int64]
    volume: NDArray[np.int64]
    chance: float


@torch.no_grad()
def volume_vectors(alignment: Alignment, crops: EncodedCrops) -> tuple[Tensor, Tensor]:
    """[V, dim] mean vectors of volumes over their crops, and [V] int64, which volumes."""
    device = next(alignment.parameters()).device
    parts = [
        alignment.images(crops.at(chosen).to(device).as_encoder_gives()).cpu()
        for chosen in torch.arange(len(crops)).split(_TOGETHER)
    ]
    images = torch.cat(parts)
    volumes = crops.volume.unique()
    means = torch.stack([images[crops.volume == volume].mean(dim=0) for volume in volumes])
    return means, volumes


@torch.no_grad()
def judge(
    alignment: Alignment,
    crops: EncodedCrops,
    texts: Tensor,
    own_of_crop: Tensor,
    among: Tensor | None = None,
) -> Judged | None:
    """Ask every volume which text lies nearest.

    Args:
        alignment: in evaluation mode.
        crops: several of each volume, that were not learnt from.
        texts: [M, T] vectors of the sentence encoder.
        own_of_crop: [n] int64, which text is right for each crop; -1 = none.
        among: numbers of the texts to choose from; None = those that are any volume's own.

    Returns:
        None where fewer than two texts are in question.
    """
    device = next(alignment.parameters()).device
    means, volumes = volume_vectors(alignment, crops)
    own = torch.stack([own_of_crop[crops.volume == volume][0] for volume in volumes])
    has = own >= 0
    asked = own[has].unique() if among is None else among
    if len(asked) < 2:
        return None
    sentences = alignment.sentences(texts[asked].to(device)).cpu()
    nearest = asked[(means[has] @ sentences.T).argmax(dim=1)]
    return Judged(
        (nearest == own[has]).numpy(), own[has].numpy(), volumes[has].numpy(), 1 / len(asked)
    )


def balanced(judged: Judged) -> float:
    """Share that is right, the mean over texts of the share among their volumes."""
    return float(np.mean([judged.right[judged.own == one].mean() for one in set(judged.own)]))
