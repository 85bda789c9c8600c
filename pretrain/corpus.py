"""The volumes of a run: what is trained on, what is held back, and the words for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..configs.errors import InputError
from ..data.bank import BankSource, bank_rows, is_bank
from ..data.captions import missing_captions, variant_table
from ..data.crops import CropSource, Source, fixed_crops
from ..data.loader import Batch, collate
from ..data.manifest import read_dataset, split_rows
from ..data.row import DatasetList, Row
from ..data.voxel import VoxelSize
from .recipe import PretrainRecipe

FIXED_SEED = 20260502  # of the crops that every evaluation sees


@dataclass(frozen=True)
class Corpus:
    """Training and held-back volumes with a common numbering of captions and structures.

    source: the list or bank they come from.
    train, val: crops of either side; `val` is None where nothing is held back.
    wordings: per caption id, truthful sentences, the full caption first; empty without text.
    voxel_sizes_um: (z, y, x) of the training crops, None where unknown.
    skipped: volumes left out because they cannot be read.
    """

    source: str
    train: Source
    val: Source | None
    wordings: list[list[str]]
    voxel_sizes_um: list[VoxelSize | None]
    skipped: list[dict[str, str]]

    @property
    def captions(self) -> tuple[str, ...]:
        """Distinct captions of both sides, by caption id."""
        return self.train.captions

    @property
    def val_names(self) -> list[str]:
        """Ids of the held-back volumes, by volume id."""
        return [] if self.val is None else [row.id for row in self.val.rows]

    @property
    def distinct_train_captions(self) -> int:
        """How many different captions the training volumes have."""
        return len({row.caption for row in self.train.rows if row.caption})

    def summary(self) -> dict[str, Any]:
        """What config.json and the model card say of the training data."""
        rows = self.train.rows
        known = [size for size in self.voxel_sizes_um if size is not None]
        return {
            "source": self.source,
            "volumes": len(rows),
            "groups": sorted({row.group for row in rows}),
            "stains": sorted({row.stain for row in rows if row.stain}),
            "structures": sorted({row.structure for row in rows if row.structure}),
            "captions": list(self.captions),
            "voxel_size_range_um": [np.min(known, 0).tolist(), np.max(known, 0).tolist()]
            if known
            else None,
        }


def open_corpus(recipe: PretrainRecipe, shown: bool) -> Corpus:
    """Read the list, hold whole groups back, open and measure every volume.

    Args:
        recipe: of the run.
        shown: show a progress line.

    Raises:
        InputError: a list or volume that is not as it must be; missing captions where text is
            trained, unless the recipe ignores them.
    """
    data = recipe.data
    from_bank = is_bank(data.source)
    dataset = (
        DatasetList(Path(data.source), bank_rows(data.source))
        if from_bank
        else read_dataset(data.source, allow_missing=data.skip_unreadable)
    )
    train_rows, val_rows = split_rows(dataset, val_fraction=data.val_fraction, seed=recipe.seed)
    everything = (*train_rows, *val_rows)
    if recipe.objective.text > 0 and data.missing_captions == "error":
        _refuse_missing(dataset.source, everything)

    def cut(rows: tuple[Row, ...], before: int) -> CropSource | BankSource:
        if from_bank:
            bank = BankSource(data.source, data.crop, rows=rows, vocabulary=everything)
            advance(before + len(rows))
            return bank
        return CropSource(
            rows,
            data.crop,
            skip_unreadable=data.skip_unreadable,
            vocabulary=everything,
            progress=lambda done, _: advance(before + done),
        )

    with _opening(len(everything), shown) as advance:
        train = cut(train_rows, 0)
        val = cut(val_rows, len(train_rows)) if val_rows else None
    return Corpus(
        source=str(data.source),
        train=train,
        val=val,
        wordings=variant_table(everything, recipe.text.variants, recipe.seed),
        voxel_sizes_um=list(train.voxel_sizes_um),
        skipped=[
            {"id": item.row.id, "reason": item.reason}
            for item in (*train.skipped, *(val.skipped if val else ()))
        ],
    )


def fixed_batches(source: Source, per_volume: int, size: int, most_volumes: int) -> list[Batch]:
    """The crops that every evaluation sees, in batches, cut once.

    Args:
        source: volumes or a bank.
        per_volume: crops of each volume.
        size: crops per batch.
        most_volumes: volumes looked at; evenly spread where there are more.
    """
    count = len(source.rows)
    chosen = np.unique(np.linspace(0, count - 1, min(count, most_volumes)).round().astype(int))
    samples = fixed_crops(source, per_volume, FIXED_SEED, volumes=chosen.tolist())
    return [collate(samples[at : at + size]) for at in range(0, len(samples), size)]


def _refuse_missing(source: Path, rows: tuple[Row, ...]) -> None:
    missing = missing_captions(rows)
    if missing:
        names = ", ".join(row.id for row in missing[:5])
        raise InputError(
            f"{source}: {len(missing)} of {len(rows)} volumes have no caption ({names}); fill the "
            "caption column, set data.missing_captions=ignore, or set objective.text=0"
        )


@contextmanager
def _opening(total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """A progress line over opened volumes."""
    with Progress(
        TextColumn("opening volumes"), BarColumn(bar_width=24), MofNCompleteColumn(),
        disable=not shown,
    ) as line:  # fmt: skip
        task = line.add_task("opening", total=total)
        yield lambda done: line.update(task, completed=done)
