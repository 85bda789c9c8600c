"""A scene: structures in tissue, some of them stained, before any optics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_fill_holes, distance_transform_edt

from ..draws import keyed_rng
from ..ranges import log_uniform, uniform
from .autofluorescence import draw_autofluorescence
from .catalogue import CATALOGUE, Structure, choose
from .debris import draw_debris
from .grid import Grid, Shape
from .painter import Drawing
from .recipe import SimulateRecipe
from .tissue import draw_tissue

_LEAST_SEEN = 20  # voxels of the main structure that a volume has to show
_MOST_ATTEMPTS = 10


@dataclass(frozen=True)
class Scene:
    """What is there, and what of it glows. F fine planes; Z planes of the volume.

    Attributes:
        grid: the fine grid.
        density: [F, Y, X] float32 dye; 1 = filled with dye of usual strength.
        drawings: every structure that is there, stained or not, cut to the tissue, on fine planes.
        stained: names of those that glow, the main one first.
        stain: what colours them.
        words: of the main structure, for captions.
    """

    grid: Grid
    density: np.ndarray
    drawings: Mapping[str, Drawing]
    stained: tuple[str, ...]
    stain: str
    words: Mapping[str, str]

    @property
    def main(self) -> Structure:
        """The structure that the scene is about."""
        return CATALOGUE[self.stained[0]]

    @property
    def shape(self) -> Shape:
        """(Z, Y, X) of the volume."""
        return (self.grid.shape[0] // self.grid.z_step, *self.grid.shape[1:])

    def instances(self, name: str) -> np.ndarray:
        """[Z, Y, X] int32, objects of a structure numbered from 1 without gaps; 0 = none."""
        found = self.grid.pick_planes(self.drawings[name].instances)
        numbers, index = np.unique(found, return_inverse=True)
        index = index.reshape(found.shape)
        # Without 0 in it (all is one structure) the numbering would start at 0.
        return (index if numbers[0] == 0 else index + 1).astype(np.int32)

    def labels(self, name: str) -> np.ndarray:
        """[Z, Y, X] uint8, 1 inside a structure."""
        return (self.grid.pick_planes(self.drawings[name].instances) > 0).astype(np.uint8)

    def centreline(self, name: str) -> np.ndarray | None:
        """[Z, Y, X] uint8, 1 on the middle of tubes; None for structures without one.

        A voxel counts where the middle passes through any of its fine planes: else steep tubes
        would be torn.
        """
        middle = self.drawings[name].centreline
        if middle is None:
            return None
        steps = middle.reshape(self.shape[0], -1, *self.shape[1:])
        return np.asarray(steps.any(axis=1), np.uint8)

    def distance_um(self, name: str) -> np.ndarray:
        """[Z, Y, X] float32, distance to the nearest voxel outside the structure; 0 outside."""
        inside = self.labels(name)
        if inside.all():
            return np.full(self.shape, np.inf, np.float32)
        distance = distance_transform_edt(inside, sampling=self.grid.voxel_size_um)
        return np.asarray(distance, np.float32)


def compose(recipe: SimulateRecipe, seed: int, sample: int) -> Scene:
    """Draw one scene: a pure function of the recipe, the seed and its number.

    Structures take turns, so `sample` n shows structure n modulo their number.
    """
    main = choose(recipe.structures)[sample % len(recipe.structures)]
    rng = keyed_rng("scene", seed, sample)
    across_um = log_uniform(rng, recipe.pixel_um)
    along_um = across_um * log_uniform(rng, recipe.z_over_xy)
    grid = Grid.of_volume(recipe.size, (along_um, across_um, across_um))
    names = _others(recipe, main, rng)
    tissue = draw_tissue(grid, keyed_rng("tissue", seed, sample), recipe.scene.tissue)
    drawings = {}
    for name in (main.name, *names):
        # Each structure has a stream of its own, so that a change to one leaves the others alone.
        # A main structure that missed the volume is drawn again: the caption must be true.
        for attempt in range(_MOST_ATTEMPTS if name == main.name else 1):
            own = keyed_rng(f"{name} {attempt}", seed, sample)
            drawn = CATALOGUE[name].draw(grid, own, getattr(recipe.structure, name))
            drawings[name] = _seen(drawn, tissue, CATALOGUE[name].faint)
            if np.count_nonzero(grid.pick_planes(drawings[name].instances)) >= _LEAST_SEEN:
                break
    stained = (main.name, *(name for name, glows in names.items() if glows))
    density = _background(recipe, grid, drawings, stained, tissue, seed, sample)
    for name in stained:
        bright = log_uniform(rng, CATALOGUE[name].brightness)
        if name != main.name:
            bright *= uniform(rng, recipe.scene.second_brightness)
        density += bright * drawings[name].density
    return Scene(
        grid=grid,
        density=density,
        drawings=drawings,
        stained=stained,
        stain=str(rng.choice(main.stains)),
        words=drawings[main.name].words,
    )


def _others(recipe: SimulateRecipe, main: Structure, rng: np.random.Generator) -> dict[str, bool]:
    """Further structures of a scene, and whether they glow."""
    names: dict[str, bool] = {}
    second = rng.random() < recipe.scene.second_stained
    partners = [name for name in CATALOGUE if name not in (main.name, "neuropil")]
    partner = str(rng.choice(partners))
    if second and main.name != "neuropil":
        names[partner] = True
    for name, share in (
        ("vessels", recipe.scene.dark_vessels),
        ("nuclei", recipe.scene.dark_nuclei),
    ):
        if rng.random() < share and name != main.name:
            names.setdefault(name, False)
    return names


def _seen(drawn: Drawing, tissue: np.ndarray, faint: float) -> Drawing:
    """Cut a structure to the tissue, and its labels to what holds dye enough to be seen."""
    inside = (tissue > 0.5) & (drawn.instances > 0)
    if faint and inside.any():
        usual = float(np.quantile(drawn.density[inside], 0.9))
        # Dark nuclei inside stained cells are filled again: they are seen, as holes.
        seen = binary_fill_holes(inside & (drawn.density >= faint * usual))
        inside &= np.asarray(seen, bool)
    middle = None if drawn.centreline is None else drawn.centreline & inside
    return Drawing(
        drawn.density * tissue, np.where(inside, drawn.instances, 0), middle, drawn.words
    )


def _background(
    recipe: SimulateRecipe,
    grid: Grid,
    drawings: Mapping[str, Drawing],
    stained: tuple[str, ...],
    tissue: np.ndarray,
    seed: int,
    sample: int,
) -> np.ndarray:
    """[F, Y, X], light that no stain gives: the tissue's own, dark where structures displace it."""
    ranges, rng = recipe.scene, keyed_rng("background", seed, sample)
    light = draw_autofluorescence(grid, rng, ranges.autofluorescence) * tissue
    if rng.random() < ranges.texture:
        pattern = CATALOGUE["neuropil"].draw(grid, rng, recipe.structure.neuropil).density
        light *= pattern / max(float(pattern.mean()), 1e-6)
    for name, drawing in drawings.items():
        if name not in stained:
            light *= 1 - np.clip(drawing.density, 0, 1)
    if rng.random() < ranges.debris:
        light += draw_debris(grid, rng, ranges.specks)
    return light.astype(np.float32)
