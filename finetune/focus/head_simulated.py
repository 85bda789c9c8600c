"""Stacks whose defocus is known because we made it: sweeps and volumes, imaged on the fly.

Noise, camera and storage come after the blur; noise that is blurred along would give it away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from ...data.draws import keyed_rng
from ...data.optics.field import defocus_map
from ...data.optics.light_sheet import sheet_profile
from ...data.optics.render import image
from ...data.optics.settings import Optics
from ...data.optics.storage import store
from ...data.optics.sweep import defocus_sweep
from ...data.ranges import log_uniform
from ...models.focus_config import CELL, TILE
from ...predict.focus import Mode
from ...predict.focus_windows import cut_windows, window_corners
from .head_optics import draw_lens, draw_microscope, farthest_um
from .head_recipe import Family, HeadRecipe
from .head_specimens import Specimen
from .head_stack import LabelledStack, Lens

_STEP_DOF = (0.2, 1.2)  # of sweeps
_CHANGE_DOF = 1.0  # of a volume's defocus, along z and along x, at most
_SMOOTHED = 0.25  # share of sweeps that software smoothed across
_SMOOTHING_PX = (0.3, 0.9)
_SEEN = 3.0  # standard deviations of a cell's mean that make it foreground
_LEAST_CELLS = 2  # of foreground that a tile needs


def training_stacks(specimens: Sequence[Specimen], recipe: HeadRecipe) -> list[LabelledStack]:
    """`recipe.stacks` of each specimen, families in turn, every third a volume."""
    found = []
    for place, specimen in enumerate(specimens):
        for turn in range(recipe.stacks):
            number = place * recipe.stacks + turn
            family = recipe.families[number % len(recipe.families)]
            mode: Mode = "volume" if (place + turn) % 3 == 0 else "sweep"
            found.append(image_stack(specimen, recipe, family, mode, recipe.seed, number))
    return found


def image_stack(
    specimen: Specimen, recipe: HeadRecipe, family: Family, mode: Mode, seed: int, number: int
) -> LabelledStack:
    """Image a specimen with a microscope of its own; depends on its arguments only.

    Args:
        specimen: dye.
        recipe: sizes, photons, how many stacks are empty.
        family: of the PSF.
        mode: "sweep" or "volume".
        seed: of the run.
        number: of the stack.
    """
    rng = keyed_rng(f"focus {mode} {family}", seed, number)
    lens = draw_lens(specimen.voxel_size_um[1], rng)
    reach = len(specimen.density) * specimen.voxel_size_um[0]
    microscope = draw_microscope(lens, recipe, family, rng, reach)
    dye = _cut(specimen.density, recipe.side, rng)
    if rng.random() < recipe.empty:
        dye = torch.zeros_like(dye)
    made = _sweep if mode == "sweep" else _volume
    images, defocus_um, lit = made(dye, specimen, lens, microscope, recipe, rng)
    seen = _foreground(lit, microscope)
    distance = defocus_um.abs() / lens.depth_of_field_um
    enough = seen.sum((-2, -1)) >= _LEAST_CELLS
    return LabelledStack(
        images=images,
        defocus_dof=torch.where(enough, distance, torch.nan),
        mode=mode,
        specimen=specimen.name,
        lens=lens,
        stain=specimen.stain,
        foreground=seen.float(),
    )


_Made = tuple[Tensor, Tensor, Tensor]
"""Images [Z, Y, X], defocus [Z, Ty, Tx] in um, light without noise [Z, Y, X]."""


def _sweep(
    dye: Tensor, specimen: Specimen, lens: Lens, microscope: dict[str, float],
    recipe: HeadRecipe, rng: np.random.Generator,
) -> _Made:  # fmt: skip
    """The objective moves over the middle plane, with focus somewhere on the way."""
    places = torch.arange(recipe.slices) - rng.uniform(-1, recipe.slices)
    step = log_uniform(rng, _STEP_DOF) * lens.depth_of_field_um
    farthest = farthest_um(lens, microscope["sheet_waist_um"], recipe)
    step = min(step, farthest / float(places.abs().max()))
    optics = Optics.stack([microscope])
    noise = _noise(rng)
    size = specimen.voxel_size_um
    taken = defocus_sweep(dye[None, None], size, optics, step * places.float(), noise)
    counts = taken.images[:, 0]
    if rng.random() < _SMOOTHED:
        wide = log_uniform(rng, _SMOOTHING_PX)
        counts = torch.from_numpy(gaussian_filter(counts.numpy(), (0, 0, wide, wide)))
    # Positions of a sweep are no volume: smoothing along them happens nowhere.
    counts = store(counts, replace(optics, smoothing_px=torch.zeros(1)))[0]
    offset, sheet = sheet_profile(optics.sheet_waist_um, size[0])
    planes = (len(dye) // 2 + torch.arange(len(offset)) - len(offset) // 2).clamp(0, len(dye) - 1)
    lit = (dye[planes] * sheet[0][:, None, None]).sum(0).expand_as(counts)
    tiles = window_corners((recipe.side, recipe.side)).shape[:2]
    defocus = taken.defocus_um[0][:, None, None].expand(-1, *tiles)
    return counts, defocus, lit


def _volume(
    dye: Tensor, specimen: Specimen, lens: Lens, microscope: dict[str, float],
    recipe: HeadRecipe, rng: np.random.Generator,
) -> _Made:  # fmt: skip
    """The sample moves; focus drifts along z and is tilted along x."""
    fine = max(1, len(dye) // recipe.slices)
    dye = dye[: fine * (len(dye) // fine)][: fine * recipe.slices]
    size = specimen.voxel_size_um
    depth_um, wide_um = len(dye) * size[0], recipe.side * size[2]
    unit = lens.depth_of_field_um
    change = [rng.uniform(-_CHANGE_DOF, _CHANGE_DOF) * unit for _ in range(2)]
    farthest = farthest_um(lens, microscope["sheet_waist_um"], recipe)
    room = max(0.0, farthest - (abs(change[0]) + abs(change[1])) / 2)
    moved = {
        "defocus_um": rng.uniform(-room, room),
        "drift": change[0] / depth_um,
        "tilt_x": change[1] / wide_um,
    }
    optics = Optics.stack([microscope | moved])
    counts = image(dye[None, None], size, optics, _noise(rng), fine, nodes=(2, 1, 2))[0, 0]
    corners = window_corners((recipe.side, recipe.side))
    middle = (corners + TILE / 2 - recipe.side / 2) * size[1]
    planes = torch.arange(len(counts)) * fine + fine // 2
    z = (planes + 0.5)[:, None, None] * size[0]
    where = defocus_map(optics, z, middle[..., 0], middle[..., 1], depth_um / 2)[0]
    return counts, where, dye[fine // 2 :: fine]


def _foreground(lit: Tensor, microscope: dict[str, float]) -> Tensor:
    """[Z, Ty, Tx, 8, 8] bool: cells whose light in focus stands out of the noise.

    Args:
        lit: [Z, Y, X] dye in the plane.
        microscope: photons and noise.
    """
    corners = window_corners((lit.shape[1], lit.shape[2]))
    cells = F.avg_pool2d(cut_windows(lit, corners.flatten(0, 1)), CELL)  # [Z, T, 8, 8]
    dark = torch.quantile(cells.flatten(1), 0.05, dim=1)[:, None, None, None]
    photons = microscope["photons"]
    read = microscope["read_noise"] / microscope["counts_per_photon"]
    noise = (photons * dark + microscope["background_photons"] + read**2).sqrt() / CELL
    seen = photons * (cells - dark) > _SEEN * noise
    return seen.unflatten(1, corners.shape[:2])


def _cut(density: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """[Z, side, side] at a random place, mirrored and turned at random."""
    y, x = (int(rng.integers(n - side + 1)) for n in density.shape[1:])
    cut = density[:, y : y + side, x : x + side]
    cut = cut.flip([axis for axis in (1, 2) if rng.random() < 0.5])
    return cut.transpose(1, 2) if rng.random() < 0.5 else cut


def _noise(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**62)))
