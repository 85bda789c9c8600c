"""Methods that do not look at sharpness (B0): what they reach, a table can be had for free."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..ridge import fit_ridge
from .case import Answer, Case, Numbers


def middle(case: Case) -> Answer:
    """The middle slice is the best, the ends are the worst."""
    z = np.array(case.stack.z_index, np.float64)
    return Answer(-np.abs(z - (z[0] + z[-1]) / 2))


def intensity(case: Case) -> Answer:
    """Brighter is sharper: the mean of each slice."""
    return Answer(np.array([float(plane.mean()) for plane in case.planes], np.float64))


def learn_places(training: Iterable[Case]) -> Callable[[Case], Answer]:
    """A ridge on the place in the stack alone, as a network that is told z could learn it.

    Raises:
        InputError: fewer than two specimens.
    """
    places, truth, groups, unit = [], [], [], "DOF"
    for case in training:
        known = np.isfinite(case.truth)
        places.append(_places(case)[known])
        truth.append(case.truth[known])
        groups += [case.group] * int(known.sum())
        unit = case.unit
    fitted = fit_ridge(np.concatenate(places), np.concatenate(truth), groups)

    def by_place(case: Case) -> Answer:
        far = np.maximum(fitted(_places(case)), 0.0)
        return Answer(-far, far if case.unit == unit else None)

    return by_place


def _places(case: Case) -> Numbers:
    """[S, 2]: from -1 to 1 along the stack, and the square of that."""
    at = np.linspace(-1, 1, len(case.stack))
    return np.stack([at, at**2], 1)
