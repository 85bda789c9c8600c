"""Crops of many volumes: which volume, channel and place, each a function of (seed, index).

The arithmetic of one crop is in `crop_plan.py`, the choice of volumes in `strata.py`, opening in
`open_rows.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .captions import caption_ids
from .crop_plan import CropConfig, CropPlan, cut_crop
from .draws import keyed_rng
from .normalize import IntensityStats
from .open_rows import OpenedRow, Progress, Skipped, open_rows
from .row import Row
from .strata import Strata
from .voxel import VoxelSize

__all__ = ["CropConfig", "CropSource", "Sample", "Source", "fixed_crops", "structure_ids"]

Sample = dict[str, Any]
"""One crop: `crop` [1, Z, Y, X] float32 normalised (or uint16 codes), `scale` and `offset` of the
codes, `extent` [3] real voxels from the origin, `voxel_size_um` [3], `spacing_known`, `noise`,
`variance`, `volume_id`, `caption_id`, `structure_id` (-1 where none) and `index`."""

Numbering = Callable[[Sequence[Row]], tuple[list[int], list[str]]]
"""Gives the id of each row, and the names at the ids."""

FOREGROUND_SIGMAS = 3.0  # above the level by so many sigmas of the noise is foreground


class Source(Protocol):
    """What crops are drawn from: volumes (`CropSource`) or a bank of crops (`BankSource`)."""

    rows: tuple[Row, ...]
    captions: tuple[str, ...]
    structures: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    @property
    def voxel_sizes_um(self) -> list[VoxelSize | None]:
        """Voxel size (z, y, x) of the crops of each row; None where unknown."""
        ...

    def choose(self, seed: int, step: int, count: int) -> NDArray[np.int64]:
        """[count] volumes of the global batch of one step."""
        ...

    def sample(self, index: int, seed: int, volume: int | None = None) -> Sample:
        """The sample of a global index, from the given volume."""
        ...

    def fixed(self, volume: int, number: int, seed: int) -> Sample:
        """Crop `number` of a volume for evaluation, whatever else is in the list."""
        ...


class CropSource:
    """Random crops of normalised intensity from the volumes of a list.

    Attributes:
        rows: the readable rows; `volume_id` is an index into them.
        captions: distinct captions; `caption_id` is an index into them.
        structures: distinct structures; `structure_id` is an index into them.
        opened: per row the volume, its plan and its statistics.
        skipped: rows that could not be read, with the reason.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        config: CropConfig | None = None,
        *,
        skip_unreadable: bool = False,
        vocabulary: Sequence[Row] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Open and measure every volume; nothing is trained on before all of them were seen.

        Args:
            rows: of a list.
            config: shape, voxel size and foreground gate.
            skip_unreadable: leave unreadable volumes out instead of refusing.
            vocabulary: rows that number captions and structures, where ids are to be shared
                between sources (training and validation); None takes `rows`.
            progress: called with (done, total) as volumes are opened.

        Raises:
            InputError: volumes that cannot be read, all of them in one message; none left.
        """
        self.config = config or CropConfig()
        self.opened: tuple[OpenedRow, ...]
        self.skipped: tuple[Skipped, ...]
        self.opened, self.skipped = open_rows(
            rows, self.config, skip_unreadable=skip_unreadable, progress=progress
        )
        self.rows = tuple(item.row for item in self.opened)
        self.caption_ids, self.captions = number_rows(caption_ids, self.rows, vocabulary)
        self.structure_ids, self.structures = number_rows(structure_ids, self.rows, vocabulary)
        self._strata = Strata(self.caption_ids, [row.group for row in self.rows])

    def __len__(self) -> int:
        """Number of volumes."""
        return len(self.rows)

    @property
    def voxel_sizes_um(self) -> list[VoxelSize | None]:
        """Voxel size (z, y, x) of the crops of each row; None where unknown."""
        return [item.plan.voxel_size_um for item in self.opened]

    def choose(self, seed: int, step: int, count: int) -> NDArray[np.int64]:
        """[count] volumes of the global batch of one step (see `Strata.draw`)."""
        return self._strata.draw(seed, step, count)

    def sample(self, index: int, seed: int, volume: int | None = None) -> Sample:
        """Cut the sample of a global index.

        Args:
            index: global sample index, from 0.
            seed: of the run.
            volume: from `choose`; None draws one, as a batch of its own.

        Returns:
            A `Sample`, a pure function of the arguments.
        """
        if volume is None:
            volume = int(self.choose(seed, index, 1)[0])
        return self._cut(int(volume), keyed_rng("crop", seed, index), index)

    def fixed(self, volume: int, number: int, seed: int) -> Sample:
        """Cut crop `number` of a volume for evaluation, whatever else is in the list."""
        return self._cut(volume, fixed_rng(self.rows[volume], number, seed), number)

    def _cut(self, volume: int, rng: np.random.Generator, index: int) -> Sample:
        """Look at up to `tries` places and take the first with enough foreground, else the best."""
        item = self.opened[volume]
        channel = int(rng.integers(len(item.stats)))
        stats, plan = item.stats[channel], item.plan
        threshold = FOREGROUND_SIGMAS * stats.noise * plan.noise_gain
        best, best_share = None, -1.0
        for _ in range(self.config.tries):
            origin = _place(plan, rng)
            crop = cut_crop(item.volume, channel, stats, plan, origin, self.config.shape)
            share = foreground_share(crop, plan.real, threshold)
            if share > best_share:
                best, best_share = crop, share
            if share >= self.config.min_foreground or plan.box == plan.size:
                break
        assert best is not None  # tries is at least 1
        return self._describe(volume, best, stats, plan, index)

    def _describe(
        self, volume: int, crop: NDArray, stats: IntensityStats, plan: CropPlan, index: int
    ) -> Sample:
        known = plan.voxel_size_um is not None
        return {
            "crop": crop[None],
            "scale": np.float32(1),
            "offset": np.float32(0),
            "extent": np.array(plan.real, dtype=np.int64),
            "voxel_size_um": np.array(plan.voxel_size_um or (1.0, 1.0, 1.0), dtype=np.float32),
            "spacing_known": np.bool_(known),
            "noise": np.float32(stats.noise * plan.noise_gain),
            "variance": np.float32(stats.variance),
            "volume_id": np.int64(volume),
            "caption_id": np.int64(self.caption_ids[volume]),
            "structure_id": np.int64(self.structure_ids[volume]),
            "index": np.int64(index),
        }


def fixed_crops(
    source: Source, per_volume: int, seed: int, volumes: Sequence[int] | None = None
) -> list[Sample]:
    """Crops for evaluation: `per_volume` of every volume, in order, with the foreground gate.

    A volume's crops depend on its id, the seed and the crop's number alone. `index` runs over the
    list.

    Args:
        source: volumes or a bank.
        per_volume: crops of each.
        seed: of the evaluation.
        volumes: which ones, by index; None takes all.
    """
    samples = [
        source.fixed(volume, number, seed)
        for volume in (range(len(source.rows)) if volumes is None else volumes)
        for number in range(per_volume)
    ]
    for index, sample in enumerate(samples):
        sample["index"] = np.int64(index)
    return samples


def fixed_rng(row: Row, number: int, seed: int) -> np.random.Generator:
    """Random numbers for one evaluation crop of a row, keyed by the row's id."""
    return keyed_rng("fixed", seed, (zlib.crc32(row.id.encode()) << 32) + number)


