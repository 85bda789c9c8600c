"""What the focus head knows without learning: power in rings of frequency, edges, noise.

Defocus takes away frequencies beyond about 1 / (blur of the lens). Rings are therefore laid out in
units of what one depth of field blurs, so that the same ring says the same of every lens. All
powers stand over that of the noise, so gain and offset of the camera change nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .focus_config import CELL, CELLS, TILE

UNKNOWN_BLUR_PX = 2.0
"""Taken where the lens is not known."""
_LOWEST, _RATIO = 0.025, 1.6  # middle of the first ring, and from ring to ring
_CORNER = 0.7  # of Nyquist along both axes: noise, and hardly any image
_NORMAL_SQUARED = 0.4549  # median of the square of a standard normal variable
_LEAST_NOISE = 1e-4  # of the stack's spread; images without noise have some all the same
_LEAST_POWER = 0.02  # of the noise's, in logarithms
_SCALES = (1, 2, 4)
EDGES = len(_SCALES)
_LOG = ((0, 0, 1, 0, 0), (0, 1, 2, 1, 0), (1, 2, -16, 2, 1), (0, 1, 2, 1, 0), (0, 0, 1, 0, 0))


def blur_px(lens: Tensor) -> Tensor:
    """Radius of the disk that a point becomes a depth of field away from focus, in pixels.

    Args:
        lens: [B, 4]: NA, wavelength in um, refractive index, pixel in um; nan = not known.

    Returns:
        [B]: (wavelength / NA + pixel) / pixel, as the depth of field is that times index / NA.
    """
    na, wavelength, _, pixel = lens.unbind(-1)
    return (wavelength / (na * pixel) + 1).nan_to_num(UNKNOWN_BLUR_PX)


class FocusBank(nn.Module):
    """Tiles -> features of their cells; has no parameters.

    Args:
        rings: how many.
    """

    basis: Tensor
    radius: Tensor
    kernel: Tensor

    def __init__(self, rings: int) -> None:
        super().__init__()
        self.rings = rings
        place = torch.arange(TILE)
        rows = torch.cos(math.pi / TILE * place[:, None] * (place + 0.5)) * math.sqrt(2 / TILE)
        rows[0] /= math.sqrt(2)
        radius = torch.hypot(place[:, None], place.float()) / (2 * TILE)  # cycles a pixel
        kernel = torch.tensor(_LOG, dtype=torch.float32)
        self.register_buffer("basis", rows, persistent=False)
        self.register_buffer("radius", radius.flatten(), persistent=False)
        kernel = (kernel / kernel.norm())[None, None]
        self.register_buffer("kernel", kernel, persistent=False)

    @property
    def features(self) -> int:
        """How many a cell has: rings, edges at three scales, local brightness, noise."""
        return self.rings + EDGES + 2

    def forward(self, tiles: Tensor, blur: Tensor) -> Tensor:
        """Measure tiles.

        Args:
            tiles: [B, M, 64, 64] float32.
            blur: [B] pixels, see `blur_px`.

        Returns:
            [B, M, F, 8, 8]: logarithms of power over noise (rings, of the whole tile; then edges,
            of the cell), brightness over noise, and noise over the stack's spread.
        """
        power = (self.basis @ tiles @ self.basis.T).square()  # [B, M, 64, 64]
        first = int(_CORNER * TILE)
        corner = power[..., first:, first:].flatten(-2).median(-1).values / _NORMAL_SQUARED
        noise = corner.clamp(min=_LEAST_NOISE**2)  # [B, M] variance of a pixel
        weights, seen = self._weights(blur)
        rings = _log_excess(power.flatten(-2) @ weights.transpose(1, 2), noise[..., None])
        rings = rings * seen[:, None]
        whole = torch.cat([rings, 0.5 * noise.log()[..., None]], -1)
        cells = torch.cat([self._edges(tiles, noise), _brightness(tiles, noise)[:, :, None]], 2)
        spread = whole[..., None, None].expand(-1, -1, -1, CELLS, CELLS)
        return torch.cat([spread[:, :, :-1], cells, spread[:, :, -1:]], 2)

    def _weights(self, blur: Tensor) -> tuple[Tensor, Tensor]:
        """[B, R, 4096] weights of means over rings, and [B, R], whether the pixels resolve one."""
        middle = math.log(_LOWEST) + math.log(_RATIO) * torch.arange(self.rings, device=blur.device)
        place = (self.radius * blur[:, None]).clamp(min=1e-9).log()  # [B, 4096]
        weights = (1 - (place[:, None] - middle[:, None]).abs() / math.log(_RATIO)).clamp(min=0)
        total = weights.sum(-1)
        seen = total > 0.5
        return weights / total.clamp(min=0.5)[..., None], seen.float()

    def _edges(self, tiles: Tensor, noise: Tensor) -> Tensor:
        """[B, M, 3, 8, 8]: energy of Laplacians of Gaussians at three scales."""
        flat = tiles.flatten(0, 1)[:, None]
        found = []
        for scale in _SCALES:
            small = F.avg_pool2d(flat, scale) if scale > 1 else flat
            edges = F.conv2d(F.pad(small, (2, 2, 2, 2), mode="reflect"), self.kernel)
            energy = F.avg_pool2d(edges.square(), CELL // scale)[:, 0].unflatten(0, tiles.shape[:2])
            found.append(_log_excess(energy, noise[..., None, None] / scale**2))
        return torch.stack(found, 2)


def _log_excess(power: Tensor, noise: Tensor) -> Tensor:
    """Logarithm of what power is above that of the noise, over that."""
    return ((power - noise) / noise).clamp(min=_LEAST_POWER).log()


def _brightness(tiles: Tensor, noise: Tensor) -> Tensor:
    """[B, M, 8, 8]: means of cells above no dye, over the noise of a pixel."""
    means = F.avg_pool2d(tiles, CELL)
    return torch.asinh(means / noise.sqrt()[..., None, None])
