"""Ranges of physical parameters, as recipes write them, and numbers drawn from them."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict

from ..configs.errors import InputError


def _ordered(span: tuple[float, float]) -> tuple[float, float]:
    if not span[0] <= span[1]:
        raise ValueError(f"range {span[0]:g} to {span[1]:g}: expected the smaller number first")
    return span


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""Least and greatest value that a parameter may take."""


class Ranges(BaseModel):
    """Base of all tables of ranges in a recipe: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def uniform(rng: np.random.Generator, span: Range) -> float:
    """A number from a range, all values alike."""
    return float(rng.uniform(*span))


def log_uniform(rng: np.random.Generator, span: Range) -> float:
    """A number from a range of positive numbers, all ratios alike: for densities and scales.

    Raises:
        InputError: the range reaches to 0 or below.
    """
    if span[0] <= 0:
        raise InputError(
            f"range {span[0]:g} to {span[1]:g}: it is drawn by ratio, expected numbers above 0; "
            "correct the range that you set"
        )
    return float(np.exp(rng.uniform(np.log(span[0]), np.log(span[1]))))
