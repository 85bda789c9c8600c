"""The volumes that an alignment learns from and is judged on, and the words for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...configs.errors import InputError
from ...data.captions import variant_table
from ...data.crops import CropConfig, CropSource
from ...data.manifest import read_dataset
from ...data.row import Row
from ...models.text import TextTower
from ..caption_book import CaptionBook
from .names import structure_wordings

FEWEST_CAPTIONS = 4


@dataclass(frozen=True)
class AlignCorpus:
    """Lists with one numbering of captions and structures.

    Attributes:
        train: a source for each list.
        val: of the held-back rows of all lists; None where there are none.
        captions: wordings by the numbers of captions.
        names: names by the numbers of structures.
    """

    train: tuple[CropSource, ...]
    val: CropSource | None
    captions: CaptionBook
    names: CaptionBook

    @property
    def train_rows(self) -> list[Row]:
        """What is learnt from, of all lists."""
        return [row for source in self.train for row in source.rows]


def open_align_corpus(
    lists: Sequence[str],
    crop: CropConfig,
    tower: TextTower,
    variants: int,
    noise: float,
    seed: int,
) -> AlignCorpus:
    """Open and measure all volumes, and turn all that is said of them into vectors.

    Args:
        lists: datasets; rows without a split count as "train", those of "test" are left out.
        crop: size of the crops.
        tower: sentence encoder, frozen.
        variants: wordings of a caption.
        noise: on their vectors, relative to their norm.
        seed: chooses the wordings.

    Raises:
        InputError: a list without rows to train on, too few captions in all, or a volume that
            cannot be read.
    """
    train, val = [], []
    for source in lists:
        rows = read_dataset(source).rows
        own = [row for row in rows if row.split in (None, "train")]
        if not own:
            raise InputError(f"{source}: no row to train on among {len(rows)}; split says so")
        train.append(own)
        val += [row for row in rows if row.split == "val"]
    every = [row for rows in (*train, val) for row in rows]
    distinct = len({row.caption for rows in train for row in rows if row.caption})
    if distinct < FEWEST_CAPTIONS:
        raise InputError(
            f"{', '.join(lists)}: {distinct} distinct captions to train on, expected at least "
            f"{FEWEST_CAPTIONS}; fill the caption column, or add a list of luxvox simulate"
        )
    sources = tuple(CropSource(rows, crop, vocabulary=every) for rows in train)
    return AlignCorpus(
        train=sources,
        val=CropSource(val, crop, vocabulary=every) if val else None,
        captions=CaptionBook.read(variant_table(every, variants, seed), tower, noise),
        names=CaptionBook.read(structure_wordings(sources[0].structures), tower, noise),
    )
