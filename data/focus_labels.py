"""What "in focus" means in numbers: the score of a slice, the depth of field, distances in um.

The score is that of the older workflow, 1 / (1 + (|z - z*| / sigma)^2): unlike a Gaussian it still
tells far slices apart. It needs no optics. Micrometres do: without NA, wavelength, index and
spacing there are none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..configs.errors import InputError
from .voxel import VoxelSize

SIGMA = 2.0
"""Distance at which the score is a half, of the older workflow."""


def focus_score(distance: ArrayLike, sigma: float = SIGMA) -> NDArray[np.float64]:
    """Score of slices: 1 in focus, a half at `sigma`, never 0.

    Args:
        distance: any shape, from the best slice; the sign does not matter. In um, or in slices
            where um are not known; `sigma` is in the same unit.
        sigma: above 0.

    Raises:
        InputError: sigma is not above 0.
    """
    return 1.0 / (1.0 + (np.abs(np.asarray(distance, np.float64)) / _checked(sigma)) ** 2)


def distance_of_score(score: ArrayLike, sigma: float = SIGMA) -> NDArray[np.float64]:
    """The inverse: how far from focus, without a sign; in the unit of `sigma`.

    Args:
        score: any shape, above 0 and at most 1.
        sigma: above 0.

    Raises:
        InputError: a score outside that range, to which no distance belongs; or sigma.
    """
    score = np.asarray(score, np.float64)
    if not ((score > 0) & (score <= 1)).all():
        raise InputError(
            f"focus scores from {score.min():g} to {score.max():g}, expected above 0 and at most "
            "1; no distance belongs to the others"
        )
    return _checked(sigma) * np.sqrt(1.0 / score - 1.0)


def full_depth_of_field_um(
    na: float, wavelength_um: float, refractive_index: float, pixel_um: float
) -> float:
    """Depth of field of a lens with its camera: lambda n / NA^2 + n e / (M NA), in um.

    Args:
        na: numerical aperture of detection.
        wavelength_um: of the emitted light.
        refractive_index: of the medium.
        pixel_um: in the sample, e / M: of the camera, over the magnification.

    Raises:
        InputError: an NA that no lens in this medium has, or a size that is not above 0.
    """
    if not 0 < na < refractive_index:
        raise InputError(
            f"NA {na:g} with refractive index {refractive_index:g}, expected an NA above 0 and "
            "below the index; correct the list"
        )
    if not (wavelength_um > 0 and pixel_um > 0):
        raise InputError(
            f"wavelength {wavelength_um:g} um, pixel {pixel_um:g} um, expected both above 0; "
            "correct the list"
        )
    return wavelength_um * refractive_index / na**2 + refractive_index * pixel_um / na


@dataclass(frozen=True)
class FocusUnits:
    """What turns planes into micrometres and depths of field; None = not known.

    Attributes:
        na: numerical aperture of detection.
        wavelength_nm: of the emitted light.
        refractive_index: of the medium.
        voxel_size_um: (z, y, x) in the sample; z is the step from plane to plane.
    """

    na: float | None = None
    wavelength_nm: float | None = None
    refractive_index: float | None = None
    voxel_size_um: VoxelSize | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of what is not known, as the columns of lists are called."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is None)

    @property
    def z_step_um(self) -> float | None:
        """From plane to plane; None unless everything is known."""
        return None if self.missing or self.voxel_size_um is None else self.voxel_size_um[0]

    @property
    def depth_of_field_um(self) -> float | None:
        """As `full_depth_of_field_um`; None unless everything is known."""
        if self.na is None or self.wavelength_nm is None or self.refractive_index is None:
            return None
        if self.voxel_size_um is None:
            return None
        _, y, x = self.voxel_size_um
        return full_depth_of_field_um(
            self.na, self.wavelength_nm / 1000, self.refractive_index, math.sqrt(y * x)
        )

    def distances_um(self, planes: ArrayLike) -> NDArray[np.float64] | None:
        """Planes from the best one, any shape -> um, signs kept; None unless all is known."""
        step = self.z_step_um
        return None if step is None else np.asarray(planes, np.float64) * step


def _checked(sigma: float) -> float:
    if not (sigma > 0 and math.isfinite(sigma)):
        raise InputError(f"sigma is {sigma:g}, expected a number above 0")
    return sigma
