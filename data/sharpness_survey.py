"""What is measured once for a whole stack before its slices are judged, from some of its slices.

One level, one scale, one set of tiles and one list of hot pixels for all z: a stretch or a choice
made slice by slice would lift the noise of an empty slice to the strength of an image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..configs.errors import InputError
from .sharpness import cut_tiles, of_tiles, tile_sides
from .sharpness_hot import around, hot_pixels, unchanged

BLOCK = 4
"""Pixels a side of the means that foreground is looked for in."""
FOREGROUND_SPREADS = 5.0
"""Blocks that many spreads above the background are foreground."""
FOREGROUND_SHARE = 0.02
"""Foreground that a tile needs, over all z."""
KEPT_SHARE = 0.25
"""Foreground that a tile needs, of that of the fullest tile."""
_MAD_TO_SIGMA = 1.4826
_SHOWN_SHARE, _SHOWN_SLICES = 0.005, 3
"""Foreground of a slice, and slices with so much, that it takes to know what a sweep shows."""
_MOST_KEPT = 64
"""Slices whose block means are held at a time."""
_PLATEAU_SHARE = 1e-3
"""Pixels at the very top of the range; more of them are a ceiling."""
_LEVEL_SPREADS = 3.0
"""How far below the background the level lies: a dark slice must not be all contrast."""
_STEADY = 0.8
"""Kendall's tau that a drift along z needs."""
_MOST_DRIFT = 6.0
"""Largest ratio of brightness between the ends of a stack that is taken for bleaching."""


class Shown(NamedTuple):
    """Slices in which there is something to see.

    Attributes:
        blocks: [N, Ty, Tx, h / 4, w / 4] means, see `without_lines`.
        z: [N], their places.
    """

    blocks: Tensor
    z: Tensor


@dataclass(frozen=True)
class Survey:
    """What holds for every slice of a stack. Ty by Tx tiles.

    Attributes:
        shape: (Y, X) of the slices.
        background: of blocks without dye, at z = 0, in the intensity units of the stack.
        background_slope: what it gains from slice to slice.
        log_brightness_slope: what the logarithm of the brightness gains from slice to slice.
        depth: what lies between the background and what counts as zero, at z = 0.
        scale: what counts as one, at z = 0, in the intensity units of the stack.
        step: smallest distance between two values, by which they were rounded.
        block_noise: spread of the means of 4 x 4 pixels without dye.
        ceiling: the value at which pixels are saturated; None where there is no sign of one.
        hot: [K] places of hot pixels in a flattened slice.
        beads: [L] places of all pixels that a smoothing has spread hot ones over.
        shown: slices that show something; None where there are few.
        foreground: [Ty, Tx], share of foreground in each tile, over all z.
        kept: [Ty, Tx] bool, the tiles that slices are judged by.
    """

    shape: tuple[int, int]
    background: float
    background_slope: float
    log_brightness_slope: float
    depth: float
    scale: float
    step: float
    block_noise: float
    ceiling: float | None
    hot: Tensor
    beads: Tensor
    shown: Shown | None
    foreground: Tensor
    kept: Tensor

    def background_at(self, z: Tensor) -> Tensor:
        """[S] background of slices z [S], in the intensity units of the stack."""
        return self.background + self.background_slope * z

    def level_at(self, z: Tensor) -> Tensor:
        """[S], what counts as zero in slices z [S]; below the background."""
        return self.background_at(z) - self.depth * (self.log_brightness_slope * z).exp()

    def scale_at(self, z: Tensor) -> Tensor:
        """[S], what counts as one in slices z [S]."""
        return self.scale * (self.log_brightness_slope * z).exp()


