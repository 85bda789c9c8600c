"""What the comparison of focus methods compares; checked before any work."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ....data.sharpness import MEASURES
from ....predict.focus import Mode

SIMULATED = "simulated"
"""Word that stands for the simulated cases, among paths of lists."""
CONTROLS = ("z_index", "middle", "intensity")
ENSEMBLE = "ensemble"
RIDGES = ("ridge_classical", "ridge_encoder", "ridge_quality")
HEADS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "cnn": ("focus/regression", ()),
    "ordinal": ("focus/stain", ("encoder=null",)),
    "stem": ("focus/stem", ()),
    "measures": ("focus/measures", ()),
    "encoder": ("focus/encoder", ()),
    "mixer": ("focus/mixer", ()),
}
"""Learned heads: shipped recipe, and what is changed in it."""
METHODS = (*CONTROLS, *MEASURES, ENSEMBLE, *RIDGES, *HEADS)
"""In the order of the tables: B0, B1, B2, B3, B4, B5, ours."""
REFERENCE = "dcts"
"""The gated DCT measure: what the others are compared with, and the default without weights."""


class SimulatedCases(BaseModel):
    """Specimens that are simulated for the comparison, and for nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    specimens: int = Field(default=24, ge=2)
    """Judged, in every condition."""
    training: int = Field(default=40, ge=3)
    """Others, that ridge regressions learn from."""
    side: int = Field(default=128, ge=32)
    """Pixels of 1 um of a slice."""
    slices: int = Field(default=21, ge=5)
    """Of a sweep."""
    photons: tuple[float, ...] = (1000.0, 150.0, 30.0)
    """Of a voxel filled with dye: one condition each."""
    seed: int = Field(default=0, ge=0, lt=2**32)

    @field_validator("photons")
    @classmethod
    def _lit(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) <= 0:
            raise ValueError("expected numbers of photons above 0, such as [1000, 30]")
        return tuple(dict.fromkeys(value))


class FocusPlan(BaseModel):
    """A whole comparison, as it stands in DIR/recipe.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sets: tuple[str, ...] = Field(min_length=1)
    """The word "simulated", lists of labelled stacks, folders of published sets."""
    out: str
    mode: Mode = "sweep"
    """What moved in the stacks of lists."""
    methods: tuple[str, ...] | None = None
    """None = all; ridge_quality where `quality` is given, heads where their RUN or `train` is."""
    simulated: SimulatedCases = SimulatedCases()
    encoder: str = "luxvox-tiny"
    """Frozen, of ridge_encoder."""
    quality: str | None = None
    """A folder of luxvox focus-quality, of ridge_quality."""
    heads: Mapping[str, str] = {}
    """Name of a head -> RUN of luxvox finetune focus."""
    train: Mapping[str, int | float | str] | None = None
    """Keys of the recipe by which heads without a RUN are trained, on simulated specimens, such as
    {steps: 200}; None = such heads are left out."""

    @model_validator(mode="after")
    def _holds_together(self) -> FocusPlan:
        for name in self.methods or ():
            if name not in METHODS:
                near = difflib.get_close_matches(name, METHODS, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"no focus method {name!r}, expected some of {', '.join(METHODS)}{hint}"
                )
            if name == "ridge_quality" and self.quality is None:
                raise ValueError("method 'ridge_quality' needs a branch; give quality=FOLDER")
            if name in HEADS and name not in self.heads and self.train is None:
                raise ValueError(
                    f"method {name!r} needs weights; give heads.{name}=RUN, or train.steps=200"
                )
        for name in self.heads:
            if name not in HEADS:
                raise ValueError(f"heads: {name!r}, expected some of {', '.join(HEADS)}")
        return self

    def chosen(self) -> tuple[str, ...]:
        """Methods that are run, in the order of the tables."""
        if self.methods is not None:
            return tuple(name for name in METHODS if name in self.methods)
        trained = self.heads if self.train is None else HEADS
        return tuple(
            name
            for name in METHODS
            if (name != "ridge_quality" or self.quality is not None)
            and (name not in HEADS or name in trained)
        )
