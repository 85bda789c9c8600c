"""Classical measures of sharpness, of small tiles of slices: one DCT of each tile gives them all.

A tile mirrored at its borders is diagonal in the DCT-II, so the energy of any symmetric or
antisymmetric filter (Sobel, Laplacian, a step of two pixels) is a weighted sum of squared
coefficients, and a Gaussian before it is one more factor. White noise has the same variance in
every coefficient: its share can be taken off exactly.

Names: `dcts` normalised DCT Shannon entropy inside the OTF support (Royer et al., Nat. Biotechnol.
34, 1267, 2016), `tenengrad`, `brenner`, `laplacian_variance`, `vollath_f4`, `normvar`, `smd` (sum of
absolute differences), `tamura`, `high_frequency`, `midband`; each also with `_filtered` behind it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..configs.errors import InputError

TILE = 64
"""Pixels a side of a tile, about."""
SMALLEST = 16
"""Pixels a side that a slice needs; less has no spectrum worth the name."""
PREFILTER_PX = 1.5
SUPPORT_PX = 3.0
"""Finest period that counts, in pixels; half of it, in fact: u / h + v / w < 1 with h = H / 3."""
FILTERED = "_filtered"
BASES = (
    "dcts",
    "tenengrad",
    "brenner",
    "laplacian_variance",
    "vollath_f4",
    "normvar",
    "smd",
    "tamura",
    "high_frequency",
    "midband",
)
MEASURES = (*BASES, *(name + FILTERED for name in BASES))
_DARKEST = 0.05
"""Least mean that `normvar` and `tamura` divide by, in units of the stack's scale."""
_NORMAL_SQUARED = 0.4549
"""Median of the square of a standard normal variable."""
_CORNER = 0.7
"""Coefficients above this share of both Nyquist frequencies hold noise and hardly any image."""


@dataclass(frozen=True)
class Spectra:
    """Tiles of slices and their DCT. S slices, Ty by Tx tiles of h by w pixels.

    Attributes:
        tiles: [S, Ty, Tx, h, w] float32, level 0 and scale 1.
        coefficients: [S, Ty, Tx, h, w], orthonormal DCT-II of the tiles.
        noise: [S, Ty, Tx], standard deviation of a pixel's noise, from the corner of the spectrum
            that no lens fills. Too low where noise was smoothed with the image.
    """

    tiles: Tensor
    coefficients: Tensor
    noise: Tensor


def tile_sides(shape: tuple[int, int], tile: int = TILE) -> tuple[int, int, int, int]:
    """(Ty, Tx, h, w): how many tiles of which size a slice of (Y, X) pixels is cut into.

    Equal tiles of about `tile` pixels a side; a slice may lose a few pixels at its edges.

    Raises:
        InputError: a side below 16 pixels.
    """
    if min(shape) < SMALLEST:
        raise InputError(
            f"slices of {shape[0]} x {shape[1]} pixels, expected at least {SMALLEST} a side; give "
            "larger slices"
        )
    down, across = (max(1, round(side / tile)) for side in shape)
    return down, across, shape[0] // down, shape[1] // across


def cut_tiles(slices: Tensor, tile: int = TILE) -> Tensor:
    """[S, Y, X] -> [S, Ty, Tx, h, w], by `tile_sides`; what is left over is cut at both ends."""
    down, across, high, wide = tile_sides((slices.shape[1], slices.shape[2]), tile)
    top, left = (slices.shape[1] - down * high) // 2, (slices.shape[2] - across * wide) // 2
    inside = slices[:, top : top + down * high, left : left + across * wide]
    return inside.unflatten(2, (across, wide)).unflatten(1, (down, high)).transpose(2, 3)


def spectra(tiles: Tensor) -> Spectra:
    """Transform tiles [S, Ty, Tx, h, w]."""
    high, wide = tiles.shape[-2:]
    tiles = tiles.contiguous()
    rows, columns = (_basis(side).to(tiles.device) for side in (high, wide))
    coefficients = rows @ (tiles @ columns.T)
    corner = coefficients[..., int(_CORNER * high) :, int(_CORNER * wide) :].flatten(-2)
    noise = (corner.square().median(-1).values / _NORMAL_SQUARED).sqrt()
    return Spectra(tiles, coefficients, noise)


def measure_sharpness(
    found: Spectra, names: Sequence[str] = MEASURES, support_px: float = SUPPORT_PX
) -> dict[str, Tensor]:
    """Measure tiles.

    Args:
        found: of tiles whose level was subtracted and that were divided by the scale of the stack,
            so that gain and offset of the camera change nothing.
        names: of `MEASURES`.
        support_px: finest period in the image, for `dcts`, `midband` and `high_frequency`.

    Returns:
        Of each name [S, Ty, Tx] float32, larger = sharper. Energies are freed of white noise.

    Raises:
        ValueError: an unknown name.
    """
    high, wide = found.tiles.shape[-2:]
    power = found.coefficients.square()
    answers: dict[str, Tensor] = {}
    for name in names:
        if name not in MEASURES:
            raise ValueError(f"no measure {name!r}, expected one of {', '.join(MEASURES)}")
        base, filtered = name.removesuffix(FILTERED), name.endswith(FILTERED)
        if base == "dcts":
            answers[name] = _entropy(found, power, support_px, filtered)
        elif base == "smd":
            answers[name] = _absolute_differences(found, filtered)
        elif base == "midband":
            weights = _weights(base, high, wide, filtered, support_px).to(power.device)
            answers[name] = (found.coefficients.abs() * weights.sqrt()).sum((-2, -1)) / high / wide
        else:
            weights = _weights(base, high, wide, filtered, support_px).to(power.device)
            energy = (power * weights).sum((-2, -1)) if False else torch.tensordot(power, weights, 2)
            energy = (energy - found.noise.square() * weights.sum()) / (high * wide)
            answers[name] = energy if base not in ("normvar", "tamura") else _by_mean(
                energy, found, base
            )
    return answers


