"""Crop banks: normalised crops of many volumes in one file, for machines that cannot stream.

Crops lie as uint16 codes, each with its own scale and offset (value = code * scale + offset), so
that reading is a copy and decoding one multiply-add on the device. What is known of each crop and
row travels along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError
from .bank_file import SUFFIX, BankLayout, read_layout
from .captions import caption_ids
from .crop_plan import CropConfig, Triple
from .crops import (
    FOREGROUND_SIGMAS,
    Sample,
    fixed_rng,
    foreground_share,
    number_rows,
    structure_ids,
)
from .draws import keyed_rng
from .row import Row
from .strata import Strata
from .voxel import VoxelSize

PER_CROP = ("scale", "offset", "noise", "variance", "spacing_known", "voxel_size_um", "extent")


def is_bank(path: str | Path) -> bool:
    """Whether a path names a crop bank, by its ending."""
    return str(path).endswith(SUFFIX)


def bank_rows(path: str | Path) -> tuple[Row, ...]:
    """The rows whose crops a bank holds; `image` is only the name that the volume had."""
    return _rows(_read_bank(Path(path)))


class BankSource:
    """Random sub-crops of the crops in a bank: a drop-in for `CropSource`.

    Attributes:
        rows, captions, structures: as in `CropSource`; `volume_id` is an index into `rows`.
        skipped: empty; a bank holds readable volumes only.
    """

    skipped = ()

    def __init__(
        self,
        path: str | Path,
        config: CropConfig | None = None,
        *,
        rows: Sequence[Row] | None = None,
        vocabulary: Sequence[Row] | None = None,
    ) -> None:
        """Open a bank; its crops stay on disk and are read through a memory map.

        Args:
            path: from `write_bank` (bank_pack.py).
            config: `shape` up to that of the bank's crops, `patch`, and the foreground gate; the
                voxel size is the bank's.
            rows: only these of the bank's rows (by id), such as one split; None takes all.
            vocabulary: rows that number captions and structures; None takes `rows`.

        Raises:
            InputError: not a whole bank, crops larger than the bank's, another voxel size than the
                bank's, or crops with a side below one patch.
        """
        self.path, self.config = Path(path), config or CropConfig()
        layout = _read_bank(self.path)
        packed = _rows(layout)
        places = {row.id: place for place, row in enumerate(packed)}
        chosen = [places[row.id] for row in rows] if rows is not None else list(range(len(packed)))
        self.rows = tuple(packed[place] for place in chosen)
        ends = np.cumsum(layout.about["counts"])
        self._first = [int(ends[place]) - layout.about["counts"][place] for place in chosen]
        self._count = [int(layout.about["counts"][place]) for place in chosen]
        self._layout = layout
        self._about = {name: np.array(layout.map(self.path, name)) for name in PER_CROP}
        self._codes: NDArray[np.uint16] | None = None
        self._check()
        self.caption_ids, self.captions = number_rows(caption_ids, self.rows, vocabulary)
        self.structure_ids, self.structures = number_rows(structure_ids, self.rows, vocabulary)
        self._strata = Strata(self.caption_ids, [row.group for row in self.rows])

    def __len__(self) -> int:
        """Number of volumes."""
        return len(self.rows)

    @property
    def num_crops(self) -> int:
        """Number of crops in the bank that belong to these rows."""
        return sum(self._count)

    @property
    def voxel_sizes_um(self) -> list[VoxelSize | None]:
        """Voxel size (z, y, x) of the crops of each row; None where unknown."""
        known, size = self._about["spacing_known"], self._about["voxel_size_um"]
        return [tuple(size[k].tolist()) if known[k] else None for k in self._first]

    def choose(self, seed: int, step: int, count: int) -> NDArray[np.int64]:
        """[count] volumes of the global batch of one step (see `Strata.draw`)."""
        return self._strata.draw(seed, step, count)

    def sample(self, index: int, seed: int, volume: int | None = None) -> Sample:
        """As `CropSource.sample`, but `crop` holds uint16 codes until `decode`."""
        if volume is None:
            volume = int(self.choose(seed, index, 1)[0])
        rng = keyed_rng("crop", seed, index)
        place = self._first[volume] + int(rng.integers(self._count[volume]))
        return self._cut(int(volume), place, rng, index)

    def fixed(self, volume: int, number: int, seed: int) -> Sample:
        """As `CropSource.fixed`: different crops first, then the same at other places."""
        place = self._first[volume] + number % self._count[volume]
        return self._cut(volume, place, fixed_rng(self.rows[volume], number, seed), number)

    def __getstate__(self) -> dict[str, Any]:
        """Without the memory map, which would travel to worker processes as a whole copy."""
        return {**self.__dict__, "_codes": None}

    def _cut(self, volume: int, place: int, rng: np.random.Generator, index: int) -> Sample:
        if self._codes is None:
            self._codes = self._layout.map(self.path, "codes")
        known = self._about
        extent = known["extent"][place]
        shape = self.config.shape
        real = _whole_patches(extent, self.config)
        scale, offset = known["scale"][place], known["offset"][place]
        threshold = (FOREGROUND_SIGMAS * known["noise"][place] - offset) / scale
        room = [int(e) - r for e, r in zip(extent, real, strict=True)]
        best, best_share = None, -1.0
        for _ in range(self.config.tries if any(room) else 1):
            z, y, x = (int(rng.integers(r + 1)) for r in room)
            box = self._codes[place, z : z + real[0], y : y + real[1], x : x + real[2]]
            # Every second voxel along each axis says enough about a share.
            few = box[::2, ::2, ::2]
            share = foreground_share(few, few.shape, threshold) if any(room) else 1.0
            if share > best_share:
                best, best_share = box, share
            if share >= self.config.min_foreground:
                break
        assert best is not None  # tries is at least 1
        crop = (
            np.empty((1, *shape), np.uint16) if real == shape else np.zeros((1, *shape), np.uint16)
        )
        crop[0, : real[0], : real[1], : real[2]] = best
        return {
            "crop": crop,
            "scale": scale,
            "offset": offset,
            "extent": np.array(real, dtype=np.int64),
            "voxel_size_um": known["voxel_size_um"][place],
            "spacing_known": known["spacing_known"][place],
            "noise": known["noise"][place],
            "variance": known["variance"][place],
            "volume_id": np.int64(volume),
            "caption_id": np.int64(self.caption_ids[volume]),
            "structure_id": np.int64(self.structure_ids[volume]),
            "index": np.int64(index),
        }

    def _check(self) -> None:
        packed = CropConfig(**self._layout.about["config"])
        if any(want > have for want, have in zip(self.config.shape, packed.shape, strict=True)):
            raise InputError(
                f"{self.path}: crops of {packed.shape} voxels, expected at least crop.shape "
                f"{self.config.shape}; train on smaller crops, or make the bank with larger ones"
            )
        wanted = self.config.voxel_size_um
        if wanted is not None and wanted != packed.voxel_size_um:
            raise InputError(
                f"{self.path}: packed with voxel_size_um {packed.voxel_size_um}, but "
                f"crop.voxel_size_um is {wanted}; leave it out, or make the bank again"
            )
        for row, first in zip(self.rows, self._first, strict=True):
            extent = self._about["extent"][first]
            if min(_whole_patches(extent, self.config)) == 0:
                raise InputError(
                    f"{self.path}: crops of {row.id} have {tuple(extent.tolist())} real voxels, "
                    f"expected at least one patch of {self.config.patch}; use a smaller patch"
                )


def _whole_patches(extent: NDArray[np.int64], config: CropConfig) -> Triple:
    z, y, x = (
        min(side, int(real) // edge * edge)
        for real, side, edge in zip(extent, config.shape, config.patch, strict=True)
    )
    return z, y, x


def _read_bank(path: Path) -> BankLayout:
    layout = read_layout(path)
    parts = [name for name in ("codes", *PER_CROP) if name not in layout.tensors]
    parts += [name for name in ("rows", "counts", "config") if name not in layout.about]
    if parts:
        raise InputError(f"{path}: a bank without {', '.join(parts)}; make it again")
    return layout


def _rows(layout: BankLayout) -> tuple[Row, ...]:
    names = {field.name for field in fields(Row)}
    rows = []
    for about in layout.about["rows"]:
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in about.items()
            if name in names
        }
        rows.append(Row(**{**values, "image": Path(about["image"])}))
    return tuple(rows)
