"""Simulated batches between the few real ones, so that what stage B taught is not forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..configs.errors import InputError
from ..data.synthetic.catalogue import says
from ..data.synthetic.recipe import SimulateRecipe
from ..data.synthetic.stock import STRUCTURES, SceneStock, StockRecipe
from ..data.voxel import VoxelSize
from .sub_crops import Batch, Triple

_SCENES, _RENEW_EVERY = 12, 8
_USUAL: VoxelSize = (3.0, 1.0, 1.0)  # where the support's is unknown
_MOST_ANISOTROPIC = 6.0


def simulated_name(structure: str | None) -> str:
    """Which structure of the catalogue a text speaks of.

    Raises:
        InputError: of none.
    """
    for name in STRUCTURES:
        if says(structure, name):
            return name
    raise InputError(
        f"replay: nothing like {structure!r} is simulated, only {', '.join(STRUCTURES)}; "
        "set replay=0"
    )


def replay_stock(
    name: str, crop: Triple, voxel_size_um: VoxelSize | None, seed: int, device: str
) -> SceneStock:
    """Scenes of one structure at about the voxel size of the support; to be closed.

    Args:
        name: of the catalogue.
        crop: (z, y, x) voxels.
        voxel_size_um: (z, y, x) of the support; None = unknown.
        seed: of the run.
        device: where batches lie.
    """
    along, down, across = voxel_size_um or _USUAL
    pixel = (down * across) ** 0.5  # the simulator's pixels are square
    along = min(max(along, pixel), _MOST_ANISOTROPIC * pixel)
    scene = SimulateRecipe(structures=(name,))
    recipe = StockRecipe(
        scene=scene,
        scene_size=(crop[0] + 16, crop[1] + 32, crop[2] + 32),
        crop=crop,
        voxel_sizes_um=((along, pixel, pixel),),
        scenes=_SCENES,
        renew_every=_RENEW_EVERY,
    )
    return SceneStock(recipe, seed, device)


def replayed(
    stock: SceneStock, step: int, size: int, name: str, condition: Tensor | None, restore: bool
) -> Batch:
    """A simulated batch in the form of a real one.

    Args:
        stock: of scenes.
        step: which batch.
        size: B.
        name: of the structure that is labelled.
        condition: [1, T], its name as a vector; None = not said.
        restore: whether the clean image is wanted in place of labels.
    """
    drawn = stock.batch(step, size)
    bit = STRUCTURES.index(name)
    # A structure that is there but dark is neither right nor wrong to find.
    stained = ((drawn.stained.long() >> bit) & 1 == 1).view(-1, 1, 1, 1)
    labels = (drawn.labels.long() >> bit) & 1
    return Batch(
        image=drawn.image,
        voxel_size_um=drawn.voxel_size_um,
        spacing_known=torch.ones(size, dtype=torch.bool, device=drawn.image.device),
        counts=(torch.ones_like(labels) if restore else (stained | (labels == 0)).long()) > 0,
        example=torch.full((size,), -1, device=drawn.image.device),
        labels=None if restore else labels,
        target=drawn.clean if restore else None,
        condition=None if condition is None else condition.expand(size, -1),
    )


def common_size(sizes: Sequence[VoxelSize | None]) -> VoxelSize | None:
    """The middle one of the voxel sizes that are known, axis by axis; None where none is."""
    known = [size for size in sizes if size is not None]
    if not known:
        return None
    z, y, x = (sorted(size[axis] for size in known)[len(known) // 2] for axis in range(3))
    return z, y, x
