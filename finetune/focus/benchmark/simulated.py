"""Simulated cases: sweeps and volumes of known defocus, and what goes wrong at a microscope.

Drawn here and nowhere else, so that no choice made in training reaches them. The same specimens
come back in every condition. PSF family "seen" is scalar diffraction; "held out" is Gaussian beams,
which nothing that is trained for the comparison has met.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....data.draws import keyed_rng
from ....data.focus_labels import FocusUnits, full_depth_of_field_um
from ....data.optics.camera import expose
from ....data.optics.field import defocus_map
from ....data.optics.render import image
from ....data.optics.settings import Optics, OpticsRanges, draw_optics
from ....data.optics.storage import store
from ....data.optics.sweep import defocus_sweep
from ....data.synthetic.compose import compose
from ....data.synthetic.recipe import SimulateRecipe
from ....predict.focus import Mode
from ....predict.focus_stack import FocusStack
from .case import Case, Numbers
from .plan import SimulatedCases

Psf = Literal["seen", "held out"]
STRESS = ("stress: empty", "stress: saturated", "stress: bleached 60 %")
TRAINING = "training"
_PLANES, _PITCH_UM = 32, (1.0, 1.0, 1.0)
_Z_STEP = 2  # planes of a scene from slice to slice of a volume
_NA = (0.3, 0.6)
_STEP = (0.25, 0.6)  # from slice to slice of a sweep, in depths of field
_BEST = (0.25, 0.75)  # where the best slice of a sweep lies, as a share of its length
_FARTHEST = 4.0  # defocus in the middle of a volume, in depths of field
_GAIN = (1.0, 6.0)  # and what it gains from the first slice to the last
_TILT = 1.0  # and along y and x, at most
_NODES = (6, 1, 2)
_BLEACHED = 0.6
_FIRST_JUDGED = 10_000  # number of the first specimen that is judged; below it are those to learn
_SCENES = 15_485_863
"""Added to the seed: no scene of another part of luxvox comes back here."""
_ATTEMPTS, _ANOTHER, _LEAST_SPREAD = 10, 800_000, 0.02
"""Scenes that are tried, what lies between their numbers, and spread of dye in the plane shown."""
_PHOTONS = (20.0, 2000.0)  # of the specimens to learn from


def conditions(recipe: SimulatedCases) -> tuple[str, ...]:
    """Names of the simulated tables."""
    sweeps = [
        f"sweep, {psf} PSF, {light:g} photons" for psf in _FAMILIES for light in recipe.photons
    ]
    volumes = [f"volume, {psf} PSF" for psf in _FAMILIES]
    return (*sweeps, *volumes, *STRESS)


def judged_cases(recipe: SimulatedCases, condition: str) -> Iterator[Case]:
    """The cases of one of `conditions`, one at a time.

    Raises:
        ValueError: no such condition.
    """
    if condition not in conditions(recipe):
        raise ValueError(f"no condition {condition!r} among {conditions(recipe)}")
    numbers = range(_FIRST_JUDGED, _FIRST_JUDGED + recipe.specimens)
    middle = float(np.exp(np.mean(np.log(recipe.photons))))
    for number in numbers:
        if condition.startswith("volume"):
            yield _volume(recipe, number, condition, middle, _psf(condition))
        elif condition == STRESS[0]:
            yield _with_empty_slices(recipe, number, condition)
        elif condition == STRESS[1]:
            yield _sweep(recipe, number, condition, middle, "held out", saturated=True)
        elif condition == STRESS[2]:
            yield _sweep(recipe, number, condition, middle, "held out", bleached=True)
        else:
            light = float(condition.rsplit(", ", 1)[1].split()[0])
            yield _sweep(recipe, number, condition, light, _psf(condition))


def training_cases(recipe: SimulatedCases, mode: Mode) -> Iterator[Case]:
    """Cases of other specimens, of all brightnesses, of the seen PSF family only."""
    for number in range(recipe.training):
        rng = keyed_rng("focus training light", recipe.seed, number)
        light = float(np.exp(rng.uniform(*np.log(_PHOTONS))))
        draw = _sweep if mode == "sweep" else _volume
        yield draw(recipe, number, TRAINING, light, "seen")


_FAMILIES: Mapping[Psf, float] = {"seen": 1.0, "held out": 0.0}
"""Value of `Optics.scalar_psf`."""


def _psf(condition: str) -> Psf:
    return "held out" if "held out" in condition else "seen"


@lru_cache(maxsize=64)
def _scene(side: int, seed: int, number: int) -> tuple[NDArray[np.float16], str]:
    """Dye [32, side, side] on planes 1 um apart, and what stains it."""
    plan = SimulateRecipe(size=(_PLANES, side, side), pixel_um=(1.0, 1.0), z_over_xy=(1.0, 1.0))
    scene = compose(plan, seed + _SCENES, number)
    for attempt in range(1, _ATTEMPTS):  # the next of the same structure: it must show something
        if scene.density[_richest(scene.density)].std() >= _LEAST_SPREAD:
            break
        scene = compose(plan, seed + _SCENES, number + attempt * _ANOTHER)
    return scene.density.astype(np.float16), scene.stain


def _optics(recipe: SimulatedCases, number: int, light: float, psf: Psf) -> dict[str, float]:
    """A microscope for a specimen: the same in all conditions but for light and PSF family."""
    rng = keyed_rng("focus optics", recipe.seed, number)
    drawn = draw_optics(OpticsRanges(na=_NA, stripes=(0.0, 0.1), haze=(0.0, 0.15)), rng)
    no_drift = dict.fromkeys(("defocus_um", "tilt_y", "tilt_x", "bow_per_mm", "drift"), 0.0)
    plain = dict.fromkeys(("smoothing_px", "subtracted", "eight_bit", "bleaching"), 0.0)
    background = min(drawn["background_photons"], light / 4)
    given = {"photons": light, "background_photons": background, "scalar_psf": _FAMILIES[psf]}
    return {**drawn, **no_drift, **plain, "bits": 16.0, **given}


def _depth_of_field(optics: Mapping[str, float]) -> float:
    return full_depth_of_field_um(
        optics["na"], optics["wavelength_um"], optics["index"], _PITCH_UM[2]
    )


def _generator(
    purpose: str, recipe: SimulatedCases, number: int, condition: str
) -> torch.Generator:
    rng = keyed_rng(f"{purpose} {condition}", recipe.seed, number)
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def _sweep(
    recipe: SimulatedCases,
    number: int,
    condition: str,
    light: float,
    psf: Psf,
    saturated: bool = False,
    bleached: bool = False,
) -> Case:
    dye, stain = _scene(recipe.side, recipe.seed, number)
    optics = _optics(recipe, number, light, psf)
    depth = _depth_of_field(optics)
    rng = keyed_rng("focus sweep", recipe.seed, number)
    step = depth * rng.uniform(*_STEP)
    best = rng.uniform(*_BEST) * (recipe.slices - 1)
    positions = (torch.arange(recipe.slices, dtype=torch.float32) - best) * step
    volume = torch.from_numpy(dye.astype(np.float32))[None, None]
    noise = _generator("focus noise", recipe, number, condition)
    plane = _richest(dye)
    if saturated:  # the brightest hundredth of the sharpest slice is beyond what 12 bits hold
        found = defocus_sweep(volume, _PITCH_UM, Optics.stack([optics]), positions, noise, plane)
        light_counts = found.images - optics["offset"]
        more = 2**12 / max(float(torch.quantile(light_counts[0, 0, round(best)], 0.99)), 1.0)
        gain = optics["counts_per_photon"] * more
        optics |= {"bits": 12.0, "counts_per_photon": gain, "hot_pixels": 0.0}
    if bleached:  # the dye fades in the order of the positions, the background does not
        optics["bleaching"] = _BLEACHED
    found = defocus_sweep(volume, _PITCH_UM, Optics.stack([optics]), positions, noise, plane)
    images = found.images[0, 0]
    truth = positions.abs().double().numpy() / depth
    return _case(images, number, "sweep", condition, truth, optics, best, step, stain)


def _richest(dye: NDArray[np.floating]) -> int:
    """Which of the middle planes varies most: nobody sweeps over an empty place."""
    middle = range(_PLANES // 4, 3 * _PLANES // 4)
    return max(middle, key=lambda plane: float(dye[plane].astype(np.float32).std()))


def _volume(recipe: SimulatedCases, number: int, condition: str, light: float, psf: Psf) -> Case:
    dye, stain = _scene(recipe.side, recipe.seed, number)
    optics = _optics(recipe, number, light, psf)
    depth = _depth_of_field(optics)
    rng = keyed_rng("focus volume", recipe.seed, number)
    gain = depth * rng.uniform(*_GAIN) * rng.choice((-1.0, 1.0))
    optics["defocus_um"] = depth * rng.uniform(-_FARTHEST, _FARTHEST)
    optics["drift"] = gain / (_PLANES * _PITCH_UM[0])
    for axis in ("tilt_y", "tilt_x"):
        optics[axis] = depth * rng.uniform(-_TILT, _TILT) / recipe.side / 2
    stacked = Optics.stack([optics])
    noise = _generator("focus noise", recipe, number, condition)
    density = torch.from_numpy(dye.astype(np.float32))[None, None]
    images = image(density, _PITCH_UM, stacked, noise, _Z_STEP, _NODES)[0, 0]
    truth = _mean_defocus(stacked, images.shape) / depth
    step = _Z_STEP * _PITCH_UM[0]
    return _case(images, number, "volume", condition, truth, optics, None, step, stain)


def _mean_defocus(optics: Optics, shape: torch.Size) -> Numbers:
    """[Z] mean over each slice of the distance between sheet and focal plane, in um."""
    z = (torch.arange(shape[0]) * _Z_STEP + _Z_STEP // 2 + 0.5) * _PITCH_UM[0]
    y, x = ((torch.arange(side) + 0.5 - side / 2) for side in shape[1:])
    middle = _PLANES * _PITCH_UM[0] / 2
    found = defocus_map(optics, z[:, None, None], y[:, None], x, middle)[0]
    return found.abs().mean((1, 2)).double().numpy()


def _with_empty_slices(recipe: SimulatedCases, number: int, condition: str) -> Case:
    """A sweep that a file format or a pipeline had its way with; five slices show nothing.

    Every second one shows nothing at all.
    """
    rng = keyed_rng("focus empty", recipe.seed, number)
    light = float(np.exp(rng.uniform(*np.log(_PHOTONS))))
    full = _sweep(recipe, number, condition, light, "held out")
    optics = _optics(recipe, number, light, "held out")
    drawn = draw_optics(OpticsRanges(), rng)
    done = {name: drawn[name] for name in ("smoothing_px", "subtracted", "eight_bit")}
    stacked = Optics.stack([{**optics, **done}])
    empty = np.ones(recipe.slices, bool)
    if number % 2:
        empty[:] = False
        empty[rng.choice(recipe.slices, 5, replace=False)] = True
    nothing = torch.zeros(1, recipe.slices, recipe.side, recipe.side)
    dark = expose(nothing, stacked, _generator("focus dark", recipe, number, condition))[0]
    raw = torch.where(torch.from_numpy(empty)[:, None, None], dark, torch.from_numpy(full.planes))
    # Slice by slice: a sweep is smoothed across, and what is empty stays so.
    images = torch.cat([store(plane[None, None], stacked)[0] for plane in raw])
    assert full.stack.voxel_size_um is not None
    return _case(
        images, number, "sweep", condition, np.where(empty, np.nan, full.truth), optics,
        None if empty.all() else full.best_z, full.stack.voxel_size_um[0], full.stain, empty,
    )  # fmt: skip


def _case(
    images: Tensor,
    number: int,
    mode: Mode,
    condition: str,
    truth: Numbers,
    optics: Mapping[str, float],
    best: float | None,
    step_um: float,
    stain: str | None,
    empty: NDArray[np.bool_] | None = None,
) -> Case:
    planes = images.numpy()
    size = (step_um, *_PITCH_UM[1:])
    stack = FocusStack(
        image_paths=(f"simulated specimen {number}",) * len(planes),
        stack_id=f"{number}",
        channel="",
        t=0,
        z_index=tuple(range(len(planes))),
        voxel_size_um=size,
        shape=(planes.shape[1], planes.shape[2]),
        largest=65535.0,
        notes=(),
        load=lambda place: planes[place],
    )
    units = FocusUnits(optics["na"], 1000 * optics["wavelength_um"], optics["index"], size)
    depth = _depth_of_field(optics)
    return Case(
        stack=stack,
        group=f"specimen {number}",
        mode=mode,
        condition=condition,
        truth=truth,
        unit="DOF",
        step=step_um / depth if mode == "sweep" else None,
        um=depth,
        best_z=best,
        empty=np.zeros(len(planes), bool) if empty is None else empty,
        units=units,
        stain=stain,
    )
