"""From scores to micrometres, and how sure: slope and intercept, intervals, chance to be in focus.

Residuals are exchangeable between stacks, not between the slices of one. So every calibration stack
has the same weight, whatever its length, and the new stack has one too (arXiv 2306.06342): with
fewer than 9 stacks no interval of 90 % is finite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..configs.errors import InputError


@dataclass(frozen=True)
class Residuals:
    """True minus found, of slices whose stacks were not learnt from.

    Attributes:
        values: [N]
        stacks: [N] int, which stack each is of.
    """

    values: NDArray[np.float64]
    stacks: NDArray[np.int64]

    @property
    def weights(self) -> NDArray[np.float64]:
        """[N], 1 / (K + 1) for each of K stacks; the rest belongs to the stack that is new."""
        _, place, counts = np.unique(self.stacks, return_inverse=True, return_counts=True)
        return 1.0 / (len(counts) + 1) / counts[place]

    def radius(self, coverage: float = 0.9) -> float:
        """Half width of intervals that hold a slice of a new stack with that probability.

        Returns:
            Infinity where there are too few stacks to promise it.

        Raises:
            InputError: coverage is not between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise InputError(f"coverage is {coverage:g}, expected a number between 0 and 1")
        sizes = np.abs(self.values)
        order = np.argsort(sizes)
        reached = np.flatnonzero(np.cumsum(self.weights[order]) >= coverage - 1e-12)
        return float(sizes[order][reached[0]]) if reached.size else float("inf")

    def chance_below(self, found: ArrayLike, limit: float) -> NDArray[np.float64]:
        """Probability that the true value is at most `limit`, of each of `found` [S] -> [S]."""
        true = np.asarray(found, np.float64)[:, None] + self.values
        return (true <= limit) @ self.weights


@dataclass(frozen=True)
class Calibration:
    """How distances that scores give become micrometres, for one objective and channel.

    |z - z*| = slope * distance + intercept.

    Attributes:
        slope: um for a unit of distance; 1 where the scores were learnt in um and are right.
        intercept: um.
        residuals: in um, after slope and intercept.
        depth_of_field_um: of the stacks it was made from.
        largest_um: farthest that any of them went; beyond it nothing is known.
    """

    slope: float
    intercept: float
    residuals: Residuals
    depth_of_field_um: float
    largest_um: float

    def micrometres(self, distance: ArrayLike) -> NDArray[np.float64]:
        """|z - z*| [S] in um, from 0 to the farthest that was seen."""
        raw = self.slope * np.asarray(distance, np.float64) + self.intercept
        return np.clip(raw, 0.0, self.largest_um)

    def interval(
        self, distance: ArrayLike, coverage: float = 0.9
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and greatest |z - z*| [S] in um; errors as `Residuals.radius`."""
        middle, radius = self.micrometres(distance), self.residuals.radius(coverage)
        return np.maximum(middle - radius, 0.0), middle + radius

    def in_depth_of_field(self, distance: ArrayLike) -> NDArray[np.float64]:
        """Probability [S] that a slice lies within half a depth of field on either side."""
        found = self.micrometres(distance)
        return self.residuals.chance_below(found, self.depth_of_field_um / 2)
