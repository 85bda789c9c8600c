"""Light-sheet optics: from dye to camera counts, batched, on any device.

`image` takes a scene to counts; `degrade` does the same to a real volume; `defocus_sweep` moves the
objective through focus over one plane.
"""

from .degrade import degrade
from .render import image
from .settings import Optics, OpticsRanges, depth_of_field_um, draw_optics, sharp_optics
from .sweep import Sweep, defocus_sweep

__all__ = [
    "Optics",
    "OpticsRanges",
    "Sweep",
    "defocus_sweep",
    "degrade",
    "depth_of_field_um",
    "draw_optics",
    "image",
    "sharp_optics",
]
