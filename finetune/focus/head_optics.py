"""Microscopes that simulated stacks are taken with: any lens, one family of PSFs held out.

Families: `scalar` diffraction without aberration, `aberrated` the same through tissue of another
index, deep inside, `gaussian` beams, whose blur grows 0.73 times as fast (see `data.optics.psf`).
Distances of all are in depths of field of the lens, by its NA: nobody is told the family.
"""

from __future__ import annotations

import math

import numpy as np

from ...configs.errors import InputError
from ...data.optics.settings import OpticsRanges, draw_optics
from ...data.ranges import log_uniform
from .head_recipe import Family, HeadRecipe
from .head_stack import Lens

_SAMPLING = (0.35, 2.5)  # wavelength / NA in pixels: from coarse to beyond Nyquist
_NA = (0.1, 0.65)
_WAVELENGTH_UM, _INDEX = (0.48, 0.75), (1.33, 1.56)
_WAVELENGTHS = 2701  # one every 0.1 nm
_MISMATCH, _DEPTH_UM = (0.004, 0.012), (500.0, 1500.0)  # of the aberrated
_KERNEL_PX = 24  # that the simulator's kernels reach; a blur that is wider would be cut
_BLEACHED = 0.6
_STRIPES = (0.0, 0.15)


def check_pixel(pixel_um: float, where: str) -> None:
    """Refuse pixels (in the sample) that no lens of the simulator is used with.

    Raises:
        InputError: the pixel is too small or too large; `where` names what has it.
    """
    least = _WAVELENGTH_UM[0] / (_NA[1] * _SAMPLING[1])
    most = _WAVELENGTH_UM[1] / (_NA[0] * _SAMPLING[0])
    if not least < pixel_um < most:
        raise InputError(
            f"{where}: pixels of {pixel_um:g} um, expected {least:.3g} to {most:.3g} um, which "
            f"lenses of NA {_NA[0]:g} to {_NA[1]:g} are used with; resample it, or leave it out"
        )


def draw_lens(pixel_um: float, rng: np.random.Generator) -> Lens:
    """A lens that a camera with this pixel (in the sample) is used with.

    Wavelength and log NA are uniform where NA and sampling are both allowed.

    Raises:
        InputError: there is no such lens, see `check_pixel`.
    """
    check_pixel(pixel_um, "simulated")
    wavelengths = np.linspace(*_WAVELENGTH_UM, _WAVELENGTHS)
    low = np.maximum(_NA[0], wavelengths / (pixel_um * _SAMPLING[1]))
    high = np.minimum(_NA[1], wavelengths / (pixel_um * _SAMPLING[0]))
    room = np.log(high / low).clip(min=0)  # a wavelength with more choice of NA comes more often
    chosen = rng.choice(len(wavelengths), p=room / room.sum())
    na = log_uniform(rng, (low[chosen], high[chosen]))
    return Lens(na, float(wavelengths[chosen]), float(rng.uniform(*_INDEX)), pixel_um)


def draw_microscope(
    lens: Lens, recipe: HeadRecipe, family: Family, rng: np.random.Generator, reach_um: float
) -> dict[str, float]:
    """Everything else of a microscope, in focus.

    Args:
        lens: given.
        recipe: photons.
        family: of the PSF.
        rng: draws.
        reach_um: of the specimen along z; the sheet is kept thinner.
    """
    drawn = draw_optics(OpticsRanges(), rng)
    bleached = rng.uniform(0, _BLEACHED) if rng.random() < 0.3 else 0.0
    aberrated = family == "aberrated"
    return drawn | {
        "na": lens.na,
        "wavelength_um": lens.wavelength_um,
        "index": lens.index,
        "sheet_waist_um": min(drawn["sheet_waist_um"], reach_um / 3),
        "photons": log_uniform(rng, recipe.photons),
        "bleaching": bleached,
        "stripes": rng.uniform(*_STRIPES),
        "scalar_psf": float(family != "gaussian"),
        "index_mismatch": rng.choice((-1, 1)) * rng.uniform(*_MISMATCH) if aberrated else 0.0,
        "depth_um": rng.uniform(*_DEPTH_UM) if aberrated else drawn["depth_um"],
        **dict.fromkeys(("defocus_um", "tilt_y", "tilt_x", "bow_per_mm", "drift"), 0.0),
    }


def farthest_um(lens: Lens, sheet_waist_um: float, recipe: HeadRecipe) -> float:
    """Defocus up to which the simulator's kernels hold the whole blur, and the recipe goes."""
    sine = lens.na / lens.index
    airy = 3 * 0.61 * lens.wavelength_um / (lens.na * lens.pixel_um)
    cone = sine / math.sqrt(1 - sine**2)
    room = (_KERNEL_PX - airy) * lens.pixel_um / cone - 1.5 * sheet_waist_um
    return max(min(room, recipe.farthest_dof * lens.depth_of_field_um), 0.0)
