"""Crops of many volumes as tokens of a frozen encoder, encoded once and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.augment import AugmentConfig, augment
from ...data.crops import CropSource, Sample, fixed_crops
from ...data.draws import keyed_rng
from ...data.loader import collate, decode
from ...models.encoder import Encoded, Encoder

_TOGETHER = 8  # crops that are augmented in one go


@dataclass(frozen=True)
class EncodedCrops:
    """What an encoder gave for n crops; T tokens of each are kept, the prefix ones first.

    Attributes:
        tokens: [n, T, D] float32.
        real: [n, T] bool; False where a crop has fewer.
        volume: [n] int64, row of the source.
        caption: [n] int64, number of its caption; -1 = none.
        structure: [n] int64, number of its structure; -1 = none.
    """

    tokens: Tensor
    real: Tensor
    volume: Tensor
    caption: Tensor
    structure: Tensor

    def __len__(self) -> int:
        """Number of crops."""
        return len(self.volume)

    def at(self, chosen: Tensor) -> Self:
        """Some of the crops, by number [m] int64 or by mask [n] bool."""
        return type(self)(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Several lists of crops as one; those with fewer tokens are filled up."""
        most = max(part.tokens.shape[1] for part in parts)
        filled = [part._filled(most) for part in parts]
        return cls(
            *(
                torch.cat([getattr(part, name) for part in filled])
                for name in cls.__dataclass_fields__
            )
        )

    def _filled(self, most: int) -> Self:
        missing = most - self.tokens.shape[1]
        return replace(
            self,
            tokens=F.pad(self.tokens, (0, 0, 0, missing)),
            real=F.pad(self.real, (0, missing), value=False),
        )

    def to(self, device: torch.device) -> Self:
        """The same crops on a device."""
        return type(self)(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def as_encoder_gives(self) -> Encoded:
        """The same for a pool, which asks for nothing but tokens: places are left out."""
        count = len(self)
        nowhere = self.tokens.new_zeros(count, self.tokens.shape[1], 3)
        return Encoded(
            tokens=self.tokens,
            prefix=self.tokens[:, :0],
            positions_um=nowhere,
            pitch_um=nowhere[:, 0],
            grid=(self.tokens.shape[1], 1, 1),
            key_mask=self.real,
        )


def augmented_crops(
    source: CropSource,
    encoder: Encoder,
    views: int,
    tokens: int,
    bounds: AugmentConfig,
    seed: int,
) -> EncodedCrops:
    """Encode augmented crops, as many of every volume.

    Args:
        source: volumes.
        encoder: in evaluation mode; the crops are encoded on its device.
        views: crops of each volume.
        tokens: of each crop that are kept, at random.
        bounds: of the augmentation.
        seed: of places, augmentation and tokens.
    """
    count = len(source.rows)
    samples = (
        source.sample(view * count + volume, seed, volume)
        for view in range(views)
        for volume in range(count)
    )
    return _encode(_batches(samples, bounds, seed), encoder, tokens, seed)


def plain_crops(source: CropSource, encoder: Encoder, views: int, seed: int) -> EncodedCrops:
    """Encode crops as they are, with all of their tokens: what is measured on.

    Args:
        source: volumes.
        encoder: in evaluation mode.
        views: crops of each volume.
        seed: of their places.
    """
    samples = iter(fixed_crops(source, views, seed))
    return _encode(_batches(samples, None, seed), encoder, None, seed)


def _batches(
    samples: Iterator[Sample], bounds: AugmentConfig | None, seed: int
) -> Iterator[dict[str, Tensor]]:
    held: list[Sample] = []
    for sample in samples:
        held.append(sample)
        if len(held) == _TOGETHER:
            yield _augmented(held, bounds, seed)
            held = []
    if held:
        yield _augmented(held, bounds, seed)


def _augmented(
    samples: Sequence[Sample], bounds: AugmentConfig | None, seed: int
) -> dict[str, Tensor]:
    batch = decode(collate(samples), "cpu")
    return batch if bounds is None else augment(batch, bounds, seed)


@torch.no_grad()
def _encode(
    batches: Iterator[dict[str, Tensor]], encoder: Encoder, tokens: int | None, seed: int
) -> EncodedCrops:
    device = next(encoder.parameters()).device
    kept: list[Tensor] = []
    labels: dict[str, list[Tensor]] = {"volume_id": [], "caption_id": [], "structure_id": []}
    for batch in batches:
        for row, (z, y, x) in enumerate(batch["extent"].tolist()):
            one = slice(row, row + 1)
            crop = batch["crop"][one, :, :z, :y, :x].to(device)  # padding was never there
            size, known = batch["voxel_size_um"][one], batch["spacing_known"][one]
            encoded = encoder(crop, size.to(device), known.to(device))
            patches = encoded.tokens[0].cpu()
            if tokens is not None:
                order = keyed_rng("tokens", seed, int(batch["index"][row])).permutation(
                    len(patches)
                )
                patches = patches[torch.from_numpy(np.sort(order[:tokens]))]
            kept.append(torch.cat([encoded.prefix[0].cpu(), patches]))
        for name, values in labels.items():
            values.append(batch[name].cpu())
    most = max(len(one) for one in kept)
    padded = [F.pad(one, (0, 0, 0, most - len(one))) for one in kept]
    lengths = torch.tensor([len(one) for one in kept])
    volume, caption, structure = (torch.cat(values) for values in labels.values())
    return EncodedCrops(
        torch.stack(padded), torch.arange(most) < lengths[:, None], volume, caption, structure
    )
