"""Dimensions of the focus head, and what goes in and comes out of it; no network is built here."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

TILE = 64
"""Pixels a side of the tiles that slices are judged by, at native resolution."""
CELL = 8
"""Pixels a side of a cell of a tile: of one token of the encoder."""
CELLS = TILE // CELL


class FocusConfig(BaseModel):
    """Dimensions; all that is needed, with the weights, to build a head again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, int, int] | None = (16, 32, 64)
    """Of the stem's convolutions, with strides 1, 2, 2; None = the fixed bank alone."""
    rings: int = Field(default=10, ge=3)
    """Of frequencies, scaled by what a depth of field blurs."""
    width: int = Field(default=64, ge=8)
    edges_dof: tuple[float, ...] = (0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5)
    """Between the levels, in depths of field; below the first is in focus, the last is open."""
    measures: int = Field(default=0, ge=0)
    """How many numbers of the classical measures of a tile join its features; 0 = none."""
    course: bool = False
    """Whether a sweep is judged as a whole, too: see `focus_course`."""
    context: int | None = Field(default=None, ge=1)
    """Width of the frozen encoder's tokens; None = the stem alone."""
    film: bool = True
    """Whether lens and stain steer the features."""
    mixer: bool = False
    """Whether slices of a sweep see their neighbours."""
    stains: int | None = Field(default=None, ge=1)
    """How many stains have prototypes; None = levels by a linear layer, no stain."""
    stain_dim: int = Field(default=64, ge=4)
    regressor: str | None = None
    """Name of a timm encoder that takes the place of all of the above: one number a slice."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        edges = self.edges_dof
        if len(edges) < 2 or edges[0] <= 0 or any(b <= a for a, b in pairwise(edges)):
            raise ValueError(f"edges_dof is {edges}, expected two or more rising numbers above 0")
        return self

    @property
    def levels(self) -> int:
        """K."""
        return len(self.edges_dof) + 1


class FocusInput(NamedTuple):
    """Tiles of slices. Shapes: B stacks, Z slices, T tiles, the same tiles for all Z.

    tiles: [B, Z, T, 64, 64] float32, 0 = no dye, 1 = bright, by one level and spread of the stack.
    lens: [B, 4]: NA, wavelength in um, refractive index, pixel in um; a row of nan = not known.
    stain: [B] int64, number of the stain; 0 = not known.
    sweep: [B] bool, whether slices show the same content, so that they may be mixed.
    z: [B, Z] int64, places of the slices in the crops that the tokens are of.
    tokens: [B, T, gz, 8, 8, D] of the frozen encoder; None without context.
    measures: [B, Z, T, M] of the tiles, which gain and offset do not change; None without.
    """

    tiles: Tensor
    lens: Tensor
    stain: Tensor
    sweep: Tensor
    z: Tensor
    tokens: Tensor | None = None
    measures: Tensor | None = None


class FocusFeatures(NamedTuple):
    """What is known of tiles before slices are put together. W width.

    pooled: [B, Z, T, W], means over foreground.
    gate: [B, Z, T, 8, 8] logits of foreground.
    strange: [B, Z, T], see `focus_strange`; 0 of a head that does not know.
    """

    pooled: Tensor
    gate: Tensor
    strange: Tensor


class FocusAnswer(NamedTuple):
    """Distances from focus, without sign, in depths of field. K levels.

    expected: [B, Z] of slices. log_variance: [B, Z] of its error.
    tiles: [B, Z, T] expected of tiles.
    empty: [B, Z] probability that a slice shows nothing.
    weights: [B, Z, T] by which tiles count, 1 in sum.
    strange: [B, Z], mean over tiles; above 1 the rest is not to be believed.
    logits: [B, Z, K] of the levels; None of a regression. tile_logits: [B, Z, T, K], the same.
    """

    expected: Tensor
    log_variance: Tensor
    tiles: Tensor
    empty: Tensor
    weights: Tensor
    strange: Tensor
    logits: Tensor | None
    tile_logits: Tensor | None
