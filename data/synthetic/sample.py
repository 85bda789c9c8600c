"""One simulated volume: scene, optics and caption together, a pure function of seed and number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..draws import keyed_rng
from ..optics.render import image
from ..optics.settings import Optics, draw_optics
from .compose import Scene, compose
from .describe import Facts, facts_of
from .recipe import SimulateRecipe


@dataclass(frozen=True)
class Sample:
    """A simulated volume with everything that is known about it.

    Attributes:
        number: of the sample.
        image: [Z, Y, X] uint16 camera counts.
        scene: what was drawn.
        optics: every parameter, see `data.optics.Optics`.
        facts: what captions say.
    """

    number: int
    image: np.ndarray
    scene: Scene
    optics: dict[str, float]
    facts: Facts

    def clean(self) -> np.ndarray:
        """[Z, Y, X] float32, the dye itself: what restoration should find."""
        return self.scene.grid.pick_planes(self.scene.density)


def make_sample(recipe: SimulateRecipe, seed: int, number: int) -> Sample:
    """Draw and image one sample.

    Runs on one thread: the same bytes come out whatever else the machine does.

    Args:
        recipe: ranges of everything.
        seed: chooses everything that is random.
        number: of the sample, from 0; more samples never change the first ones.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scene = compose(recipe, seed, number)
        drawn = draw_optics(recipe.optics, keyed_rng("optics", seed, number))
        noise_seed = int(keyed_rng("camera", seed, number).integers(2**62))
        noise = torch.Generator().manual_seed(noise_seed)
        density = torch.from_numpy(scene.density)[None, None]
        counts = image(
            density,
            scene.grid.pitch_um,
            Optics.stack([drawn]),
            noise,
            scene.grid.z_step,
            recipe.nodes,
        )
    finally:
        torch.set_num_threads(threads)
    stored = counts[0, 0].numpy().astype(np.uint16)
    return Sample(number, stored, scene, drawn, facts_of(scene, drawn))
