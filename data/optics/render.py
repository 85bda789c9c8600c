"""The whole chain from dye to camera counts, in the order in which light goes.

Illumination reaches the dye; the sheet and the lens blur what it emits; tissue dims it on its way
out; planes are taken at the z step; then the camera counts, and the file is
stored. Noise always comes after blur.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .camera import expose
from .light_sheet import Nodes, blur
from .path import detection, illumination
from .settings import Optics
from .storage import store


def image(
    density: Tensor,
    pitch_um: tuple[float, float, float],
    optics: Optics,
    generator: torch.Generator,
    z_step: int = 1,
    nodes: Nodes = (1, 1, 2),
) -> Tensor:
    """Image a scene.

    Args:
        density: [B, 1, Z * z_step, Y, X] dye on fine planes, 1 = filled.
        pitch_um: (z, y, x) of the fine voxels.
        optics: of the B samples, on the device of `density`.
        generator: of that device; all noise comes from it.
        z_step: fine planes for one plane of the volume; the middle one is taken.
        nodes: see `light_sheet.blur`.

    Returns:
        [B, 1, Z, Y, X] float32, whole counts as they are stored.
    """
    light = arriving_light(density[:, 0], pitch_um, optics, generator, z_step, nodes)
    return store(expose(light, optics, generator), optics)[:, None]


def arriving_light(
    density: Tensor,
    pitch_um: tuple[float, float, float],
    optics: Optics,
    generator: torch.Generator,
    z_step: int,
    nodes: Nodes,
) -> Tensor:
    """The chain up to the camera: [B, Z * z_step, Y, X] dye -> [B, Z, Y, X] light."""
    shape = tuple(density.shape[1:])
    lit = density * illumination(optics, shape, pitch_um, generator)
    light = blur(lit, pitch_um, optics, nodes)[:, z_step // 2 :: z_step]
    return light * detection(optics, light.shape[1], pitch_um[0] * z_step)
