"""Which slices and tiles may be judged at all: not the empty, the saturated, the all but dark ones.

A measure of sharpness answers for noise as well, often with more than for an image. What passes
here has structure: a tail of bright spots, a spectrum that falls, or more power than white noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .sharpness import SUPPORT_PX, Spectra, cut_tiles, measure_sharpness, spectra, support_sides
from .sharpness_hot import BEAD, mend
from .sharpness_survey import (
    BLOCK,
    FOREGROUND_SHARE,
    FOREGROUND_SPREADS,
    Shown,
    Survey,
    block_means,
    finite,
    without_lines,
)

EMPTY, SATURATED, LOW_SNR = "empty", "saturated", "low_snr"
LEAST_SNR = 0.1
"""Standard deviation of the image over that of the noise, inside the OTF support, of one pixel."""
MOST_SATURATED = 0.02
"""Share of saturated pixels in the tiles that count."""
_TAIL_SPREADS = 5.0
_TAIL_SHARE, _TAIL_BLOCKS = 2e-4, 8
_CUT = 0.05
"""Share of pixels at the lowest value of a slice, above which values were cut off there."""
_COARSE = 0.3
"""Share of pixels at the median value, above which noise is about one grey level."""
_SKEWED = 2.0
"""How much farther such noise reaches up."""
_ONE_PIXEL = 0.75
"""Share of the light of a bright block in its brightest pixel; more is no image of anything."""
_LOOKED_AT = 2000
_SAMPLED = 8000
_FALL = 1.5
"""Noise that was smoothed by up to about a pixel falls by less between the two low bands."""
_WHITE = 1.15
"""Largest ratio of noise power at medium and at high frequencies that passes for white."""
_FLOAT = 1e-5
_ROUNDING = 2.0
"""Noise power over that of rounding, below which nothing can be said of its colour."""
_DEVIATIONS = 6.0
_SLOPE_DEVIATIONS = 3.5
_WHITE_DEVIATIONS = 2.0
_ORDER = 5
_NEARBY = 2
"""Slices that an interpolation along z reaches."""
_CLIPPED = 3.0
_ALIKE_DEVIATIONS = 6.0
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class Judged:
    """Slices after gate and measures. S slices, Ty by Tx tiles.

    Attributes:
        measures: of each name [S, Ty, Tx]; of all tiles, also those that do not count.
        reasons: of each slice, "" = valid, else "empty", "saturated" or "low_snr".
        tile_reasons: [S][Ty][Tx], the same of tiles, of what is seen in the tile alone.
        fg_frac: [S, Ty, Tx], share of foreground.
        snr: [S, Ty, Tx], see `LEAST_SNR`.
        sat_frac: [S, Ty, Tx], share of saturated pixels.
        kept: [Ty, Tx] bool, the tiles that slices are judged by, the same for all z.
    """

    measures: dict[str, Tensor]
    reasons: list[str]
    tile_reasons: list[list[list[str]]]
    fg_frac: Tensor
    snr: Tensor
    sat_frac: Tensor
    kept: Tensor

    def over_tiles(self, values: Tensor) -> Tensor:
        """[S, Ty, Tx] -> [S], the mean over the tiles that count."""
        return values[:, self.kept].mean(1)


def judge_slices(
    slices: Tensor,
    z: Tensor,
    survey: Survey,
    names: tuple[str, ...] = ("dcts",),
    support_px: float = SUPPORT_PX,
) -> Judged:
    """Gate slices and measure them.

    Args:
        slices: [S, Y, X], the intensity units of the stack, any number type; not changed.
        z: [S], their places in the stack, as in `survey_slices`.
        survey: of the stack that they belong to.
        names: of `sharpness.MEASURES`.
        support_px: see `sharpness.measure_sharpness`.
    """
    counts = mend(finite(slices.float()), survey.hot)
    counts = mend(counts, survey.beads, 2 * BEAD)
    tiles = cut_tiles(counts)
    found = spectra(tiles, survey.level_at(z), survey.scale_at(z))
    blocks = block_means(tiles) - survey.background_at(z)[:, None, None, None, None]
    bright = blocks > FOREGROUND_SPREADS * survey.block_noise
    fg_frac = bright.float().mean((-2, -1))
    if survey.ceiling is None:
        sat_frac = torch.zeros_like(fg_frac)
    else:
        sat_frac = (tiles >= survey.ceiling).float().mean((-2, -1))
    snr = _snr(found, support_px)
    kept = survey.kept
    there = _has_tail(tiles, blocks, survey) | _has_spectrum(found.coefficients, survey, support_px)
    if survey.shown is not None and not bool(there.all()):
        fading = (-survey.log_brightness_slope * z).exp()[:, None, None, None, None]
        there = there | _resembles(fading * blocks, z, survey.shown)
    together = _mean_square(snr, found.noise, kept)
    saturated = sat_frac[:, kept].mean(1) > MOST_SATURATED
    reasons = [
        EMPTY if not seen else SATURATED if full else LOW_SNR if weak else ""
        for seen, full, weak in zip(
            there.tolist(), saturated.tolist(), (together < LEAST_SNR).tolist(), strict=True
        )
    ]
    verdict = torch.zeros_like(fg_frac, dtype=torch.int64)
    verdict[snr < LEAST_SNR] = 3
    verdict[sat_frac > MOST_SATURATED] = 2
    verdict[fg_frac < FOREGROUND_SHARE] = 1
    verdict[~there] = 1
    words = ("", EMPTY, SATURATED, LOW_SNR)
    return Judged(
        measures=measure_sharpness(found, names, support_px),
        reasons=reasons,
        tile_reasons=[[[words[i] for i in row] for row in plane] for plane in verdict.tolist()],
        fg_frac=fg_frac,
        snr=snr,
        sat_frac=sat_frac,
        kept=kept,
    )


def _snr(found: Spectra, support_px: float) -> Tensor:
    """[S, Ty, Tx]: image over noise, as standard deviations of a pixel, inside the OTF support."""
    high, wide = found.tiles.shape[-2:]
    rows, columns = support_sides(high, wide, support_px)
    power = found.coefficients[..., :rows, :columns].square().sum((-2, -1))
    power = power - found.coefficients[..., 0, 0].square()
    noise = found.noise.square()
    image = (power - noise * (rows * columns - 1)).clamp(0) / (high * wide)
    return (image / noise.clamp(1e-12)).sqrt().clamp(max=1e4)


def _mean_square(snr: Tensor, noise: Tensor, kept: Tensor) -> Tensor:
    """[S]: the same of several tiles together."""
    variance = noise.square()
    image = (snr.square() * variance)[:, kept].mean(1)
    return (image / variance[:, kept].mean(1).clamp(1e-12)).sqrt()


def _has_tail(tiles: Tensor, blocks: Tensor, survey: Survey) -> Tensor:
    """[S] bool: bright spots far above what the darker half of the slice allows.

    Args:
        tiles: [S, Ty, Tx, h, w] pixels.
        blocks: [S, Ty, Tx, h / 4, w / 4], their means less the background.
        survey: of the stack.
    """
    rest = blocks - blocks.mean((-2, -1), keepdim=True)
    counted = rest[:, survey.kept].flatten(1)
    count = counted.shape[1]
    few = counted[:, :: -(-count // _SAMPLED)]
    low, middle, high = (
        few.kthvalue(1 + int(share * few.shape[1]), 1).values for share in (0.1587, 0.5, 0.8413)
    )
    # Of noise that was cut off below, or is about one grey level, the lower half says too little.
    pixels = tiles.flatten(1)
    pixels = pixels[:, :: -(-pixels.shape[1] // _SAMPLED)]
    at_lowest, at_middle = (
        (pixels == value).float().mean(1)
        for value in (pixels.amin(1, True), pixels.median(1, True).values)
    )
    few_levels = (at_lowest > _CUT) | (at_middle > _COARSE)
    spread = torch.where(few_levels, _SKEWED * (high - low) / 2, middle - low)
    limit = _TAIL_SPREADS * spread.clamp(min=survey.block_noise)
    hits = (rest > limit[:, None, None, None, None]) & survey.kept[..., None, None]
    needed = max(_TAIL_BLOCKS, _TAIL_SHARE * count)
    return torch.stack([_images(*each) >= needed for each in zip(hits, rest, tiles, strict=True)])


def _images(hits: Tensor, rest: Tensor, tiles: Tensor) -> Tensor:
    """How many of the bright blocks of one slice hold more than one bright pixel.

    A lens spreads a point over several pixels: one that holds it all came from elsewhere.
    """
    places = hits.nonzero()
    thin = -(-len(places) // _LOOKED_AT) or 1
    ty, tx, y, x = places[::thin].T
    offsets = torch.arange(BLOCK, device=tiles.device)
    rows = (y * BLOCK)[:, None, None] + offsets[:, None]
    pixels = tiles[ty[:, None, None], tx[:, None, None], rows, (x * BLOCK)[:, None, None] + offsets]
    excess = rest[ty, tx, y, x]
    peaks = pixels.amax((-2, -1)) - pixels.mean((-2, -1)) + excess
    return (peaks < _ONE_PIXEL * BLOCK**2 * excess).sum() * thin


def _has_spectrum(coefficients: Tensor, survey: Survey, support_px: float) -> Tensor:
    """[S] bool: a spectrum that falls, or power above white noise.

    The lowest orders are left out: uneven lighting is no structure.

    Args:
        coefficients: [S, Ty, Tx, h, w].
        survey: of the stack.
        support_px: as elsewhere.
    """
    high, wide = coefficients.shape[-2:]

    def power(low: float, top: float) -> Tensor:
        """[S, N, K] where both frequencies lie between two shares of Nyquist's."""
        rows = slice(int(low * high), int(top * high))
        columns = slice(int(low * wide), int(top * wide))
        return coefficients[..., rows, columns][:, survey.kept].square().flatten(2)

    share = max(1 / support_px, 0.24)
    lowest = power(0, share) @ _bands(high, wide, share).to(coefficients.device)
    counts = (_bands(high, wide, share) > 0).sum(0) * lowest.shape[1]
    # Of the middle tile: one stray pixel has a spectrum that is anything but even.
    low, next_low, inside = (
        _Band(values, int(count))
        for values, count in zip(lowest.median(1).values.unbind(1), counts, strict=True)
    )
    medium, corner = (
        _Band(squares.mean(2).median(1).values, squares[0].numel())
        for squares in (power(0.5, 0.7), power(0.8, 1))
    )
    falls = low.above(next_low, _FALL)
    # Noise that was smoothed and then rounded looks white where rounding is all that is left.
    like_corner = medium.power <= _WHITE * medium.doubt(corner, _WHITE_DEVIATIONS) * corner.power
    white = (corner.power > _ROUNDING * survey.step**2 / 12) & like_corner
    # Slightly smoothed noise: its logarithm falls with the squared frequency.
    slope = medium.power / corner.power.clamp(1e-30) * medium.doubt(corner, _SLOPE_DEVIATIONS)
    smoothed = slope.clamp(1, 2).square()
    # A constant slice leaves what float32 leaves of it.
    real = (corner.power > 0) & (low.power > (_FLOAT * survey.background) ** 2)
    return real & (falls | (white & inside.above(corner, smoothed)))


