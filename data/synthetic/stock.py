"""Training batches from simulation: a stock of drawn scenes, imaged anew at every draw.

Drawing a scene takes most of a second, imaging a crop of it some milliseconds. So scenes are kept,
larger than the crops, on the device; every batch cuts them at new places and images them with new
optics; and old scenes give way to new ones as fast as processes in the background draw them.

What a batch holds depends on (seed, step) only: the stock of a step is known in advance, and a step
whose scenes are not there yet waits for them.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..draws import keyed_rng
from ..optics.settings import Optics, draw_optics
from ..ranges import Ranges
from ..voxel import VoxelSize
from .catalogue import CATALOGUE
from .compose import compose
from .grid import Shape
from .photograph import photograph
from .recipe import SimulateRecipe


class StockRecipe(Ranges):
    """What is kept, and what is cut from it.

    Attributes:
        scene: ranges of scenes and optics; its `size`, `pixel_um` and `z_over_xy` are not used.
        scene_size: (z, y, x) in voxels of a kept scene.
        crop: (z, y, x) in voxels; no larger than a scene.
        voxel_sizes_um: (z, y, x) each; batches take turns, because one batch has one shape.
        scenes: kept of each voxel size; 50 scenes of 96^3 voxels take 270 MB.
        renew_every: batches of a voxel size after which one scene is replaced; 0 keeps the first.
    """

    scene: SimulateRecipe = Field(default_factory=SimulateRecipe)
    scene_size: Shape = (96, 96, 96)
    crop: Shape = (64, 64, 64)
    voxel_sizes_um: tuple[VoxelSize, ...] = ((1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (4.0, 1.6, 1.6))
    scenes: int = Field(default=32, ge=1)
    renew_every: int = Field(default=4, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(c > s for c, s in zip(self.crop, self.scene_size, strict=True)):
            raise ValueError(f"crop {self.crop} is larger than scene_size {self.scene_size}")
        if any(size[1] != size[2] for size in self.voxel_sizes_um):
            raise ValueError(f"voxel_sizes_um {self.voxel_sizes_um}: expected square pixels")
        return self


@dataclass(frozen=True)
class SimulatedBatch:
    """A batch, on the device of the stock. Shapes: B samples, Z Y X voxels.

    Attributes:
        image: [B, 1, Z, Y, X] float32, normalised as in training on real volumes.
        clean: [B, 1, Z, Y, X] float32, the dye in the counts that it would give without blur, noise
            and loss, normalised with the same level and spread: what `image` should have been.
        labels: [B, Z, Y, X] uint8, one bit for each structure, in the order of `STRUCTURES`.
        centreline: [B, Z, Y, X] uint8, the same for the middle of tubes.
        main: [B] int64, which structure the scene is about.
        stained: [B] uint8, bits of the structures that glow.
        voxel_size_um: [B, 3].
        optics: every parameter.
    """

    image: Tensor
    clean: Tensor
    labels: Tensor
    centreline: Tensor
    main: Tensor
    stained: Tensor
    voxel_size_um: Tensor
    optics: Optics


STRUCTURES = tuple(CATALOGUE)
"""Names of the bits of labels, the lowest first."""


@dataclass(frozen=True)
class _Kept:
    """One scene as it is kept: F fine planes, Z planes."""

    density: Tensor  # [F, Y, X] float16
    labels: Tensor  # [Z, Y, X] uint8
    centreline: Tensor  # [Z, Y, X] uint8
    main: int
    stained: int


class SceneStock:
    """Keeps scenes and makes batches of them; close it, or use it in a `with` statement."""

    def __init__(
        self, recipe: StockRecipe, seed: int, device: str = "cpu", workers: int = 1
    ) -> None:
        self.recipe, self.seed, self.device = recipe, seed, torch.device(device)
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, mp_context=context)
        self._coming: dict[tuple[int, int], Future] = {}
        self._kept: dict[tuple[int, int], _Kept] = {}

    def __enter__(self) -> Self:
        """Nothing is drawn before the first batch."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the processes."""
        self.close()

    def close(self) -> None:
        """Stop the processes; scenes that are being drawn are given up."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def batch(self, step: int, size: int) -> SimulatedBatch:
        """The batch of a step: the same for every run with this seed, recipe and size.

        Args:
            step: from 0; steps need not come in order, but those that do wait least.
            size: samples.
        """
        recipe = self.recipe
        kind, turn = step % len(recipe.voxel_sizes_um), step // len(recipe.voxel_sizes_um)
        first = turn // recipe.renew_every if recipe.renew_every else 0
        present = range(first, first + recipe.scenes)
        self._ask(kind, range(first, first + recipe.scenes + self._ahead()))
        rng = keyed_rng("stock", self.seed, step)
        chosen = [self._scene(kind, int(rng.choice(present))) for _ in range(size)]
        for number in [n for k, n in self._kept if k == kind and n < first]:
            del self._kept[kind, number]
        optics = Optics.stack([draw_optics(recipe.scene.optics, rng) for _ in range(size)])
        return self._image(kind, chosen, optics.to(self.device), rng)

    def _ahead(self) -> int:
        return 4 if self.recipe.renew_every else 0

    def _ask(self, kind: int, numbers: range) -> None:
        for number in numbers:
            if (kind, number) not in self._kept and (kind, number) not in self._coming:
                draw = partial(_draw_scene, self.recipe, self.seed, kind, number)
                self._coming[kind, number] = self._pool.submit(draw)

    def _scene(self, kind: int, number: int) -> _Kept:
        if (kind, number) not in self._kept:
            drawn = self._coming.pop((kind, number)).result()
            density, labels, centreline = (torch.from_numpy(a).to(self.device) for a in drawn[:3])
            self._kept[kind, number] = _Kept(density, labels, centreline, *drawn[3:])
        return self._kept[kind, number]

    def _image(
        self, kind: int, chosen: list[_Kept], optics: Optics, rng: np.random.Generator
    ) -> SimulatedBatch:
        size = self.recipe.voxel_sizes_um[kind]
        step = chosen[0].density.shape[0] // chosen[0].labels.shape[0]
        cuts = [_cut(scene, self.recipe.crop, step, rng) for scene in chosen]
        density, labels, centreline = (torch.stack(part) for part in zip(*cuts, strict=True))
        density = density.float()
        noise = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        nodes = self.recipe.scene.nodes
        image, clean = photograph(density, size, optics, noise, step, nodes)
        return SimulatedBatch(
            image=image,
            clean=clean,
            labels=labels,
            centreline=centreline,
            main=torch.tensor([scene.main for scene in chosen], device=self.device),
            stained=torch.tensor(
                [scene.stained for scene in chosen], device=self.device, dtype=torch.uint8
            ),
            voxel_size_um=torch.tensor(size, device=self.device).expand(len(chosen), 3),
            optics=optics,
        )


def _draw_scene(
    recipe: StockRecipe, seed: int, kind: int, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """A scene in the types in which it is kept; runs in a process of its own."""
    torch.set_num_threads(1)
    along, across, _ = recipe.voxel_sizes_um[kind]
    changes = {
        "size": recipe.scene_size,
        "pixel_um": (across, across),
        "z_over_xy": (along / across, along / across),
    }
    plan = recipe.scene.model_copy(update=changes)
    # Kinds have streams of their own; numbers go through the structures in turn.
    scene = compose(plan, seed + 7919 * (kind + 1), number)
    shape = scene.shape
    labels, centreline = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for bit, name in enumerate(STRUCTURES):
        if name in scene.drawings:
            labels |= scene.labels(name) << bit
            middle = scene.centreline(name)
            if middle is not None:
                centreline |= middle << bit
    stained = sum(1 << STRUCTURES.index(name) for name in scene.stained)
    main = STRUCTURES.index(scene.stained[0])
    return scene.density.astype(np.float16), labels, centreline, main, stained


def _cut(
    scene: _Kept, crop: Shape, step: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut one crop at a random place, mirrored and turned about z at random."""
    room = [n - c for n, c in zip(scene.labels.shape, crop, strict=True)]
    z, y, x = (int(rng.integers(r + 1)) for r in room)
    # With an even number of fine planes to a step there is no middle one: mirrored along z, the
    # plane that is imaged would lie beside that of the labels.
    axes = (0, 1, 2) if step % 2 else (1, 2)
    flips = [axis for axis in axes if rng.random() < 0.5]
    turned = crop[1] == crop[2] and rng.random() < 0.5
    cut = []
    for field, factor in ((scene.density, step), (scene.labels, 1), (scene.centreline, 1)):
        part = field[factor * z : factor * (z + crop[0]), y : y + crop[1], x : x + crop[2]]
        part = part.flip(flips) if flips else part
        cut.append(part.transpose(1, 2) if turned else part)
    return cut[0], cut[1], cut[2]
