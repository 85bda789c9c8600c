"""Classical measures of sharpness, of small tiles of slices: one DCT of each tile gives them all.

A tile mirrored at its borders is diagonal in the DCT-II, so the energy of any symmetric or
antisymmetric filter (Sobel, Laplacian, a step of two pixels) is a weighted sum of squared
coefficients, and a Gaussian before it is one more factor. White noise has the same variance in
every coefficient: its share can be taken off exactly.

Names: `dcts` normalised DCT Shannon entropy inside the OTF support (Royer et al., Nat. Biotechnol.
34, 1267, 2016), `tenengrad`, `brenner`, `laplacian_variance`, `vollath_f4`, `normvar`, `smd` (mean
of absolute differences), `tamura`, `high_frequency`, `midband`; each also with `_filtered` behind
it: after a Gaussian of `PREFILTER_PX`.
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
"""Size of the PSF in pixels; coefficients with u / h + v / w < 1 count, h = H / d and w = W / d."""
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
        tiles: [S, Ty, Tx, h, w] float32, as they were given.
        coefficients: [S, Ty, Tx, h, w], orthonormal DCT-II of the tiles less their level.
        noise: [S, Ty, Tx], standard deviation of a pixel's noise, from the corner of the spectrum
            that no lens fills. Too low where noise was smoothed with the image.
        unit: [S, 1, 1], what counts as one in all of these.
    """

    tiles: Tensor
    coefficients: Tensor
    noise: Tensor
    unit: Tensor


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


def spectra(tiles: Tensor, level: Tensor | None = None, unit: Tensor | None = None) -> Spectra:
    """Transform tiles.

    Args:
        tiles: [S, Ty, Tx, h, w] float32.
        level: [S], what counts as zero; None = 0.
        unit: [S], what counts as one; None = 1.
    """
    high, wide = tiles.shape[-2:]
    coefficients = of_tiles(_basis(high), tiles, _basis(wide))
    if level is not None:
        coefficients[..., 0, 0] -= (level * math.sqrt(high * wide))[:, None, None]
    # Every second row and column of the corner: the others add little to the median.
    corner = coefficients[..., int(_CORNER * high) :: 2, int(_CORNER * wide) :: 2].flatten(-2)
    noise = (corner.square().median(-1).values / _NORMAL_SQUARED).sqrt()
    unit = tiles.new_ones(len(tiles)) if unit is None else unit
    return Spectra(tiles, coefficients, noise, unit[:, None, None])


def of_tiles(rows: Tensor, tiles: Tensor, columns: Tensor) -> Tensor:
    """Matrices at both sides of tiles: rows [H, h], [S, Ty, Tx, h, w], columns [W, w].

    Whole lines of tiles at once, as they lie in the slice: a few large products, and no copies.

    Returns:
        [S, Ty, Tx, H, W]
    """
    rows, columns = rows.to(tiles.device), columns.to(tiles.device)
    lines = tiles.transpose(2, 3)  # [S, Ty, h, Tx, w]
    down = (rows @ lines.flatten(3)).unflatten(3, lines.shape[3:])
    return (down @ columns.T).transpose(2, 3)


def measure_sharpness(
    found: Spectra, names: Sequence[str] = MEASURES, support_px: float = SUPPORT_PX
) -> dict[str, Tensor]:
    """Measure tiles.

    Args:
        found: with level and unit of the stack, so that gain and offset of the camera change
            nothing.
        names: of `MEASURES`.
        support_px: size of the PSF, for `dcts`, `midband` and `high_frequency`.

    Returns:
        Of each name [S, Ty, Tx] float32, larger = sharper. Energies are freed of white noise.

    Raises:
        ValueError: an unknown name.
    """
    high, wide = found.tiles.shape[-2:]
    power: Tensor | None = None
    answers: dict[str, Tensor] = {}
    for name in names:
        if name not in MEASURES:
            raise ValueError(f"no measure {name!r}, expected one of {', '.join(MEASURES)}")
        base, filtered = name.removesuffix(FILTERED), name.endswith(FILTERED)
        if base == "dcts":
            answers[name] = _entropy(found, support_px, filtered)
        elif base == "smd":
            answers[name] = _absolute_differences(found, filtered)
        else:
            if power is None:  # in one piece, so that a weighted sum is a product
                power = found.coefficients.contiguous().flatten(-2).square()
            weights = _weights(base, high, wide, filtered, support_px).to(power.device).flatten()
            answers[name] = _weighted(base, found, power, weights)
    return answers


def _weighted(base: str, found: Spectra, power: Tensor, weights: Tensor) -> Tensor:
    """[S, Ty, Tx]: one weight for each of the squared coefficients [S, Ty, Tx, h * w]."""
    pixels = len(weights)
    if base == "midband":
        return power.sqrt() @ weights.sqrt() / pixels / found.unit
    energy = (power @ weights - found.noise.square() * weights.sum()) / pixels
    energy = energy / found.unit.square()
    if base not in ("normvar", "tamura"):
        return energy
    mean = found.coefficients[..., 0, 0] / math.sqrt(pixels) / found.unit
    mean = mean.clamp(_DARKEST)
    return energy / mean if base == "normvar" else (energy.clamp(0).sqrt() / mean).sqrt()


def _entropy(found: Spectra, support_px: float, filtered: bool) -> Tensor:
    high, wide = found.tiles.shape[-2:]
    device = found.noise.device
    rows, columns = support_sides(high, wide, support_px)
    passed = found.coefficients
    if filtered:
        passed = passed * _transfer(high, wide).to(device)
    # Along the lines first, as they lie in memory.
    norm = torch.linalg.vector_norm(passed.transpose(2, 3), dim=-1).norm(dim=2).clamp(1e-12)
    kept = passed[..., :rows, :columns].abs() * _inside(rows, columns).to(device)
    share = kept / norm[..., None, None]
    information = -share * share.clamp(1e-30).log2()
    return information.sum((-2, -1)) * (2 / (rows * columns))


def _absolute_differences(found: Spectra, filtered: bool) -> Tensor:
    """Mean of |I(x + 1) - I(x)| along both axes."""
    tiles = found.tiles
    if filtered:
        high, wide = tiles.shape[-2:]
        passed = found.coefficients * _transfer(high, wide).to(tiles.device)
        tiles = of_tiles(_basis(high).T, passed, _basis(wide).T)
    down = (tiles[..., 1:, :] - tiles[..., :-1, :]).abs_().mean((-2, -1))
    across = (tiles[..., 1:] - tiles[..., :-1]).abs_().mean((-2, -1))
    return (down + across) / found.unit


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
        # In units of the cut-off, 1 / d cycles a pixel.
        radius = torch.hypot(y, x) / (2 * math.pi) * support_px
        low, top = (0.125, 0.25) if base == "midband" else (0.25, 0.5)
        weights = ((radius >= low) & (radius < top)).double()
    if filtered:
        weights = weights * _transfer(high, wide).double().square()
    return weights.float()
