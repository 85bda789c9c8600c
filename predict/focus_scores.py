"""What a fit says of slices: scores, distances, and what not to trust."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FocusScores:
    """What a fit says of slices. Shapes: S slices.

    Attributes:
        score: [S] from 0 to 1; nan where there is nothing to score.
        raw: [S] before it was bounded.
        lo, hi: [S], where 90 % of slices of new stacks lie; 0 and 1 where too few stacks are known.
        out_of_range: [S] bool, the raw score was farther outside 0 to 1 than ever seen.
        unlike: [S] bool, features farther from the stacks that were learnt from than any of theirs.
    """

    score: NDArray[np.float64]
    raw: NDArray[np.float64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    out_of_range: NDArray[np.bool_]
    unlike: NDArray[np.bool_]

    @property
    def reasons(self) -> list[str]:
        """[S], why a slice should not be trusted: "", "empty", "ood" or "out_of_range"."""
        return [
            "empty" if np.isnan(score) else "ood" if unlike else "out_of_range" if out else ""
            for score, unlike, out in zip(self.score, self.unlike, self.out_of_range, strict=True)
        ]


@dataclass(frozen=True)
class FocusMicrometres:
    """Distances from focus, without sign. Shapes: S slices.

    Attributes:
        defocus_um: [S], |z - z*|; nan where there is no score.
        lo, hi: [S], hold 90 % of slices of new stacks; hi is infinite where too few are known.
        p_in_dof: [S], probability to lie within half a depth of field on either side.
        beyond: [S] bool, at the end of what the calibration has seen: it may be farther.
    """

    defocus_um: NDArray[np.float64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    p_in_dof: NDArray[np.float64]
    beyond: NDArray[np.bool_]
