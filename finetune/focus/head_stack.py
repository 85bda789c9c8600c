"""A stack that the focus head learns from, or is measured on: pixels, and how far from focus."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.focus_labels import full_depth_of_field_um
from ...predict.focus import Mode


@dataclass(frozen=True)
class Lens:
    """What the head may know of the optics.

    Attributes:
        na: numerical aperture of detection.
        wavelength_um: of the emitted light.
        index: of the medium.
        pixel_um: in the sample.
    """

    na: float
    wavelength_um: float
    index: float
    pixel_um: float

    @property
    def depth_of_field_um(self) -> float:
        """See `full_depth_of_field_um`."""
        return full_depth_of_field_um(self.na, self.wavelength_um, self.index, self.pixel_um)


@dataclass(frozen=True)
class LabelledStack:
    """Slices of known defocus. Z slices, Ty by Tx tiles (`data.sharpness.tile_sides`).

    Attributes:
        images: [Z, Y, X] float32 counts.
        defocus_dof: [Z, Ty, Tx], distance from focus in depths of field, without sign; nan = not
            known, or nothing to see there.
        mode: what moved.
        specimen: folds and intervals go by it.
        lens: None = not known.
        stain: free text.
        foreground: [Z, Ty, Tx, 8, 8], 1 = the cell holds foreground, 0 = none; None = not known.
    """

    images: Tensor
    defocus_dof: Tensor
    mode: Mode
    specimen: str
    lens: Lens | None = None
    stain: str | None = None
    foreground: Tensor | None = None

    @property
    def slice_dof(self) -> Tensor:
        """[Z], mean over tiles; nan where no tile is known."""
        return torch.nanmean(self.defocus_dof.flatten(1), 1)