def _by_mean(energy: Tensor, found: Spectra, base: str) -> Tensor:
    mean = (found.coefficients[..., 0, 0] / math.sqrt(found.tiles[0, 0, 0].numel())).clamp(_DARKEST)
    return energy / mean if base == "normvar" else (energy.clamp(0).sqrt() / mean).sqrt()


def _entropy(found: Spectra, power: Tensor, support_px: float, filtered: bool) -> Tensor:
    high, wide = power.shape[-2:]
    rows, columns = support_sides(high, wide, support_px)
    norm = power.sum((-2, -1)).sqrt().clamp(1e-12)
    inside = _inside(rows, columns).to(power.device)
    kept = found.coefficients[..., :rows, :columns].abs() * inside
    if filtered:
        transfer = _transfer(high, wide)[:rows, :columns].to(power.device)
        norm = (power * _transfer(high, wide).to(power.device).square()).sum((-2, -1)).sqrt()
        norm, kept = norm.clamp(1e-12), kept * transfer
    share = kept / norm[..., None, None]
    return torch.special.entr(share).sum((-2, -1)) * (2 / (rows * columns * math.log(2)))


def _absolute_differences(found: Spectra, filtered: bool) -> Tensor:
    """Mean of |I(x + 1) - I(x)| along both axes."""
    tiles = found.tiles
    if filtered:
        high, wide = tiles.shape[-2:]
        rows, columns = (_basis(side).to(tiles.device) for side in (high, wide))
        tiles = rows.T @ (found.coefficients * _transfer(high, wide).to(tiles.device)) @ columns
    down = (tiles[..., 1:, :] - tiles[..., :-1, :]).abs_().mean((-2, -1))
    return down + (tiles[..., 1:] - tiles[..., :-1]).abs_().mean((-2, -1))


def support_sides(high: int, wide: int, support_px: float) -> tuple[int, int]:
    """Rows and columns of the coefficients inside the OTF support; at least two of each."""
    return max(2, int(high / support_px)), max(2, int(wide / support_px))


@lru_cache(maxsize=32)
def _inside(rows: int, columns: int) -> Tensor:
    """[rows, columns] float32, 1 inside the triangle u / rows + v / columns < 1."""
    down, across = torch.arange(rows) / rows, torch.arange(columns) / columns
    return (down[:, None] + across < 1).float()


@lru_cache(maxsize=32)
def _basis(side: int) -> Tensor:
    """[side, side]: the orthonormal DCT-II as a matrix; row u is the cosine of frequency u."""
    place = torch.arange(side, dtype=torch.float64) + 0.5
    rows = torch.cos(math.pi / side * torch.arange(side, dtype=torch.float64)[:, None] * place)
    rows *= math.sqrt(2 / side)
    rows[0] /= math.sqrt(2)
    return rows.float()


@lru_cache(maxsize=32)
def _transfer(high: int, wide: int) -> Tensor:
    """[high, wide]: what a sampled Gaussian of `PREFILTER_PX`, cut at 4 of them, leaves over."""
    reach = int(4 * PREFILTER_PX + 0.5)
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-(place**2) / (2 * PREFILTER_PX**2))
    kernel /= kernel.sum()

    def along(side: int) -> Tensor:
        return torch.cos(_angles(side)[:, None] * place) @ kernel

    return (along(high)[:, None] * along(wide)).float()


def _angles(side: int) -> Tensor:
    """[side] float64: angular frequencies of the coefficients, radians a pixel."""
    return math.pi / side * torch.arange(side, dtype=torch.float64)


@lru_cache(maxsize=256)
def _weights(base: str, high: int, wide: int, filtered: bool, support_px: float) -> Tensor:
    """[high, wide]: what each squared coefficient counts in an energy."""
    y, x = _angles(high)[:, None], _angles(wide)
    second_y, second_x = 2 - 2 * torch.cos(y), 2 - 2 * torch.cos(x)  # of neighbours' differences
    if base == "tenengrad":  # Sobel: [1 2 1] across, [-1 0 1] along
        smooth_y, smooth_x = (2 + 2 * torch.cos(y)).square(), (2 + 2 * torch.cos(x)).square()
        weights = smooth_y * 4 * torch.sin(x).square() + smooth_x * 4 * torch.sin(y).square()
    elif base == "brenner":
        weights = 4 * torch.sin(y).square() + 4 * torch.sin(x).square()
    elif base == "laplacian_variance":
        weights = (second_y + second_x).square()
    elif base == "vollath_f4":
        weights = torch.cos(y) - torch.cos(2 * y) + torch.cos(x) - torch.cos(2 * x)
    elif base in ("normvar", "tamura"):
        weights = torch.ones(high, wide, dtype=torch.float64)
        weights[0, 0] = 0
    else:
        # Radius in units of the cut-off: half a period of the finest detail is a pixel of it.
        radius = torch.hypot(y, x) / math.pi * support_px / 2
        low, top = (0.125, 0.25) if base == "midband" else (0.25, 0.5)
        weights = ((radius >= low) & (radius < top)).double()
    if filtered:
        weights = weights * _transfer(high, wide).double().square()
    return weights.float()