def foreground_share(crop: NDArray, real: Sequence[int], threshold: float) -> float:
    """Share of the real voxels above a threshold.

    Args:
        crop: [Z, Y, X].
        real: (z, y, x) real voxels from the origin.
        threshold: in the units of the crop.
    """
    z, y, x = real
    return float(np.count_nonzero(crop[:z, :y, :x] > threshold)) / (z * y * x)


def structure_ids(rows: Sequence[Row]) -> tuple[list[int], list[str]]:
    """Number the distinct structures of a list as `caption_ids` numbers captions; -1 where none."""
    keys = [" ".join((row.structure or "").casefold().split()) for row in rows]
    names = sorted(set(keys) - {""})
    number = {name: index for index, name in enumerate(names)}
    return [number.get(key, -1) for key in keys], names


def number_rows(
    numbering: Numbering, rows: Sequence[Row], vocabulary: Sequence[Row] | None
) -> tuple[list[int], tuple[str, ...]]:
    """Ids of rows within the numbering of a vocabulary, and the names that the ids stand for."""
    known = tuple(vocabulary) if vocabulary is not None else ()
    ids, names = numbering((*known, *rows))
    return ids[len(known) :], tuple(names)


def _place(plan: CropPlan, rng: np.random.Generator) -> tuple[int, int, int]:
    z, y, x = (int(rng.integers(s - b + 1)) for s, b in zip(plan.size, plan.box, strict=True))
    return z, y, x
