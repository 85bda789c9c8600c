"""Classification without labels: for each volume the name whose text lies nearest; its verb."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError
from ..data.manifest import open_row, read_dataset
from ..data.volume import Volume
from .model import Model, load
from .predictor import Predictor
from .volume import choose_device


def name_scores(
    model: Model | Predictor, volume: Volume, names: Sequence[str], channel: int = 0
) -> NDArray[np.float32]:
    """How well each of several names fits a volume.

    Args:
        model: that knows sentences, see `luxvox.load`.
        volume: open; it is looked at crop by crop.
        names: two or more, as a caption would say them; "_" is read as a space.
        channel: index of the channel.

    Returns:
        [M] cosines between the mean vector of the crops and each name; the largest is the answer.

    Raises:
        InputError: weights that know no sentences, fewer than two names, or one twice.
    """
    said = [" ".join(name.replace("_", " ").split()) for name in names]
    if len(set(said)) < 2 or len(set(said)) < len(said) or not all(said):
        raise InputError(
            f"{len(said)} names to choose from ({', '.join(said)}), expected two or more, each "
            "once, as in: --names 'blood vessels,nuclei'"
        )
    texts = model.embed_text(said)
    seen = model.embed(volume, channel).mean(axis=0)  # [dim], over the crops
    return texts @ (seen / np.linalg.norm(seen))


def classify_command(
    sources: Sequence[str],
    names: str,
    weights: str = "luxvox-tiny",
    device: str = "auto",
    json_out: bool = False,
) -> list[dict[str, Any]]:
    """Print for every channel of every volume the name that fits best.

    Args:
        sources: volumes, lists, folders, globs.
        names: with commas between them.
        weights: as of `luxvox.load`.
        device: auto, cpu or cuda.
        json_out: print JSON in place of lines.

    Returns:
        What the JSON says: `image`, `channel`, `name`, and `scores`, the cosine of every name.

    Raises:
        InputError: as `name_scores`, or a volume that cannot be read.
    """
    rows = [row for source in sources for row in read_dataset(source).rows]
    model = load(weights, choose_device(device))
    choices = [name.strip() for name in names.split(",")]
    found: list[dict[str, Any]] = []
    for row in rows:
        volume = open_row(row)
        for channel in range(volume.num_channels):
            scores = name_scores(model, volume, choices, channel).tolist()
            best = choices[int(np.argmax(scores))]
            label = volume.channel_names[channel]
            told = dict(zip(choices, scores, strict=True))
            found.append({"image": str(row.image), "channel": label, "name": best, "scores": told})
            if not json_out:
                rest = ", ".join(f"{name} {score:.2f}" for name, score in told.items())
                print(f"{row.image} channel {label}: {best}  ({rest})", flush=True)
    if json_out:
        print(json.dumps(found, indent=1))
    return found
