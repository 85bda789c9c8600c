"""Voxel sizes and channel names that OME-TIFF and ImageJ TIFF keep in their descriptions."""

from __future__ import annotations

import tifffile

from ..voxel import VoxelSize, unit_to_um


def voxel_sizes(file: tifffile.TiffFile, number: int) -> tuple[dict[str, float | None], list[str]]:
    """Micrometres along z, y, x (None where unknown), and notes."""
    if file.is_ome:
        return _ome_sizes(_ome_pixels(file, number))
    if file.is_imagej:
        return _imagej_sizes(file)
    # Resolution tags alone are dots per inch for a printer and say nothing about z.
    return {}, []


def position_um(file: tifffile.TiffFile, number: int) -> VoxelSize | None:
    """(z, y, x) of the first plane of an OME-TIFF in micrometres; None where it is not stated."""
    if not file.is_ome:
        return None
    planes = _ome_pixels(file, number).get("Plane", [])
    planes = planes if isinstance(planes, list) else [planes]
    found = []
    for axis in "ZYX":
        place = planes[0].get(f"Position{axis}") if planes else None
        # "reference frame", the unit where none is stated, is no length.
        factor = unit_to_um(planes[0].get(f"Position{axis}Unit")) if place is not None else None
        if place is None or factor is None:
            return None
        found.append(float(place) * factor)
    return found[0], found[1], found[2]


def _ome_pixels(file: tifffile.TiffFile, number: int) -> dict:
    images = tifffile.xml2dict(file.ome_metadata or "").get("OME", {}).get("Image", {})
    images = images if isinstance(images, list) else [images]
    return images[number].get("Pixels", {}) if number < len(images) else {}


def _ome_sizes(pixels: dict) -> tuple[dict[str, float | None], list[str]]:
    sizes: dict[str, float | None] = {}
    notes = []
    for axis in "zyx":
        size = pixels.get(f"PhysicalSize{axis.upper()}")
        # The OME schema: micrometres where no unit is stated.
        factor = unit_to_um(pixels.get(f"PhysicalSize{axis.upper()}Unit", "\u00b5m"))
        sizes[axis] = float(size) * factor if size and factor and float(size) > 0 else None
    missing = [axis for axis in "zyx" if sizes[axis] is None]
    if missing and len(missing) < 3:
        notes.append(f"OME metadata give no size along {', '.join(missing)}")
    return sizes, notes


def _imagej_sizes(file: tifffile.TiffFile) -> tuple[dict[str, float | None], list[str]]:
    metadata = file.imagej_metadata or {}
    tags = file.pages.first.tags
    factor = unit_to_um(str(metadata.get("unit", "")))
    if factor is None:
        return {}, []
    sizes: dict[str, float | None] = {}
    for axis, code in (("y", "YResolution"), ("x", "XResolution")):
        tag = tags.get(code)
        pixels, units = tag.value if tag else (0, 1)
        sizes[axis] = units / pixels * factor if pixels and units else None
    spacing = abs(float(metadata.get("spacing", 0)))
    sizes["z"] = spacing * factor if spacing else None
    notes = [] if spacing else ["ImageJ metadata give no spacing of the planes"]
    return sizes, notes


def channel_names(file: tifffile.TiffFile, number: int) -> tuple[str, ...]:
    """Names of the channels of a series; empty where the file has none that tell them apart."""
    if not file.is_ome:
        return ()
    channels = _ome_pixels(file, number).get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    names = tuple(str(channel.get("Name", index)) for index, channel in enumerate(channels))
    return names if len(set(names)) == len(names) else ()
