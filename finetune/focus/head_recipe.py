"""What `luxvox finetune focus` may be told: which head, what it learns from, for how long."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...data.ranges import Range
from ...data.synthetic.recipe import SimulateRecipe
from ...models.losses.focus import FocusWeights
from ...predict.focus import Mode

Family = Literal["scalar", "aberrated", "gaussian"]


class HeadRecipe(BaseModel):
    """A run: configs/focus/*.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str | None = None
    """Weights of a frozen 3D encoder; null = the stem alone."""
    stain: bool = False
    """Levels by prototypes that know the stain; needs the text tower, in training only."""
    mixer: bool = False
    film: bool = True
    regressor: str | None = None
    """A timm encoder and one number a slice, in place of the head."""
    channels: tuple[int, int, int] | None = (16, 32, 64)
    """Of the stem's convolutions; null = its fixed bank alone."""
    measures: bool = False
    """Whether the classical measures of each tile join the features."""
    course: bool = False
    """Whether a sweep is judged as a whole, too: on either side of one focus."""
    width: int = Field(default=64, ge=8)
    losses: FocusWeights = FocusWeights()

    mode: Mode | None = None
    """What moved in the stacks of a list: the objective (sweep) or the sample (volume); null =
    sweep. Not for simulated stacks, which are both."""
    scene: SimulateRecipe = Field(default_factory=SimulateRecipe)
    """What simulated specimens show; its size, pixels and optics are not used."""
    specimens: int = Field(default=48, ge=2)
    stacks: int = Field(default=6, ge=1)
    """Of each simulated specimen; about a third are volumes, the others sweeps."""
    planes: int = Field(default=33, ge=9)
    """Of a specimen."""
    side: int = Field(default=128, ge=64)
    """Pixels of a simulated slice."""
    slices: int = Field(default=12, ge=3)
    """Of a simulated stack."""
    photons: Range = (30.0, 6000.0)
    """Of a voxel filled with dye."""
    farthest_dof: float = Field(default=9.0, gt=0)
    """Of a simulated slice from focus."""
    empty: float = Field(default=0.08, ge=0, lt=1)
    """Share of simulated stacks without dye."""
    families: tuple[Family, ...] = ("scalar",)
    held_out_psf: Family = "aberrated"
    """Never trained on; what metrics.json calls held out."""
    real: str | None = None
    """A dataset list of sharp volumes, which are defocused like simulated specimens."""

    calibration: int = Field(default=24, ge=1)
    """Left-out specimens whose errors the intervals are made from."""
    tests: int = Field(default=16, ge=1)
    """Further ones, for metrics.json."""
    steps: int = Field(default=600, ge=1)
    batch: int = Field(default=8, ge=1)
    window: int = Field(default=8, ge=1)
    """Neighbouring slices of a stack in a batch, at most."""
    tiles: int = Field(default=2, ge=1)
    """Of a slice in a batch."""
    alone: float = Field(default=0.5, ge=0, le=1)
    """Share of sweeps in a batch whose slices are shown as those of volumes are: each by itself."""
    lr: float = Field(default=2e-3, gt=0)
    grounding_epochs: int = Field(default=10, ge=1)
    unknown_stain: float = Field(default=0.2, ge=0, le=1)
    """Share of stacks whose stain is not told."""
    unknown_lens: float = Field(default=0.15, ge=0, le=1)
    """The same of lenses."""
    save_every: int = Field(default=100, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.held_out_psf in self.families:
            raise ValueError(
                f"held_out_psf is {self.held_out_psf!r}, which families trains on; hold out another"
            )
        if not self.families:
            raise ValueError("families is empty, expected one or more to train on")
        own = (self.encoder, self.stain, self.mixer, self.measures, self.course)
        if self.regressor is not None and any(own):
            raise ValueError(
                f"regressor is {self.regressor!r}, which has no encoder, stain, mixer, measures or "
                "course; leave them out"
            )
        return self


def first_change(old: Any, new: HeadRecipe) -> str | None:
    """The first key of a kept recipe that differs, with both values; None = it is the same.

    Args:
        old: as read from a file. Keys that it lacks, as one of an earlier luxvox does, are null.
        new: what is wanted now.
    """
    if not isinstance(old, dict):
        return "not readable"
    wanted = new.model_dump(mode="json")
    for key in {**old, **wanted}:
        if old.get(key) != wanted.get(key):
            return f"{key} was {old.get(key)!r:.60}, is {wanted.get(key)!r:.60}"
    return None
