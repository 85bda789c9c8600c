"""OME-NGFF metadata, both ways: what a store says of itself, and what ours say.

Versions 0.4 and 0.5 go through the yaozarrs models. A store that they refuse is still read as far
as it can be (drafts, older versions and careless writers are common), with the refusal as a note.
Specification: https://ngff.openmicroscopy.org
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from yaozarrs import v04, v05

from ...configs.errors import InputError
from ..voxel import VoxelSize, unit_to_um
from .axes import KNOWN_AXES, parse_axes


@dataclass(frozen=True)
class Multiscale:
    """One pyramid as its metadata describe it; tuples in the file's axis order.

    `scales` and `translations` are in the file's units; `unit_um` gives micrometres in one such
    unit, None at axes that are no lengths or name no unit.
    """

    version: str
    axes: str
    paths: tuple[str, ...]
    scales: tuple[tuple[float, ...] | None, ...]
    translations: tuple[tuple[float, ...], ...]
    unit_um: tuple[float | None, ...]
    channel_names: tuple[str, ...]
    notes: tuple[str, ...]


def read_multiscale(attributes: dict[str, Any], path: str, axes: str | None = None) -> Multiscale:
    """Read the first pyramid that a group's attributes describe.

    Args:
        attributes: of the Zarr group; NGFF 0.5 keeps its part under "ome".
        path: the store, for messages.
        axes: names of the axes in place of the stated ones.

    Raises:
        InputError: no axes or datasets in it, an unknown axis, transformations of another length.
    """
    ome = attributes.get("ome", attributes)
    entries = ome.get("multiscales")
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
        raise InputError(f"{path}: damaged OME-Zarr metadata: 'multiscales' is {entries!r:.80}")
    entry = entries[0]
    version = str(ome.get("version") or entry.get("version") or "unknown")
    notes = _refusal(ome, version)
    if len(entries) > 1:
        notes.append(f"{len(entries)} pyramids in one group, the first is read")
    datasets = entry.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        raise InputError(f"{path}: damaged OME-Zarr metadata: no 'datasets' in 'multiscales'")
    named = _axes(entry, path, axes)
    shared = _transforms(entry.get("coordinateTransformations"), len(named), path)
    paths, scales, translations = [], [], []
    for dataset in datasets:
        if not isinstance(dataset, dict) or "path" not in dataset:
            raise InputError(f"{path}: damaged OME-Zarr metadata: a dataset without 'path'")
        scale, shift = _transforms(dataset.get("coordinateTransformations"), len(named), path)
        paths.append(str(dataset["path"]))
        # The transformations of the pyramid are applied after those of the level.
        one = (1.0,) * len(named)
        outer = shared[0] or one
        total = tuple(a * b for a, b in zip(outer, scale or one, strict=True))
        scales.append(total if scale or shared[0] else None)
        translations.append(
            tuple(o * s + e for o, s, e in zip(outer, shift, shared[1], strict=True))
        )
    return Multiscale(
        version=version,
        axes="".join(name for name, _ in named),
        paths=tuple(paths),
        scales=tuple(scales),
        translations=tuple(translations),
        unit_um=tuple(unit for _, unit in named),
        channel_names=_channel_names(ome),
        notes=tuple(notes),
    )


def _refusal(ome: dict[str, Any], version: str) -> list[str]:
    """What the yaozarrs model of this version has to say against the metadata."""
    model = {"0.4": v04.Image, "0.5": v05.Image}.get(version)
    if model is None:
        return [f"NGFF version {version}, read as far as it is like 0.4 and 0.5"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.model_validate(ome)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = str(first["msg"]).splitlines()[0]
        return [f"not valid NGFF {version}: {where}: {reason}"]
    return []


def _axes(entry: dict[str, Any], path: str, wanted: str | None) -> list[tuple[str, float | None]]:
    """Our letter and the micrometres in one unit of each axis."""
    stated = entry.get("axes")
    if stated is None and entry.get("coordinateSystems"):  # drafts of 0.6
        stated = entry["coordinateSystems"][0].get("axes")
    if stated is None:  # 0.1 and 0.2 fix five axes
        stated = list("tczyx")
    stated = [{"name": axis} if isinstance(axis, str) else axis for axis in stated]
    letters = [_letter(axis, path) for axis in stated] if wanted is None else wanted.lower()
    letters = parse_axes("".join(letters), len(stated), path)
    return [
        (letter, unit_to_um(axis.get("unit")) if letter in "zyx" else None)
        for letter, axis in zip(letters, stated, strict=True)
    ]


def _letter(axis: dict[str, Any], path: str) -> str:
    name, kind = str(axis.get("name", "")).lower(), str(axis.get("type", "")).lower()
    if len(name) == 1 and name in KNOWN_AXES:
        return name
    for word in (name, kind):
        if word in ("channel", "time"):
            return word[0]
    raise InputError(
        f"{path}: unknown axis {name!r} of type {kind!r}, expected t, c, z, y and x;"
        " name the axes as they lie in the file, such as axes=czyx"
    )


def _transforms(
    entries: Any, count: int, path: str
) -> tuple[tuple[float, ...] | None, tuple[float, ...]]:
    """Compose scales and translations into one scale (None: none stated) and one shift."""
    scale: tuple[float, ...] | None = None
    shift = (0.0,) * count
    for entry in entries or []:
        kind = entry.get("type")
        if kind == "sequence":  # drafts of 0.6
            inner_scale, inner_shift = _transforms(entry.get("transformations"), count, path)
        elif kind in ("scale", "translation"):
            values = entry.get(kind)
            if not isinstance(values, list) or len(values) != count:
                raise InputError(
                    f"{path}: damaged OME-Zarr metadata: {kind} {values!r:.80}, expected {count}"
                    " numbers, one for each axis"
                )
            numbers = tuple(float(value) for value in values)
            inner_scale = numbers if kind == "scale" else None
            inner_shift = (0.0,) * count if kind == "scale" else numbers
        else:
            continue  # identity; others (affine, paths to arrays) are not what a voxel size is
        if inner_scale is not None:
            shift = tuple(a * b for a, b in zip(shift, inner_scale, strict=True))
            scale = tuple(a * b for a, b in zip(scale or (1.0,) * count, inner_scale, strict=True))
        shift = tuple(a + b for a, b in zip(shift, inner_shift, strict=True))
    return scale, shift


def _channel_names(ome: dict[str, Any]) -> tuple[str, ...]:
    omero = ome.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list):
        return ()
    names = tuple(str(c.get("label") or i) for i, c in enumerate(channels) if isinstance(c, dict))
    return names if len(set(names)) == len(names) else ()


def build_attributes(
    *,
    version: str,
    axes: str,
    name: str,
    paths: Sequence[str],
    factors: Sequence[tuple[int, int, int]],
    voxel_size_um: VoxelSize | None,
    translation_um: VoxelSize | None,
    channel_names: Sequence[str],
    kind: str,
    intensity: tuple[float, float],
) -> dict[str, Any]:
    """Make the group attributes of a pyramid that this package writes, checked by yaozarrs.

    Args:
        version: "0.4" or "0.5".
        axes: "zyx" or "czyx".
        name: of the image.
        paths: of the levels, finest first.
        factors: (z, y, x) voxels of level 0 that one voxel of each level spans.
        voxel_size_um: of level 0. Where None, the axes get no unit and the scales are the factors:
            a reader then knows the pyramid but no size.
        translation_um: centre of the first voxel of level 0.
        channel_names: one for each channel, may be empty.
        kind: "image" or "labels".
        intensity: least and greatest value, for a viewer's first window.

    Returns:
        The attributes of the Zarr group.
    """
    units = {"unit": "micrometer"} if voxel_size_um else {}
    entry = {
        "name": name,
        "axes": [
            {"name": axis, "type": "channel"}
            if axis == "c"
            else {"name": axis, "type": "space", **units}
            for axis in axes
        ],
        "datasets": _datasets(len(axes), paths, factors, voxel_size_um, translation_um),
        "type": "mean" if kind == "image" else "mode",
    }
    ome: dict[str, Any] = {"multiscales": [entry]}
    if channel_names:
        ome["omero"] = _omero(channel_names, intensity)
    if kind == "labels":
        ome["image-label"] = {}
    if version == "0.4":
        entry["version"] = version
        old = v04.LabelImage if kind == "labels" else v04.Image
        return old.model_validate(ome).model_dump(exclude_none=True, exclude={"uri"})
    ome["version"] = version
    new = v05.LabelImage if kind == "labels" else v05.Image
    return {"ome": new.model_validate(ome).model_dump(exclude_none=True)}


def _datasets(
    count: int,
    paths: Sequence[str],
    factors: Sequence[tuple[int, int, int]],
    voxel_size_um: VoxelSize | None,
    translation_um: VoxelSize | None,
) -> list[dict[str, Any]]:
    size = voxel_size_um or (1.0, 1.0, 1.0)
    origin = translation_um or (0.0, 0.0, 0.0)
    lead = count - 3
    datasets = []
    for path, factor in zip(paths, factors, strict=True):
        scale = [s * f for s, f in zip(size, factor, strict=True)]
        # The centre of a block mean lies half a coarse voxel less half a fine one further in.
        shift = [o + 0.5 * (f - 1) * s for o, s, f in zip(origin, size, factor, strict=True)]
        transforms = [
            {"type": "scale", "scale": [1.0] * lead + scale},
            {"type": "translation", "translation": [0.0] * lead + shift},
        ]
        datasets.append({"path": path, "coordinateTransformations": transforms})
    return datasets


_COLOURS = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


def _omero(channel_names: Sequence[str], intensity: tuple[float, float]) -> dict[str, Any]:
    low, high = intensity
    window = {"start": low, "min": low, "end": high, "max": high}
    alone = len(channel_names) == 1
    return {
        "channels": [
            {
                "label": name,
                "color": _COLOURS[0 if alone else 1 + index % (len(_COLOURS) - 1)],
                "window": window,
                "active": True,
            }
            for index, name in enumerate(channel_names)
        ]
    }