def _resembles(blocks: Tensor, z: Tensor, shown: Shown) -> Tensor:
    """[S] bool: what other slices show is at the same place here, however faint.

    By correlation with their mean; that of all shifted ones says what chance does. Slices nearby
    are left out: an interpolation along z may have given them the same noise.

    Args:
        blocks: [S, Ty, Tx, h / 4, w / 4], block means above the background, bleaching undone.
        z: [S].
        shown: of the survey.
    """
    found = torch.zeros(len(blocks), dtype=torch.bool, device=blocks.device)
    for place, here in enumerate(blocks):
        rest = without_lines(here)
        itself = (shown.blocks - rest).abs().amax((1, 2, 3, 4)) <= 1e-3 * rest.abs().max()
        # Where nobody says which slice this is, it may be found among those shown.
        own = shown.z[itself][0] if itself.any() else z[place]
        distance = (shown.z - own).abs()
        far = distance > _NEARBY
        if not far.any():  # few are shown: at least not the next ones
            far = distance > 1
        if not far.any():
            continue
        mean = shown.blocks[far].mean(0)
        spread = (rest.square().mean().sqrt()).clamp(min=1e-12)
        # Clipped: a few spots that are always there make no sample.
        pair = [
            value.clamp(-_CLIPPED * width, _CLIPPED * width)
            .transpose(1, 2)
            .flatten(2)
            .flatten(0, 1)
            for value, width in ((rest, spread), (mean, mean.square().mean().sqrt()))
        ]
        first, second = (torch.fft.rfft2(image) for image in pair)
        chance = torch.fft.irfft2(first * second.conj(), s=pair[0].shape)
        deviation = _MAD_TO_SIGMA * chance.abs().median()
        found[place] = bool(chance[0, 0] > _ALIKE_DEVIATIONS * deviation)
    return found


@lru_cache(maxsize=32)
def _bands(high: int, wide: int, share: float) -> Tensor:
    """[K, 3]: weights of the means over two low bands, and over all that a lens passes."""
    y, x = torch.arange(int(share * high))[:, None], torch.arange(int(share * wide))
    radius = torch.hypot(y / high, x / wide)
    free = y + x >= _ORDER
    masks = (free & (radius < 0.12), free & (radius >= 0.12) & (radius < 0.24), free)
    bands = torch.stack([mask.flatten().float() for mask in masks], 1)
    return bands / bands.sum(0).clamp(min=1)


class _Band(NamedTuple):
    """Mean power of some coefficients: [S], and how many squares each mean is of."""

    power: Tensor
    squares: int

    def above(self, other: _Band, ratio: float | Tensor) -> Tensor:
        """[S] bool: above `ratio` times the other by more than noise is (Wilson, Hilferty)."""
        return self.power > ratio * self.doubt(other, _DEVIATIONS) * other.power

    def doubt(self, other: _Band, deviations: float) -> float:
        """What the ratio of the two is at most, of noise of one power."""
        freedom = 2 / max(1, self.squares) + 2 / max(1, other.squares)
        return (1 + deviations * freedom**0.5 / 3) ** 3