def survey_slices(
    slices: Iterable[Tensor],
    z: Iterable[float],
    largest: float | None = None,
    drifts: bool = False,
) -> Survey:
    """Look at some slices of a stack, evenly spread over z; one at a time is held.

    Args:
        slices: [Y, X] float32 each, all of one size; at least one. NaN counts as the darkest value.
        z: of each of them; may go on.
        largest: the top of the number type of the file, where that is an integer.
        drifts: the slices show the same content (a sweep), so that a drift of background and
            brightness along z is bleaching. Two numbers of the whole stack say it.

    Returns:
        The survey. Of a stack without any structure all tiles are kept.

    Raises:
        InputError: no slices, or slices too small to be judged.
    """
    blocks, hot, tops, shape, count = _Thinned(), None, [], (0, 0), 0
    least = most = None
    steps = []
    for at_z, plane in zip(z, slices, strict=False):
        plane = finite(plane)
        shape = (plane.shape[0], plane.shape[1])
        tile_sides(shape)
        found = torch.stack(hot_pixels(plane)).int()
        hot = found if hot is None else hot + found
        least = plane if least is None else torch.minimum(least, plane)
        most = plane if most is None else torch.maximum(most, plane)
        blocks.add(at_z, block_means(cut_tiles(plane[None])))
        tops.append((float(plane.max()), float((plane == plane.max()).float().mean())))
        steps.append(_step(plane))
        count += 1
    if hot is None or least is None or most is None:
        raise InputError("a stack without slices; give at least one")
    single, smoothed = hot >= max(1, count / 2)
    hot = single.flatten().nonzero()[:, 0]
    beads = around(smoothed | unchanged(least, most, max(steps), count))
    means = torch.cat(blocks.kept)  # [S, Ty, Tx, h / 4, w / 4]
    noise = max(_block_noise(means), max(steps) / 12**0.5 / BLOCK)
    at = torch.tensor(blocks.at, dtype=torch.float32)
    dark = torch.quantile(means.flatten(-2).median(-1).values.flatten(1), 0.05, dim=1)  # [S]
    slope = _slope(at, dark) if drifts else 0.0
    background = float((dark - slope * at).median())
    above = means - (background + slope * at)[:, None, None, None, None]
    bright = above > FOREGROUND_SPREADS * noise
    foreground = bright.float().mean((0, 3, 4))
    kept = foreground >= max(FOREGROUND_SHARE, KEPT_SHARE * float(foreground.max()))
    kept = kept if kept.any() else torch.ones_like(kept)
    fading = _fading(at, above[:, kept].mean((1, 2, 3)), noise) if drifts else 0.0
    above = above / (fading * at).exp()[:, None, None, None, None]
    few = above.flatten()[:: max(1, above.numel() // 1_000_000)]
    depth = _LEVEL_SPREADS * float(few.std())
    return Survey(
        shape=shape,
        background=background,
        background_slope=slope,
        log_brightness_slope=fading,
        depth=depth,
        scale=max(float(torch.quantile(few, 0.999)) + depth, noise, 1e-12),
        step=max(steps),
        block_noise=noise,
        ceiling=_ceiling(tops, largest),
        hot=hot,
        beads=beads.flatten().nonzero()[:, 0],
        shown=_shown(above, bright, kept, at),
        foreground=foreground,
        kept=kept,
    )


def finite(slices: Tensor) -> Tensor:
    """The same with NaN and infinities at the lowest finite value (0 where there is none)."""
    if bool(slices.sum().isfinite()):  # one number tells of all
        return slices
    good = slices.isfinite()
    lowest = slices[good].min() if good.any() else slices.new_zeros(())
    return torch.where(good, slices, lowest)


def block_means(tiles: Tensor) -> Tensor:
    """[S, Ty, Tx, h, w] -> [S, Ty, Tx, h / 4, w / 4], means of 4 x 4 pixels."""
    return of_tiles(_pool(tiles.shape[-2]), tiles, _pool(tiles.shape[-1]))


@lru_cache(maxsize=32)
def _pool(side: int) -> Tensor:
    """[side / 4, side]: the matrix that takes means of 4 neighbours; what is left over is cut."""
    means = torch.zeros(side // BLOCK, side)
    for place in range(side // BLOCK):
        means[place, BLOCK * place : BLOCK * (place + 1)] = 1 / BLOCK
    return means


def _shown(above: Tensor, bright: Tensor, kept: Tensor, at: Tensor) -> Shown | None:
    """Slices that show something; None where they are too few.

    Args:
        above: [S, Ty, Tx, h / 4, w / 4] block means above the background, bleaching undone.
        bright: which of them are foreground.
        kept: [Ty, Tx].
        at: [S] z.
    """
    shows = bright[:, kept].float().mean((1, 2, 3)) >= _SHOWN_SHARE
    if shows.sum() < _SHOWN_SLICES:
        return None
    return Shown(without_lines(above[shows]), at[shows])


def without_lines(blocks: Tensor) -> Tensor:
    """[..., h, w] less the mean of each row and column: uneven light and stripes go with them."""
    rest = blocks - blocks.mean(-1, keepdim=True)
    return rest - rest.mean(-2, keepdim=True)


class _Thinned:
    """Block means of some slices, evenly spread: memory does not depend on how many there are."""

    def __init__(self) -> None:
        self.kept: list[Tensor] = []
        self.at: list[float] = []
        self._every, self._seen = 1, 0

    def add(self, z: float, blocks: Tensor) -> None:
        """Keep every second, every fourth ... slice, once there are more than `_MOST_KEPT`."""
        if self._seen % self._every == 0:
            self.kept.append(blocks)
            self.at.append(z)
        if len(self.kept) > _MOST_KEPT:
            self.kept, self.at = self.kept[::2], self.at[::2]
            self._every *= 2
        self._seen += 1


def _block_noise(means: Tensor) -> float:
    """Spread of the means where there is hardly any structure: the calmest quarter of the tiles."""
    steps = (means[..., 1:] - means[..., :-1]).abs().flatten(-2)
    return _MAD_TO_SIGMA / 2**0.5 * float(torch.quantile(steps.median(-1).values.flatten(), 0.25))


def _slope(z: Tensor, values: Tensor) -> float:
    """Median of the slopes of all pairs (Theil and Sen), where nearly all of them have its sign.

    Light that spreads away from focus on both sides is no drift.
    """
    gaps, rises = (np.subtract.outer(v.numpy(), v.numpy()) for v in (z.double(), values.double()))
    slopes = rises[gaps > 0] / gaps[gaps > 0]
    if not slopes.size or abs(np.sign(slopes).mean()) < _STEADY:
        return 0.0
    return float(np.median(slopes))


def _fading(z: Tensor, brightness: Tensor, noise: float) -> float:
    """Slope of the logarithm of the brightness along z, by slices that are not empty."""
    lit = brightness > max(0.1 * float(brightness.max()), noise / 10)
    if lit.sum() < 5:
        return 0.0
    most = float(np.log(_MOST_DRIFT)) / max(float(z.max() - z.min()), 1.0)
    return min(max(_slope(z[lit], brightness[lit].log()), -most), most)


def _step(plane: Tensor) -> float:
    """Smallest distance between two values of a slice; 0 where there is one value only."""
    values = plane.flatten()[:: max(1, plane.numel() // 20_000)].unique()
    return float(values.diff().min()) if len(values) > 1 else 0.0


def _ceiling(tops: list[tuple[float, float]], largest: float | None) -> float | None:
    """The number type's top where it is reached, else a value that too many pixels share."""
    top, share = max(tops)
    if largest is not None and top >= largest:
        return largest
    return top if share > _PLATEAU_SHARE and share < 0.5 else None
