"""From what the network says of a block to what is stored of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..data.normalize import IntensityStats, denormalize


class Stored(NamedTuple):
    """How a store holds an output; `channels` 0 = axes zyx."""

    channels: int
    dtype: str
    kind: Literal["image", "labels"]


OBJECTS = Stored(0, "uint32", "labels")
"""How a store holds numbered objects."""


class BlockOutput(BaseModel):
    """What is wanted of every voxel; stands in plan.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: Literal[
        "labels", "probabilities", "restored", "embeddings", "classes", "class_probabilities"
    ]
    """The last three are maps, of which a voxel stands for a patch or a tile."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """Of labels with one foreground: a voxel is foreground above it."""
    label_values: tuple[int, ...] = ()
    """Of labels with several classes: the value of each; () = the number of the class."""
    names: tuple[str, ...] = ()
    """Of probabilities of several classes: what the channels are called."""
    depth: bool = False
    """Of labels with one foreground that objects are numbered in: the depth inside each, which the
    network has learnt as a second channel, is stored as well."""

    @property
    def is_labels(self) -> bool:
        """Whether values name something, so that no mean may be taken of them."""
        return self.what in ("labels", "classes")

    def stored(self, channels: int) -> Stored:
        """How answers of that many channels are stored."""
        if self.depth:
            return Stored(2, "float32", "image")
        if self.what == "embeddings":
            return Stored(channels, "float16", "image")
        if self.what == "classes":  # 0 = nothing is there
            return Stored(0, np.min_scalar_type(channels).name, "labels")
        if self.what == "labels":
            largest = max(self.label_values, default=channels)
            least = min(self.label_values, default=0)
            dtype = np.result_type(np.min_scalar_type(least), np.min_scalar_type(largest))
            return Stored(0, "uint8" if channels == 1 else dtype.name, "labels")
        return Stored(channels if channels > 1 else 0, "float32", "image")

    def values(self, answer: NDArray[np.float32], stats: IntensityStats) -> NDArray:
        """What is stored of an answer [C, Z, Y, X]: [Z, Y, X], or [C, Z, Y, X] of several.

        Args:
            answer: probabilities, tokens, or a normalised image of one channel; with depth, a
                probability and the depth.
            stats: of the volume.
        """
        if self.depth:
            return np.stack([(answer[0] > self.threshold).astype(np.float32), answer[1]])
        if self.what == "restored":
            return denormalize(answer[0].astype(np.float64), stats).astype(np.float32)
        if self.what == "embeddings":
            return answer.astype(np.float16)
        if self.what == "classes":
            return (answer.argmax(0) + 1).astype(self.stored(len(answer)).dtype)
        if self.what.endswith("probabilities"):
            return answer if len(answer) > 1 else answer[0]
        if len(answer) == 1:
            return (answer[0] > self.threshold).astype(np.uint8)
        found = answer.argmax(0)
        dtype = self.stored(len(answer)).dtype
        return np.array(self.label_values or range(len(answer)), dtype=dtype)[found]

    def of_nothing(self, shape: tuple[int, int, int], channels: int) -> NDArray:
        """What is stored of a block that is skipped: background, in maps 0.

        Args:
            shape: (Z, Y, X) of the block.
            channels: of the network's answers.
        """
        stored = self.stored(channels)
        if stored.channels:
            values = np.zeros((stored.channels, *shape), stored.dtype)
            if self.what == "probabilities":
                values[0] = 1  # the first class is the background
            return values
        background = self.label_values[0] if self.what == "labels" and self.label_values else 0
        return np.full(shape, background, stored.dtype)
