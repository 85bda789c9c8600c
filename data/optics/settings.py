"""How a volume is imaged: every parameter of the optics, drawn from ranges in physical units."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from ...configs.errors import InputError
from ..ranges import Range, Ranges, log_uniform, uniform

Share = Annotated[float, Field(ge=0, le=1)]


class OpticsRanges(Ranges):
    """Ranges that `draw_optics` takes each parameter of `Optics` from (same names, same units).

    The defaults span cleared-tissue light-sheet microscopes: detection NA of 0.1 (macro zoom lens)
    to 0.6 (dipping objectives), sheets of 2 to 8 um, sCMOS cameras. Where nothing else is said, a
    range is our judgement.
    """

    psf: Literal["scalar", "gaussian"] = "scalar"
    na: Range = (0.12, 0.6)
    wavelength_um: Range = (0.48, 0.75)
    index: Range = (1.33, 1.56)
    """Water to dibenzyl ether, the media that tissue is cleared in."""
    sheet_waist_um: Range = (2.0, 8.0)
    sheet_offset_um: Range = (-300.0, 300.0)
    defocus_um: Range = (-3.0, 3.0)
    tilt: Range = (-0.01, 0.01)
    bow_per_mm: Range = (-3.0, 3.0)
    drift: Range = (-0.01, 0.01)
    depth_um: Range = (0.0, 1500.0)
    index_mismatch: Range = (-0.003, 0.003)
    detection_length_um: Range = (600.0, 8000.0)
    illumination_length_um: Range = (600.0, 8000.0)
    scatter_um_per_mm: Range = (0.0, 1.5)
    haze: Range = (0.0, 0.3)
    haze_um: Range = (8.0, 40.0)
    stripes: Range = (0.0, 0.3)
    stripe_um: Range = (3.0, 15.0)
    bleaching: Range = (0.0, 0.1)
    unevenness: Range = (0.0, 0.2)
    photons: Range = (60.0, 6000.0)
    background_photons: Range = (1.0, 60.0)
    counts_per_photon: Range = (0.5, 4.0)
    offset: Range = (90.0, 400.0)
    read_noise: Range = (1.0, 4.0)
    hot_pixels: Range = (0.0, 5e-5)
    smoothing_px: Range = (0.3, 1.1)
    subtracted: Range = (0.1, 0.6)
    bits_12: Share = 0.1
    """Share of cameras with 12 bits; the others have 16."""
    resampled: Share = 0.5
    """Share of volumes that an interpolation smoothed by `smoothing_px`."""
    cut: Share = 0.25
    """Share of volumes with the quantile `subtracted` taken off as background."""
    bits_8: Share = 0.25
    """Share of volumes that were squeezed into 8 bits."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, span in self:
            if isinstance(span, tuple) and name not in _SIGNED:
                least = "above" if name in _LOGARITHMIC else "at least"
                if span[0] < 0 or (span[0] == 0 and name in _LOGARITHMIC):
                    raise ValueError(f"{name} is {span[0]:g} to {span[1]:g}, expected {least} 0")
        check_lens(self.na[1], self.index[0], self.wavelength_um[0], self.sheet_waist_um[0])
        return self


_LOGARITHMIC = frozenset(
    "na sheet_waist_um detection_length_um illumination_length_um haze_um stripe_um photons "
    "background_photons counts_per_photon".split()
)


_SIGNED = frozenset("sheet_offset_um defocus_um tilt bow_per_mm drift index_mismatch".split())


