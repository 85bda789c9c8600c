"""The classical measures as input of the learned head: numbers that gain and offset cannot change.

Of each tile the logarithm (linear near zero, where noise leaves nothing) of every measure over what
white noise of the tile's own strength would measure. In a sweep also the place of each within its
range over the stack: 0 = least, 1 = most. A volume, a single slice and a stack of few have no such
range; there the places are 0, and so is a flag beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from ..data.sharpness import MEASURES, measure_sharpness, spectra
from ..models.focus_config import TILE

MEASURED = 2 * len(MEASURES) + 1
"""How many numbers a tile has."""
FEWEST = 5
"""Slices of a sweep that make a range."""
_LEAST_NOISE = 1e-4  # of the stack's spread, as in the head's bank
_LINEAR = 0.05  # of what noise measures: from there on a logarithm
_ENTROPIES = ("dcts", "dcts_filtered")
_ROOTS = ("smd", "tamura", "midband")  # measures of amplitudes; all others are energies


@dataclass(frozen=True)
class MeasureRange:
    """Of a sweep: what each measure of each tile goes through. T tiles, M measures.

    Attributes:
        least: [T, M].
        most: [T, M].
    """

    least: Tensor
    most: Tensor

    @classmethod
    def of(cls, measures: Tensor, sweep: bool) -> MeasureRange | None:
        """Of slices [S, T, M] evenly spread over a stack; None where there is no range."""
        if not sweep or len(measures) < FEWEST:
            return None
        return cls(measures.amin(0), measures.amax(0))


def measure_windows(tiles: Tensor) -> Tensor:
    """Measure tiles.

    Args:
        tiles: [S, T, 64, 64] on the scale of their stack (`StackScale`).

    Returns:
        [S, T, M] float32 in the order of `MEASURES`, larger = sharper.
    """
    found = spectra(tiles.float()[:, :, None])
    noise = found.noise.clamp(min=_LEAST_NOISE)
    found = replace(found, noise=noise)
    columns = []
    for name, values in measure_sharpness(found, MEASURES).items():
        if name in _ENTROPIES:
            columns.append(values.clamp(min=1e-6).log())
            continue
        amplitude = name.removesuffix("_filtered") in _ROOTS
        of_noise = _of_white_noise()[name] * (noise if amplitude else noise.square())
        columns.append(torch.asinh(values / of_noise / _LINEAR))
    return torch.stack(columns, -1)[:, :, 0]


def with_places(measures: Tensor, of_stack: MeasureRange | None) -> Tensor:
    """[S, T, M] -> [S, T, 2 M + 1]: measures, their places, whether there are places."""
    if of_stack is None:
        none = torch.zeros_like(measures)
        return torch.cat([measures, none, none[..., :1]], -1)
    width = (of_stack.most - of_stack.least).clamp(min=1e-6)
    places = ((measures - of_stack.least) / width).clamp(-0.5, 1.5)
    return torch.cat([measures, places, torch.ones_like(measures[..., :1])], -1)


@lru_cache(maxsize=1)
def _of_white_noise() -> dict[str, float]:
    """What each measure says of white noise of one unit, its share not taken off."""
    noise = torch.randn(16, 1, 1, TILE, TILE, generator=torch.Generator().manual_seed(0))
    found = spectra(noise)
    found = replace(found, noise=torch.zeros_like(found.noise))
    names = [name for name in MEASURES if name not in _ENTROPIES]
    return {name: float(v.mean()) for name, v in measure_sharpness(found, names).items()}
