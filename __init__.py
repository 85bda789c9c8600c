"""luxvox: a 3D foundation model for light-sheet fluorescence microscopy.

The public face. Names are imported when they are first used, so that `import luxvox` costs nothing:

    model = luxvox.load("RUN")                      # model.embed(...), model.predict(...)
    volume = luxvox.open_volume("brain.ome.zarr")   # lazy: axes, levels, voxel size in micrometres
    luxvox.save_volume(array, "out.ome.zarr", voxel_size_um=(6.0, 1.62, 1.62))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.open import open_volume
    from .data.save import save_volume
    from .predict.model import load

__version__ = "0.1.0"

__all__ = ["__version__", "load", "open_volume", "save_volume"]

_HOME_OF = {
    "open_volume": ".data.open",
    "save_volume": ".data.save",
    "load": ".predict.model",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562) and keep it."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names too, not only those that were used already."""
    return sorted({*globals(), *__all__})