@dataclass(frozen=True)
class Optics:
    """Optics of a batch; every field is a float32 tensor [B].

    Attributes:
        na: numerical aperture of detection.
        wavelength_um: of the emitted light; the sheet is taken to have the same.
        index: refractive index of the medium.
        sheet_waist_um: 1/e^2 half thickness of the sheet at its waist.
        sheet_offset_um: where along x the waist lies, from the middle of the crop.
        defocus_um: sheet minus focal plane, in the middle of the crop.
        tilt_y, tilt_x: defocus gained along y and x, um per um.
        bow_per_mm: curvature of the sheet: defocus gained is bow_per_mm * (distance in mm)^2 um.
        drift: defocus gained along z, um per um.
        depth_um: of the first plane below the surface.
        index_mismatch: index of the tissue minus that of the medium.
        detection_length_um: depth at which the detected light has dropped to 1/e.
        illumination_length_um: the same for the sheet, along x.
        scatter_um_per_mm: blur (standard deviation) gained per mm of depth.
        haze: share of the light that is scattered into a wide halo.
        haze_um: standard deviation of that halo.
        stripes: root mean square of the optical depth of absorbers in the light path.
        stripe_um: width of their shadows.
        bleaching: share of the dye lost from the first plane to the last.
        unevenness: light missing at the edge of the sheet, along y.
        photons: mean number of a voxel filled with dye, at the surface.
        background_photons: of the medium, in every voxel.
        counts_per_photon: of the camera.
        offset: counts without light.
        read_noise: standard deviation in counts.
        hot_pixels: share of pixels that are always bright.
        bits: 12 or 16.
        smoothing_px: standard deviation of later smoothing, along each axis; 0 = none.
        subtracted: quantile that was subtracted as background; 0 = none.
        eight_bit: 1 = squeezed into 8 bits.
        scalar_psf: 1 = scalar diffraction (Born and Wolf, with aberration), 0 = Gaussian beams.
    """

    na: Tensor
    wavelength_um: Tensor
    index: Tensor
    sheet_waist_um: Tensor
    sheet_offset_um: Tensor
    defocus_um: Tensor
    tilt_y: Tensor
    tilt_x: Tensor
    bow_per_mm: Tensor
    drift: Tensor
    depth_um: Tensor
    index_mismatch: Tensor
    detection_length_um: Tensor
    illumination_length_um: Tensor
    scatter_um_per_mm: Tensor
    haze: Tensor
    haze_um: Tensor
    stripes: Tensor
    stripe_um: Tensor
    bleaching: Tensor
    unevenness: Tensor
    photons: Tensor
    background_photons: Tensor
    counts_per_photon: Tensor
    offset: Tensor
    read_noise: Tensor
    hot_pixels: Tensor
    bits: Tensor
    smoothing_px: Tensor
    subtracted: Tensor
    eight_bit: Tensor
    scalar_psf: Tensor

    @classmethod
    def stack(cls, samples: Sequence[Mapping[str, float]]) -> Optics:
        """Optics of a batch from the parameters of its samples, as `draw_optics` gives them.

        Raises:
            InputError: a parameter is unknown or missing, or a lens is impossible.
        """
        names = [field.name for field in fields(cls)]
        for sample in samples:
            wrong = sorted(set(sample) ^ set(names))
            if wrong:
                raise InputError(f"optics: unknown or missing parameter {wrong[0]!r}")
            check_lens(
                sample["na"], sample["index"], sample["wavelength_um"], sample["sheet_waist_um"]
            )
        return cls(
            **{name: torch.tensor([float(sample[name]) for sample in samples]) for name in names}
        )

    def to(self, device: torch.device | str) -> Optics:
        """The same on another device."""
        return Optics(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def sample(self, number: int) -> dict[str, float]:
        """The parameters of one sample, to be written beside its volume."""
        return {f.name: float(getattr(self, f.name)[number]) for f in fields(self)}

    def __len__(self) -> int:
        """Samples in the batch."""
        return len(self.na)


def draw_optics(ranges: OpticsRanges, rng: np.random.Generator) -> dict[str, float]:
    """Draw the parameters of one sample."""

    def draw(name: str, span: Range) -> float:
        return log_uniform(rng, span) if name in _LOGARITHMIC else uniform(rng, span)

    drawn: dict[str, float] = {}
    for name, span in ranges:
        if name == "tilt":
            drawn |= {"tilt_y": uniform(rng, span), "tilt_x": uniform(rng, span)}
        elif isinstance(span, tuple):
            drawn[name] = draw(name, span)
    drawn["bits"] = 12.0 if rng.random() < ranges.bits_12 else 16.0
    drawn["smoothing_px"] *= rng.random() < ranges.resampled
    drawn["subtracted"] *= rng.random() < ranges.cut
    drawn["eight_bit"] = float(rng.random() < ranges.bits_8)
    drawn["scalar_psf"] = float(ranges.psf == "scalar")
    return drawn


def sharp_optics(**changes: float) -> dict[str, float]:
    """An ideal microscope to start from: in focus, no tissue effects, a noiseless camera.

    Args:
        changes: parameters of `Optics` to set.
    """
    ideal = {field.name: 0.0 for field in fields(Optics)} | {
        "na": 0.3,
        "wavelength_um": 0.52,
        "index": 1.45,
        "sheet_waist_um": 4.0,
        "detection_length_um": math.inf,
        "illumination_length_um": math.inf,
        "haze_um": 20.0,
        "stripe_um": 5.0,
        "photons": 1000.0,
        "counts_per_photon": 1.0,
        "bits": 16.0,
        "scalar_psf": 1.0,
    }
    return ideal | changes


def per_voxel(value: Tensor) -> Tensor:
    """A parameter [B] as [B, 1, 1, 1], to meet volumes [B, Z, Y, X]."""
    return value[:, None, None, None]


def depth_of_field_um(na: Tensor, wavelength_um: Tensor, index: Tensor) -> Tensor:
    """Diffraction depth of field, n lambda / NA^2 (Inoue and Spring, Video Microscopy, 1997)."""
    return index * wavelength_um / na.square()


def check_lens(na: float, index: float, wavelength_um: float, waist_um: float) -> None:
    """Refuse what no lens can do.

    Raises:
        InputError: says which number is impossible.
    """
    if not 0 < na < index:
        raise InputError(
            f"optics: NA {na:g} with refractive index {index:g}; the NA must lie between 0 and the "
            "index (it is index * sin of an angle)"
        )
    if not wavelength_um > 0 or not math.isfinite(wavelength_um):
        raise InputError(f"optics: wavelength {wavelength_um:g} um; expected a positive number")
    if not waist_um > 0:
        raise InputError(f"optics: sheet of {waist_um:g} um; expected a positive number")


def warn_thin_sheet(waist_um: float, pitch_um: float) -> None:
    """Say that a sheet is thinner than the planes that it is sampled with."""
    if 2 * waist_um < pitch_um:
        warnings.warn(
            f"the light sheet ({2 * waist_um:.2g} um thick) is thinner than the planes are apart "
            f"({pitch_um:.2g} um): what lies between two planes is not imaged",
            stacklevel=3,
        )
