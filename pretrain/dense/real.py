"""Real volumes, degraded again: on real tissue, too, the model learns to undo what optics do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...configs.errors import InputError
from ...data.bank import BankSource, bank_rows, is_bank
from ...data.crops import CropConfig, CropSource, Source
from ...data.draws import keyed_rng
from ...data.loader import collate, decode
from ...data.manifest import read_dataset
from ...data.optics.settings import Optics, OpticsRanges, draw_optics
from ...data.row import Row
from ...data.synthetic.photograph import dye_of, photograph
from ...data.voxel import VoxelSize

_GUESSED: VoxelSize = (2.0, 2.0, 2.0)
"""um, for the optics of volumes that do not say theirs; the model is not told."""


@dataclass(frozen=True)
class RealBatch:
    """Crops of real volumes, imaged once more. Shapes: B samples, Z Y X voxels.

    Attributes:
        image: [B, 1, Z, Y, X] float32, degraded and normalised.
        clean: [B, 1, Z, Y, X] float32, the crop as it was, in the same normalisation.
        counts: [B, Z, Y, X] bool, False in padding.
        voxel_size_um: [B, 3].
        known: [B] bool, whether the volume says its voxel size.
    """

    image: Tensor
    clean: Tensor
    counts: Tensor
    voxel_size_um: Tensor
    known: Tensor


def training_rows(source: str) -> tuple[Row, ...]:
    """Rows of a list or a bank to train on: all but those of split val and test.

    Raises:
        InputError: there are none, or the list is not as it must be.
    """
    rows = _all_rows(source)
    chosen = tuple(row for row in rows if row.split in (None, "train"))
    if not chosen:
        raise InputError(
            f"{source}: no row to train on, all {len(rows)} are of split val or test; "
            "give some the split 'train'"
        )
    return chosen


def open_real(source: str, crop: tuple[int, int, int]) -> Source:
    """The training volumes of a list, or a bank; rows of split val and test are never opened.

    Raises:
        InputError: nothing to train on, or a volume that cannot be read.
    """
    chosen, rows = training_rows(source), _all_rows(source)
    if is_bank(source):
        return BankSource(source, CropConfig(shape=crop), rows=chosen, vocabulary=rows)
    return CropSource(chosen, CropConfig(shape=crop), vocabulary=rows)


def real_batch(
    source: Source,
    optics: OpticsRanges,
    step: int,
    size: int,
    seed: int,
    device: torch.device | str,
) -> RealBatch:
    """The real batch of a step: a pure function of source, seed and step."""
    volumes = source.choose(seed, step, size)
    samples = [
        source.sample(step * size + place, seed, int(volume))
        for place, volume in enumerate(volumes)
    ]
    batch = decode(collate(samples), device)
    crop, known = batch["crop"], batch["spacing_known"]
    rng = keyed_rng("real", seed, step)
    noise = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    images, cleans = [], []
    for sample in range(size):
        # One by one: the blur of a batch has one voxel size, real volumes each have their own.
        z, y, x = (batch["voxel_size_um"][sample].tolist()) if known[sample] else _GUESSED
        drawn = Optics.stack([_milder(draw_optics(optics, rng))]).to(torch.device(device))
        image, clean = photograph(
            dye_of(crop[sample][None]), (z, y, x), drawn, noise, z_step=1, nodes=(1, 1, 1)
        )
        images.append(image)
        cleans.append(clean)
    sides = [torch.arange(side, device=crop.device) for side in crop.shape[2:]]
    extent = batch["extent"].to(crop.device)
    inside = [side < extent[:, axis : axis + 1] for axis, side in enumerate(sides)]  # [B, side]
    counts = inside[0][:, :, None, None] & inside[1][:, None, :, None] & inside[2][:, None, None]
    return RealBatch(
        torch.cat(images), torch.cat(cleans), counts, batch["voxel_size_um"], known.bool()
    )


def _all_rows(source: str) -> tuple[Row, ...]:
    return bank_rows(source) if is_bank(source) else read_dataset(source).rows


def _milder(drawn: dict[str, float]) -> dict[str, float]:
    """Real tissue has its own depth and haze already: half of each is added."""
    return drawn | {"depth_um": 0.5 * drawn["depth_um"], "haze": 0.5 * drawn["haze"]}
