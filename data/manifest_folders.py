"""From folders without a table to rows: bare folders, nnU-Net, names that speak for themselves."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import tifffile

from ..configs.errors import InputError
from .formats.hdf5 import IMARIS_SUFFIXES
from .formats.hdf5 import SUFFIXES as HDF5_SUFFIXES
from .formats.tiff import SUFFIXES as TIFF_SUFFIXES
from .manifest_csv import file_stem, name_rows
from .row import Row

VOLUME_ENDINGS = (".nii.gz", ".nii", ".zarr", *TIFF_SUFFIXES, *HDF5_SUFFIXES, *IMARIS_SUFFIXES)
_CONTAINER_ENDINGS = (*HDF5_SUFFIXES, *IMARIS_SUFFIXES)
# One of these inside a folder makes the folder a Zarr store (v3, v2 group, v2 array).
_ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")

_LABELS, _BLURRED = "_label", "_blurred"
# The naming of the reference system: <class>_patch_<nnn>_vol<nnn>_ch<n>.
_PATCH_NAME = re.compile(r"^(?P<kind>.+?)_patch_(?P<patch>\d+)(?:_vol(?P<volume>\d+))?(?:_|$)")
_NNUNET_NAME = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def is_volume(path: Path) -> bool:
    """Whether a path looks like one volume: a file of a known ending, or a Zarr store."""
    if path.name.startswith("."):
        return False
    if not path.exists():
        return volume_exists(path)
    if path.is_dir():
        return path.name.lower().endswith(".zarr") or any((path / m).exists() for m in _ZARR_MARKS)
    return path.name.lower().endswith(VOLUME_ENDINGS)


def volume_exists(path: Path) -> bool:
    """Whether a path exists, or lies inside an HDF5 file that exists ("scan.h5/raw")."""
    return path.exists() or any(
        parent.name.lower().endswith(_CONTAINER_ENDINGS) and parent.is_file()
        for parent in path.parents
    )


def is_slice_folder(folder: Path) -> bool:
    """Whether the folder is one volume stored as 2D TIFF slices rather than many volumes.

    Raises:
        InputError: the first TIFF cannot be read.
    """
    files = sorted(f for f in folder.iterdir() if f.is_file() and is_volume(f))
    if len(files) < 2 or any(f.suffix.lower() not in TIFF_SUFFIXES for f in files):
        return False
    try:
        with tifffile.TiffFile(files[0]) as tiff:
            axes, shape = tiff.series[0].axes, tiff.series[0].shape
    except (tifffile.TiffFileError, OSError, IndexError) as error:
        raise InputError(f"{files[0]}: not a readable TIFF ({error})") from error
    # An RGB slice has three axes, the last one the samples of a pixel.
    return sum(n > 1 for n, axis in zip(shape, axes, strict=True) if axis != "S") <= 2


def rows_of_files(files: list[Path], base: Path, *, restore: bool = False) -> tuple[Row, ...]:
    """One row for each volume; `X_label` and `X_blurred` are taken as partners of `X`.

    Args:
        files: volumes, in any order; rows come sorted by name.
        base: folder that ids are relative to where file names repeat.
        restore: rows go from `X_blurred` (image) to `X` (target) instead of `X` with its labels.

    Raises:
        InputError: with `restore`, no blurred file has a sharp partner.
    """
    by_name = {f.parent / file_stem(f): f.absolute() for f in sorted(files)}
    rows = []
    for name, path in by_name.items():
        sharp = _partner_of(name)
        if sharp in by_name:
            continue
        blurred = by_name.get(name.parent / (name.name + _BLURRED))
        if restore and blurred is None:
            continue
        match = _PATCH_NAME.match(name.name)
        kind = match["kind"] if match else None
        volume = match["volume"] if match else None
        rows.append(
            Row(
                id=name.name if match else "",
                image=blurred if restore and blurred else path,
                labels=None if restore else by_name.get(name.parent / (name.name + _LABELS)),
                target=path if restore else None,
                class_name=kind,
                # Volume numbers start anew in each class, so the class belongs to the group.
                group=f"{kind}_vol{volume}" if volume else "",
            )
        )
    if restore and not rows:
        raise InputError(f"{base}: no pair of X{_BLURRED} and X found, nothing to restore")
    return name_rows(rows, base)


def _partner_of(name: Path) -> Path | None:
    """The volume that a label or blurred file belongs to, judged by its name."""
    for ending in (_LABELS, _BLURRED):
        if name.name.endswith(ending):
            return name.parent / name.name.removesuffix(ending)
    return None


def is_nnunet(folder: Path) -> bool:
    """Whether a folder follows the raw dataset layout of nnU-Net."""
    return (folder / "imagesTr").is_dir()


def rows_of_nnunet(folder: Path) -> tuple[Row, ...]:
    """Rows of `imagesTr/CASE_0000.ext` with `labelsTr/CASE.ext`, and of imagesTs as split "test".

    Every channel file is a row of its own; all channels of a case are one group.

    Raises:
        InputError: no image of the right name, or dataset.json is no JSON.
    """
    card = _nnunet_card(folder)
    names = {
        k: str(v) for k, v in (card.get("channel_names") or card.get("modality") or {}).items()
    }
    values = {k: v for k, v in (card.get("labels") or {}).items() if isinstance(v, int)}
    ignored = values.pop("ignore", None)
    structures = {k: v for k, v in values.items() if v > 0}
    only = next(iter(structures.items())) if len(structures) == 1 else (None, None)
    rows = []
    for images, labels, split in (
        ("imagesTr", "labelsTr", None),
        ("imagesTs", "labelsTs", "test"),
    ):
        files = sorted((folder / images).glob("*")) if (folder / images).is_dir() else []
        label_of = {file_stem(f): f for f in (folder / labels).glob("*") if is_volume(f)}
        for path in (f for f in files if is_volume(f)):
            match = _NNUNET_NAME.match(file_stem(path))
            if match is None:
                continue
            case, channel = match["case"], int(match["channel"])
            label = label_of.get(case)
            rows.append(
                Row(
                    id=file_stem(path),
                    image=path.absolute(),
                    labels=label.absolute() if label else None,
                    group=case,
                    split=split,
                    stain=names.get(str(channel)),
                    structure=only[0],
                    foreground_label=only[1],
                    ignore_label=None if ignored is None else (ignored,),
                )
            )
    if not rows:
        raise InputError(
            f"{folder}: imagesTr holds no volume named CASE_0000 with a known ending "
            f"({', '.join(VOLUME_ENDINGS)})"
        )
    if any(row.split for row in rows):
        rows = [row if row.split else replace(row, split="train") for row in rows]
    return name_rows(rows, folder)


def _nnunet_card(folder: Path) -> dict:
    path = folder / "dataset.json"
    if not path.exists():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(card, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(card).__name__}")
    return card
