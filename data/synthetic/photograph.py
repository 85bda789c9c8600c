"""One more photograph of a volume: dye in, a normalised image and what it should have been out.

The dye is that of a simulated scene, or the brightness of a real volume, which so is blurred and
made noisy once more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..normalize import MAD_TO_SIGMA, OUTLIER_SPREADS
from ..optics.camera import expose
from ..optics.light_sheet import Nodes
from ..optics.render import arriving_light
from ..optics.settings import Optics
from ..optics.storage import store
from ..voxel import VoxelSize

_ROUNDS = 5  # of leaving outliers out; more change the level by less than the noise
_TOP = 0.999  # quantile of a real volume's brightness that counts as filled with dye
_BRIGHTEST = 8.0  # asinh units; beyond it sinh only magnifies hot pixels


def photograph(
    density: Tensor,
    voxel_size_um: VoxelSize,
    optics: Optics,
    noise: torch.Generator,
    z_step: int,
    nodes: Nodes,
) -> tuple[Tensor, Tensor]:
    """Image dye and normalise what comes out.

    Args:
        density: [B, Z * z_step, Y, X] float32 dye on fine planes.
        voxel_size_um: (z, y, x) of the volume.
        optics: of the samples.
        noise: generator of the device of `density`.
        z_step: fine planes for one plane of the volume.
        nodes: see `optics.light_sheet.blur`.

    Returns:
        image and clean, [B, 1, Z, Y, X] each: normalised as in training on real volumes; clean is
        the dye in the counts that it would give without blur, noise and loss, with the same level
        and spread.
    """
    pitch = (voxel_size_um[0] / z_step, *voxel_size_um[1:])
    light = arriving_light(density, pitch, optics, noise, z_step, nodes)
    counts = store(expose(light, optics, noise), optics)[:, None]
    level, spread = tissue_level(counts)
    gain, base = _response(counts[:, 0], light)
    clean = gain * density[:, z_step // 2 :: z_step] + base
    return torch.asinh((counts - level) / spread), torch.asinh((clean[:, None] - level) / spread)


def dye_of(image: Tensor) -> Tensor:
    """Take a real volume's brightness for dye: normalised [B, 1, Z, Y, X] -> [B, Z, Y, X] in 0..1.

    The darkest hundredth holds none; the brightest thousandth of its voxels is full of it.
    """
    light = torch.sinh(image[:, 0].clamp(-_BRIGHTEST, _BRIGHTEST))
    flat = light.flatten(1)
    low, high = (
        torch.stack([row.kthvalue(1 + int(q * (row.numel() - 1))).values for row in flat])
        for q in (0.01, _TOP)
    )
    span = (high - low).clamp(min=1e-3)
    return ((light - low.view(-1, 1, 1, 1)) / span.view(-1, 1, 1, 1)).clamp(0, 2)


def tissue_level(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Level and spread of crops by the rule of `data.normalize`: median and MAD without outliers.

    Args:
        counts: [B, 1, Z, Y, X].

    Returns:
        [B, 1, 1, 1, 1] each; the spread is at least 1 count.
    """
    flat = counts.flatten(1)
    flat = flat[:, :: max(1, flat.shape[1] // 20_000)].float()
    kept = torch.ones_like(flat, dtype=torch.bool)
    level = spread = flat.new_zeros(len(flat), 1)
    for _ in range(_ROUNDS):
        values = flat.masked_fill(~kept, torch.nan)
        level = values.nanmedian(1, keepdim=True).values
        spread = MAD_TO_SIGMA * (values - level).abs().nanmedian(1, keepdim=True).values
        spread = spread.clamp(min=1.0)
        kept = (flat - level).abs() <= OUTLIER_SPREADS * spread
    return level[:, :, None, None, None], spread[:, :, None, None, None]


def _response(counts: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
    """Counts for a unit of light, and without light: [B, 1, 1, 1] each.

    Fitted, because storage may have subtracted and rescaled what the camera gave.
    """
    axes = (1, 2, 3)
    away = light - light.mean(axes, keepdim=True)
    variance = away.square().mean(axes, keepdim=True).clamp(min=1e-12)
    gain = ((away * counts).mean(axes, keepdim=True) / variance).clamp(min=0)
    return gain, counts.mean(axes, keepdim=True) - gain * light.mean(axes, keepdim=True)
