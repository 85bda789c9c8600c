"""From a layer of napari to our terms and back: voxels, voxel size, what is on the screen.

Knows layers by their attributes only, so that it needs no screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError
from ...data.normalize import IntensityStats, describe
from ...data.tissue import to_blocks
from ...data.voxel import VoxelSize, unit_to_um
from ...predict.task_weights import Triple

SAMPLE_VOXELS = 2_000_000
"""Of a layer, about, for its intensity scale."""


@dataclass(frozen=True)
class Field:
    """A part of a layer.

    Attributes:
        layer: its name.
        image: [Z, Y, X] as acquired.
        origin: (z, y, x) of its first voxel in the layer.
        stats: of the whole layer.
        voxel_size_um: (z, y, x); None = not known.
    """

    layer: str
    image: NDArray[Any]
    origin: Triple
    stats: IntensityStats
    voxel_size_um: VoxelSize | None

    def placed(self, layer: Any) -> dict[str, Any]:
        """Where a layer of this field lies over its own: `scale`, `translate` and `units`."""
        scale = np.asarray(layer.scale)[-3:]
        shift = np.asarray(layer.translate)[-3:] + np.array(self.origin) * scale
        found = {"scale": scale, "translate": shift}
        units = getattr(layer, "units", None)
        return found if units is None else {**found, "units": units[-3:]}


def voxels_of(layer: Any) -> Any:
    """The array [Z, Y, X] of a layer, the finest level of several; perhaps lazy.

    Raises:
        InputError: another number of axes, colours, or sides that hold nothing.
    """
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    if getattr(layer, "rgb", False) or len(data.shape) != 3 or min(data.shape) < 2:
        raise InputError(
            f"layer {layer.name!r}: axes of {tuple(data.shape)}"
            f"{' with colours' if getattr(layer, 'rgb', False) else ''}, expected one volume "
            "(z, y, x); split channels and time points into layers"
        )
    return data


def voxel_size_of(layer: Any) -> VoxelSize | None:
    """(z, y, x) in micrometres. A scale without a unit counts as such, one of 1 as unknown."""
    scale = [abs(float(size)) for size in layer.scale[-3:]]
    units = [str(unit) for unit in (getattr(layer, "units", None) or ("pixel",) * 3)[-3:]]
    factors = [unit_to_um(unit) for unit in units]
    if any(factor is None for factor in factors):
        if all(size == 1 for size in scale):
            return None
        factors = [1.0, 1.0, 1.0]
    z, y, x = (size * (factor or 1.0) for size, factor in zip(scale, factors, strict=True))
    return z, y, x


def measure_layer(layer: Any) -> IntensityStats:
    """Intensity scale of a layer, from cubes scattered over it.

    Raises:
        InputError: constant, or no finite values.
    """
    voxels = voxels_of(layer)
    edge = tuple(min(32, side) for side in voxels.shape)
    count = max(1, round((SAMPLE_VOXELS / np.prod(edge)) ** (1 / 3)))
    places = [
        np.unique(np.linspace(0, side - part, min(count, -(-side // part))).astype(int))
        for side, part in zip(voxels.shape, edge, strict=True)
    ]
    blocks = [
        to_blocks(_read(voxels, tuple(map(int, origin)), edge))
        for origin in np.stack(np.meshgrid(*places, indexing="ij"), -1).reshape(-1, 3)
    ]
    return describe(np.concatenate(blocks), f"layer {layer.name!r}")


def visible_field(layer: Any, point: tuple[float, ...], most: Triple) -> Field:
    """What a viewer shows of a layer, around its middle.

    Args:
        layer: an image.
        point: where the sliders of the viewer stand, in world coordinates.
        most: (z, y, x) voxels at most.

    Raises:
        InputError: as `voxels_of` and `measure_layer`.
    """
    voxels = voxels_of(layer)
    corners = np.asarray(layer.corner_pixels, float)[:, -3:]
    if getattr(layer, "multiscale", False):
        corners = corners * np.asarray(layer.downsample_factors[layer.data_level])[-3:]
    here = np.asarray(layer.world_to_data(point), float)[-3:]
    origin, shape = [], []
    for axis, (side, wanted) in enumerate(zip(voxels.shape, most, strict=True)):
        first, last = corners[0, axis], corners[1, axis]
        # Along the slider the corners say nothing: around where it stands.
        middle = here[axis] if last - first < 1 or axis == 0 else (first + last) / 2
        length = int(min(side, wanted, max(last - first, 16) if axis else wanted))
        start = int(np.clip(round(middle - length / 2), 0, side - length))
        origin.append(start)
        shape.append(length)
    return field_of(layer, (origin[0], origin[1], origin[2]), (shape[0], shape[1], shape[2]))


def field_of(layer: Any, origin: Triple, shape: Triple) -> Field:
    """A box of a layer. Errors as `voxels_of` and `measure_layer`."""
    image = _read(voxels_of(layer), origin, shape)
    return Field(layer.name, image, origin, measure_layer(layer), voxel_size_of(layer))


def _read(voxels: Any, origin: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[Any]:
    box = tuple(slice(start, start + side) for start, side in zip(origin, shape, strict=True))
    return np.array(voxels[box])
