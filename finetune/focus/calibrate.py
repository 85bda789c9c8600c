"""Micrometres from scores: slope and intercept for each objective and channel, from few stacks.

What is reported as held out is: the calibration of a stack is made without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError
from ...predict.focus_calibration import Calibration, Residuals
from ...predict.focus_fit import FocusFit

FEW = (1, 3, 5, 10)
"""Numbers of stacks that a recalibration is tried with."""


@dataclass(frozen=True)
class Measured:
    """Slices whose distance from focus is known. N slices.

    Attributes:
        distance: [N], as the scores give it, in the unit of the fit.
        true_um: [N], |z - z*|.
        stacks: [N], names.
        depth_of_field_um: of the objective.
    """

    distance: NDArray[np.float64]
    true_um: NDArray[np.float64]
    stacks: tuple[str, ...]
    depth_of_field_um: float

    def only(self, stacks: Sequence[str]) -> Measured:
        """Slices of some stacks."""
        inside = np.isin(np.asarray(self.stacks), list(stacks))
        names = tuple(np.asarray(self.stacks)[inside])
        return Measured(self.distance[inside], self.true_um[inside], names, self.depth_of_field_um)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the stacks, in order."""
        return tuple(dict.fromkeys(self.stacks))


@dataclass(frozen=True)
class Recalibrated:
    """What a recalibration came to.

    Attributes:
        fit: with the new calibration, or as it was.
        accepted: whether it is new.
        before_um, after_um: mean absolute error on stacks that were not used.
        stacks: used, by name.
    """

    fit: FocusFit
    accepted: bool
    before_um: float
    after_um: float
    stacks: tuple[str, ...]


def fit_calibration(measured: Measured) -> Calibration:
    """Slope, intercept and residuals of left-out stacks.

    Every stack has the same weight. With one stack the residuals are its own, and too small; its
    intervals are infinite all the same, because one stack promises nothing.

    Raises:
        InputError: no slices.
    """
    if not measured.stacks:
        raise InputError("no slices with known um to calibrate with; give NA, wavelength, index "
                         "and spacing")  # fmt: skip
    line = _line(measured)
    residuals = np.empty(len(measured.true_um))
    names = np.asarray(measured.stacks)
    for stack in measured.names:
        inside = names == stack
        rest = measured.only([name for name in measured.names if name != stack])
        slope, intercept = _line(rest) if rest.stacks else line
        found = np.maximum(slope * measured.distance[inside] + intercept, 0.0)
        residuals[inside] = measured.true_um[inside] - found
    numbers = np.array([measured.names.index(name) for name in measured.stacks])
    return Calibration(
        *line,
        residuals=Residuals(residuals, numbers),
        depth_of_field_um=measured.depth_of_field_um,
        largest_um=float(measured.true_um.max()),
    )


def recalibrate(fit: FocusFit, name: str, measured: Measured, count: int) -> Recalibrated:
    """Calibrate anew from the first few of some labelled stacks; the others judge.

    Only slope, intercept and intervals change, never the regression: a few stacks cannot teach it.

    Args:
        fit: of other stacks.
        name: of the calibration, `calibration_name`; the one of that name, or else any, is what to
            be better than.
        measured: labelled stacks of the new kind.
        count: of them to calibrate with, one of `FEW`; the rest is held out.

    Returns:
        Refused, with the fit as it was, where the error on the stacks held out grows.

    Raises:
        InputError: another count, no stack left to judge, or nothing to compare with.
    """
    if count not in FEW:
        raise InputError(f"{count} stacks to recalibrate with, expected one of {FEW}")
    if len(measured.names) <= count:
        raise InputError(
            f"{len(measured.names)} labelled stacks, {count} of them to recalibrate with: none is "
            "left to judge; label one more, or take fewer"
        )
    old = fit.calibrations.get(name) or next(iter(fit.calibrations.values()), None)
    if old is None:
        raise InputError(f"{fit.where}: no calibration in um to start from; fit with um")
    used = measured.names[:count]
    held = measured.only(measured.names[count:])
    new = fit_calibration(measured.only(used))
    new = replace(new, largest_um=max(new.largest_um, float(held.true_um.max())))
    before, after = (
        float(
            np.average(np.abs(held.true_um - one.micrometres(held.distance)), weights=_even(held))
        )
        for one in (replace(old, largest_um=new.largest_um), new)
    )
    if not after < before:
        return Recalibrated(fit, False, before, after, used)
    # Intervals from all labelled stacks: those held out were not used for the line.
    numbers = [*new.residuals.stacks, *(count + held.names.index(s) for s in held.stacks)]
    values = [*new.residuals.values, *(held.true_um - new.micrometres(held.distance))]
    new = replace(new, residuals=Residuals(np.array(values), np.array(numbers)))
    changed = replace(fit, calibrations={**fit.calibrations, name: new})
    return Recalibrated(changed, True, before, after, used)


def _line(measured: Measured) -> tuple[float, float]:
    """Slope and intercept by least squares; a slope that is not above 0 becomes a constant."""
    weights = np.sqrt(_even(measured))
    design = np.stack([measured.distance, np.ones_like(measured.distance)], 1)
    found, *_ = np.linalg.lstsq(design * weights[:, None], measured.true_um * weights, rcond=None)
    if found[0] <= 0:
        return 0.0, float(np.average(measured.true_um, weights=weights**2))
    return float(found[0]), float(found[1])


def _even(measured: Measured) -> NDArray[np.float64]:
    """[N] weights by which every stack counts the same."""
    _, place, counts = np.unique(measured.stacks, return_inverse=True, return_counts=True)
    return 1.0 / counts[place]
