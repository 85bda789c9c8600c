"""What `luxvox simulate` makes: every range, in physical units, as one strict recipe."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from ..optics.settings import OpticsRanges
from ..ranges import Range, Ranges
from .autofluorescence import AutofluorescenceRanges
from .catalogue import CATALOGUE, StructureRanges
from .debris import DebrisRanges
from .grid import Shape
from .tissue import TissueRanges


class SceneRanges(Ranges):
    """How structures come together in one scene. Shares are probabilities; all our judgement."""

    second_stained: float = Field(default=0.2, ge=0, le=1)
    """Share of scenes in which the stain colours a second structure, more weakly."""
    second_brightness: Range = (0.15, 0.5)
    dark_vessels: float = Field(default=0.35, ge=0, le=1)
    """Share of scenes with unstained vessels, which the tissue's own light leaves dark."""
    dark_nuclei: float = Field(default=0.2, ge=0, le=1)
    """The same for nuclei."""
    texture: float = Field(default=0.4, ge=0, le=1)
    """Share of scenes whose background has the texture of neuropil."""
    debris: float = Field(default=0.15, ge=0, le=1)
    """Share of scenes with dirt and precipitates."""
    tissue: TissueRanges = Field(default_factory=TissueRanges)
    autofluorescence: AutofluorescenceRanges = Field(default_factory=AutofluorescenceRanges)
    specks: DebrisRanges = Field(default_factory=DebrisRanges)


Nodes = Annotated[int, Field(ge=1)]


def _split(value: object) -> object:
    """Read "96,96,96" as three numbers: brackets are a nuisance on a command line."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class SimulateRecipe(Ranges):
    """A set of simulated volumes.

    Attributes:
        size: (z, y, x) in voxels.
        structures: which are the main one of a volume, in turn.
        pixel_um: voxel size across; log-uniform.
        z_over_xy: voxel size along z over that; log-uniform.
        val_share: share of the volumes that the list holds back.
        nodes: kernels along (z, y, x) that the optics blend between.
    """

    size: Annotated[Shape, BeforeValidator(_split)] = (96, 96, 96)
    structures: tuple[str, ...] = tuple(CATALOGUE)
    pixel_um: Range = (0.6, 2.0)
    z_over_xy: Range = (1.0, 4.0)
    val_share: float = Field(default=0.25, ge=0, lt=1)
    nodes: tuple[Nodes, Nodes, Nodes] = (1, 1, 2)
    structure: StructureRanges = Field(default_factory=StructureRanges)
    scene: SceneRanges = Field(default_factory=SceneRanges)
    optics: OpticsRanges = Field(default_factory=OpticsRanges)

    @model_validator(mode="after")
    def _positive(self) -> Self:
        for name in ("pixel_um", "z_over_xy"):
            low, high = getattr(self, name)
            if low <= 0:
                raise ValueError(f"{name} is {low:g} to {high:g}, expected numbers above 0")
        return self
