"""A sweep as a whole: the objective moves evenly, so distances rise evenly on both sides of focus.

The head says of each slice which levels it may have. Where focus lies (z*) and how many depths of
field a slice is away from the next (s) are what the slices of a sweep have in common: the slice at
z is s |z - z*| away. All pairs (z*, s) are weighed by what the slices together say of them. Noise
of single slices cancels out; a slice that fits none of it is an outlier, not a verdict.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .focus_config import FocusAnswer
from .focus_levels import soft_labels

FEWEST = 5
"""Slices that show something, below which a sweep has no course."""
_PLACES, _STEPS = 361, 49
_BEYOND = 0.25  # of the sweep's length that focus may lie outside of it
_LENGTHS = (0.5, 45.0)  # of a sweep, in depths of field
_OUTLIERS = 0.05  # share of slices that say anything
_SEEN = 0.5
_LIKELY = 1e-4  # of the likeliest pair; others are left out


class SweepCourse(NamedTuple):
    """Pairs of (z*, s) and how likely they are. P pairs.

    places: [P] z* in slices. steps: [P] depths of field a slice. weights: [P], 1 in sum.
    trust: 0 = the slices say nothing of where focus lies, 1 = they say it exactly.
    """

    places: Tensor
    steps: Tensor
    weights: Tensor
    trust: Tensor

    def follow(self, answer: FocusAnswer, z: Tensor, values: Tensor) -> FocusAnswer:
        """Bring slices onto the course, as far as it is to be trusted.

        Tiles stay as they are, and so does the doubt: what all slices are wrong about alike, such
        as the unit of their distances, does not cancel out.

        Args:
            answer: of one stack, S slices; with levels.
            z: [S] their places.
            values: [K] depths of field that the levels stand for.
        """
        assert answer.logits is not None  # heads with a course have levels
        far = self.steps * (z[:, None] - self.places).abs()  # [S, P]
        levels = torch.einsum("spk,p->sk", soft_labels(far, values), self.weights)
        levels = torch.lerp(answer.logits[0].softmax(-1), levels, self.trust)
        return answer._replace(
            expected=torch.lerp(answer.expected[0], far @ self.weights, self.trust)[None],
            logits=levels.clamp(min=1e-9).log()[None],
        )


def find_course(
    logits: Tensor, prior: Tensor, values: Tensor, z: Tensor, empty: Tensor
) -> SweepCourse | None:
    """Weigh where focus lies.

    Args:
        logits: [S, K] of slices of a sweep.
        prior: [K] how often the head met each level when it learnt, 1 in sum.
        values: [K] depths of field that the levels stand for.
        z: [S] rising places.
        empty: [S] probabilities that slices show nothing; such slices say nothing.

    Returns:
        None where too few slices show anything.
    """
    shown = empty < _SEEN
    if int(shown.sum()) < FEWEST:
        return None
    at = z[shown].double()
    said = logits[shown].double().softmax(-1) / prior.double()
    said = ((1 - _OUTLIERS) * said / said.mean(-1, keepdim=True) + _OUTLIERS).log()  # [S, K]
    length = at[-1] - at[0]
    places = torch.linspace(
        float(at[0] - _BEYOND * length), float(at[-1] + _BEYOND * length), _PLACES
    ).double()
    low, high = torch.tensor(_LENGTHS, dtype=torch.float64).log().tolist()
    steps = torch.linspace(low, high, _STEPS).double().exp() / length
    likely = torch.zeros(_PLACES, _STEPS, dtype=torch.float64)
    for here, levels in zip(at, said, strict=True):
        far = (here - places).abs()[:, None] * steps
        likely += _between(levels, values.double(), far)
    weights = likely.flatten().softmax(0)
    grid = places[:, None].expand(-1, _STEPS).flatten()
    mean = (grid * weights).sum()
    spread = ((grid - mean).square() * weights).sum().sqrt()
    trust = (1 - (spread / places.std()).square()).clamp(0, 1)
    kept = weights > _LIKELY * weights.max()
    steps = steps.expand(_PLACES, -1).flatten()
    weights = weights[kept] / weights[kept].sum()
    return SweepCourse(grid[kept].float(), steps[kept].float(), weights.float(), trust.float())


def _between(levels: Tensor, values: Tensor, far: Tensor) -> Tensor:
    """What a slice says [K] of distances [...]: interpolated between levels, as soft labels are."""
    at = far.clamp(float(values[0]), float(values[-1]))
    above = torch.searchsorted(values, at.contiguous(), right=True).clamp(1, len(values) - 1)
    share = (at - values[above - 1]) / (values[above] - values[above - 1])
    return (1 - share) * levels[above - 1] + share * levels[above]
