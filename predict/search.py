"""Crops that fit a sentence, out of an index of embeddings, and the page that shows them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..configs.errors import InputError
from ..data.open import open_volume
from ..data.voxel import VoxelSize
from ..models.catalog import find_folder
from ..models.checkpoint import fingerprint
from ..models.hub_source import read_source
from ..report.search import Found, write_search_page
from .embedding_index import EmbeddingIndex, Place, open_index
from .model import load


@dataclass(frozen=True)
class Hit:
    """A crop that fits.

    Attributes:
        rank: 1 fits best.
        score: cosine between the crop and the sentence.
        spread: standard deviations above the mean of all crops; what tells a find from the rest.
        origin: (z, y, x) of its corner, voxels of the level that was read.
        origin_um: the same in um from the corner of the volume; None where unknown.
        place: its volume and channel.
    """

    rank: int
    score: float
    spread: float
    origin: tuple[int, int, int]
    origin_um: VoxelSize | None
    place: Place


def search(
    index: EmbeddingIndex | Path, sentence: str, count: int = 12, weights: str | None = None
) -> tuple[list[Hit], int]:
    """Rank all crops of an index by how well they fit a sentence.

    Args:
        index: open, or its path.
        sentence: as a caption would say it.
        count: of crops, at most.
        weights: where the index's weights lie now, if not where they were.

    Returns:
        The best crops, and how many there are in all.

    Raises:
        InputError: no index, no crops in it, other weights than it was made with, or weights that
            know no sentences.
    """
    index = open_index(index) if isinstance(index, Path) else index
    if not sentence.strip():
        raise InputError("an empty sentence; say what to look for, as in: branching blood vessels")
    held = list(index.read())
    total = sum(len(vectors) for _, vectors, _ in held)
    if not total:
        raise InputError(f"{index.path}: no crops in it; luxvox embed VOLUME --out {index.path}")
    text = _text_vector(index, sentence, weights)
    scores = np.concatenate([vectors @ text for _, vectors, _ in held])
    volume = np.repeat(np.arange(len(held)), [len(vectors) for _, vectors, _ in held])
    corners = np.concatenate([origins for _, _, origins in held])
    mean, spread = float(scores.mean()), max(float(scores.std()), 1e-9)
    hits = []
    for rank, at in enumerate(np.argsort(-scores, kind="stable")[:count], start=1):
        place = held[volume[at]][0]
        z, y, x = (int(side) for side in corners[at])
        size = place.level_um
        hits.append(
            Hit(
                rank=rank,
                score=float(scores[at]),
                spread=(float(scores[at]) - mean) / spread,
                origin=(z, y, x),
                origin_um=None if size is None else (z * size[0], y * size[1], x * size[2]),
                place=place,
            )
        )
    return hits, total


def search_command(
    sentence: str,
    path: Path,
    count: int = 12,
    out: Path | None = None,
    weights: str | None = None,
    json_out: bool = False,
) -> None:
    """Print the crops that fit, and draw them.

    Raises:
        InputError: as `search`, or the page cannot be written.
    """
    hits, total = search(path, sentence, count, weights)
    if json_out:
        print(json.dumps([asdict(hit) for hit in hits], indent=1))
    else:
        print(f"{len(hits)} of {total} crops; the score is a cosine, sd counts from the mean")
        for hit in hits:
            print(f"{hit.rank:3}  {hit.score:.3f} ({hit.spread:+.1f} sd)  {_where(hit)}")
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            write_search_page(out, sentence, total, [_found(hit) for hit in hits])
        except OSError as error:
            raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
        if not json_out:
            print(out)


def _text_vector(index: EmbeddingIndex, sentence: str, weights: str | None) -> np.ndarray:
    """[D], of length 1."""
    try:
        folder = find_folder(weights or index.weights)
    except InputError as error:
        if weights is not None or read_source(index.weights) is not None:
            raise
        raise InputError(f"{error} (say where they are now with --weights)") from error
    if fingerprint(folder) != index.digest:
        raise InputError(
            f"{folder}: other weights than {index.path} was embedded with; give those with "
            "--weights, or embed again"
        )
    return load(folder).embed_text(sentence)[0]


def _found(hit: Hit) -> Found:
    """What the page shows of a crop; its volume may have gone."""
    place = hit.place
    words = _where(hit)
    title = f"{hit.rank}: {hit.score:.3f} ({hit.spread:+.1f} sd)"
    try:
        volume = open_volume(place.image, axes=place.axes, voxel_size_um=place.stated_um)
        crop = volume.read(hit.origin, place.box, place.level, channels=place.channel)[0]
    except (InputError, OSError):
        return Found(title, f"{words}: cannot be read any more", None, None)
    return Found(title, words, crop, place.level_um)


def _where(hit: Hit) -> str:
    corner = " ".join(str(side) for side in hit.origin)
    level = f" of level {hit.place.level}" if hit.place.level else ""
    micrometres = ""
    if hit.origin_um is not None:
        micrometres = f" ({' '.join(f'{side:.0f}' for side in hit.origin_um)} um)"
    channel = f" channel {hit.place.channel_name}"
    return f"{hit.place.image}{channel} at {corner}{micrometres}{level}"
