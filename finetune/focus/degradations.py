"""What may be wrong with an image: kinds and strengths, as changes of the simulated optics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ...data.optics.settings import Optics, OpticsRanges, depth_of_field_um, draw_optics
from ...data.optics.sweep import defocus_sweep
from ...data.voxel import VoxelSize

LEVELS = 5
"""Strengths of every kind."""

# Kind -> value at the lowest and at the highest strength, spaced by ratio.
_STRENGTHS: Mapping[str, tuple[float, float]] = {
    "defocus": (0.5, 5.0),  # in depths of field of the sample
    "noise": (400.0, 8.0),  # photons of a voxel filled with dye
    "smoothing": (0.5, 2.5),  # pixels, of the image with its noise: rescaled, denoised
    "stripes": (0.1, 1.0),
    "thick_sheet": (4.0, 16.0),  # um
}
_PARAMETER = {
    "noise": "photons",
    "smoothing": "smoothing_px",
    "stripes": "stripes",
    "thick_sheet": "sheet_waist_um",
}
KINDS = tuple(_STRENGTHS)
_GOOD = {"photons": 2000.0, "sheet_waist_um": 3.0, "background_photons": 2.0}
_NONE = ("stripes", "defocus_um", "hot_pixels", "bleaching", "smoothing_px")
_NA = (0.2, 0.6)


@dataclass(frozen=True)
class Degradation:
    """One kind at one strength.

    Attributes:
        kind: of `KINDS`.
        level: 0 to `LEVELS` - 1.
    """

    kind: str
    level: int

    @property
    def number(self) -> int:
        """A number of its own."""
        return KINDS.index(self.kind) * LEVELS + self.level


def draw_degradation(rng: np.random.Generator) -> Degradation:
    """Any kind, any strength."""
    return Degradation(KINDS[int(rng.integers(len(KINDS)))], int(rng.integers(LEVELS)))


def draw_microscope(rng: np.random.Generator) -> dict[str, float]:
    """A good microscope of any NA, wavelength and medium: what images are degraded from."""
    return {**draw_optics(OpticsRanges(na=_NA), rng), **_GOOD, **dict.fromkeys(_NONE, 0.0)}


def degraded(microscope: Mapping[str, float], worse: Degradation) -> dict[str, float]:
    """The same microscope with one thing wrong."""
    low, high = _STRENGTHS[worse.kind]
    value = low * (high / low) ** (worse.level / (LEVELS - 1))
    if worse.kind == "defocus":
        lens = [torch.tensor(microscope[name]) for name in ("na", "wavelength_um", "index")]
        return {**microscope, "defocus_um": value * float(depth_of_field_um(*lens))}
    return {**microscope, _PARAMETER[worse.kind]: value}


def photograph_planes(
    density: Tensor,
    voxel_size_um: VoxelSize,
    microscopes: list[dict[str, float]],
    generator: torch.Generator,
) -> Tensor:
    """Image the middle plane of volumes, each with a microscope of its own.

    Args:
        density: [B, 1, Z, Y, X] dye.
        voxel_size_um: (z, y, x).
        microscopes: of the B samples.
        generator: of noise.

    Returns:
        [B, Y, X] light in photons of the dye, gain and offset of the camera undone.
    """
    optics = Optics.stack(microscopes)
    sweep = defocus_sweep(density, voxel_size_um, optics, torch.zeros(1), generator)
    counts = sweep.images[:, 0, 0]
    photons = (counts - _each(optics.offset)) / _each(optics.counts_per_photon)
    light = (photons - _each(optics.background_photons)) / _each(optics.photons)
    widths = optics.smoothing_px.tolist()
    smooth = [
        gaussian_filter(image, width) for image, width in zip(light.numpy(), widths, strict=True)
    ]
    return torch.from_numpy(np.stack(smooth))


def _each(value: Tensor) -> Tensor:
    return value[:, None, None]
