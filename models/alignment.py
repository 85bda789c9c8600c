"""The space that crops share with sentences: a pool, and one projection from either side.

Stage A trains it together with the encoder (`pretrain.objectives`); here it stands alone, for an
encoder that has learnt something else since and holds still (`pretrain.align`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from .checkpoint import load_strict
from .encoder import Encoded
from .pool import AttentionPool
from .sizes import EncoderConfig
from .text import Projector

ALIGNMENT = "alignment."
"""What its tensors are called by in a weights folder, before their own names."""


class AlignmentConfig(BaseModel):
    """Dimensions; stands in config.json under architecture.alignment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(default=256, ge=1)
    """Of the shared space."""
    text_dim: int = Field(default=384, ge=1)
    """Of what the sentence encoder gives."""


class Alignment(nn.Module):
    """Tokens of crops and vectors of sentences to unit vectors of one space.

    Args:
        encoder: dimensions of the encoder whose tokens come in.
        config: of the rest.
    """

    def __init__(self, encoder: EncoderConfig, config: AlignmentConfig) -> None:
        super().__init__()
        self.config = config
        self.pool = AttentionPool(encoder.width, encoder.heads)
        self.image_projector = Projector(encoder.width, config.dim)
        self.text_projector = Projector(config.text_dim, config.dim)

    def images(self, encoded: Encoded) -> Tensor:
        """[B, dim] float32 of length 1: one vector a crop."""
        return self.image_projector(self.pool(encoded))

    def sentences(self, vectors: Tensor) -> Tensor:
        """[M, text_dim] of the sentence encoder -> [M, dim] float32 of length 1."""
        return self.text_projector(vectors)


def read_alignment(
    architecture: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> Alignment | None:
    """The alignment that weights hold, in evaluation mode; None where they hold none.

    Args:
        architecture: of config.json.
        tensors: of the weights, by name; those of other parts are passed over.
        where: names the weights in messages.

    Raises:
        InputError: tensors that do not fit; ValueError or TypeError: dimensions that are none.
    """
    if "alignment" not in architecture:
        return None
    encoder = EncoderConfig(**architecture["encoder"])
    alignment = Alignment(encoder, AlignmentConfig(**architecture["alignment"]))
    own = {n.removeprefix(ALIGNMENT): t for n, t in tensors.items() if n.startswith(ALIGNMENT)}
    load_strict(alignment, own, f"{where}: {ALIGNMENT}")
    return alignment.eval()
