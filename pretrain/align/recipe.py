"""The recipe of an alignment: what stands in RUN/recipe.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ...data.augment import AugmentConfig
from ..recipe import OptimRecipe, RecipePart


class AlignRecipe(RecipePart):
    """How crops of a frozen encoder are placed beside sentences."""

    stage: Literal["align"]
    """What tells this recipe from those of stages A and B."""
    init: str
    """Dense weights: a RUN, a folder, a name that ships. None of their tensors is changed."""
    data: tuple[str, ...] = Field(min_length=1)
    """Lists with captions, real and simulated; rows of split val and test are not used."""
    out: str
    views: int = Field(default=16, ge=1)
    """Augmented crops of each volume that are encoded, once, before anything is learnt."""
    tokens: int = Field(default=64, ge=1)
    """Of each crop, drawn at random: the pool has to make do with parts, as in stage A."""
    steps: int = Field(default=300, gt=0)
    batch_size: int = Field(default=64, ge=4)
    """Crops a step: of each list as many, and in it of each caption as often."""
    variants: int = Field(default=8, ge=1)
    """Truthful wordings of a caption; 1 is the caption alone."""
    noise: float = Field(default=0.1, ge=0)
    """Added to the vector of a sentence, relative to its norm."""
    naming: float = Field(default=1.0, ge=0)
    """Weight of the second term, which places crops beside the bare name of their structure; that
    of the captions has weight 1."""
    dim: int = Field(default=256, gt=0)
    """Of the shared space."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: Literal["auto", "cpu"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    augment: AugmentConfig = AugmentConfig()
    optim: OptimRecipe = OptimRecipe(lr=1e-3, ema=0.98, decay_share=0.5)
