"""Training crops cut from examples, anew at every step, with the geometry of all partners alike.

What step s holds is a function of (seed, s). Half of the crops are centred near labelled
foreground: a c-Fos nucleus fills a ten-thousandth of a volume, and chance would rarely show one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ..data.augment import NEAR_CUBIC, Amount, AugmentConfig, Factor, Share, augment
from ..data.draws import keyed_rng
from ..data.voxel import VoxelSize
from ..models.losses.skeleton_recall import tubed_skeleton
from .examples import Example
from .object_depth import object_depth

Triple = tuple[int, int, int]

_KEPT = 200_000  # foreground voxels remembered of each class and example


class CropAugment(BaseModel):
    """Bounds of the augmentation; a factor of 1, an amount or a share of 0 turns a part off."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    flips: bool = True
    turns: bool = True
    """Quarter turns about z; about any axis where voxels are near cubic, but not of pairs."""
    blur: Amount = 1.0
    blur_share: Share = 0.15
    gain: Factor = 1.3
    offset: Amount = 0.3
    contrast: Factor = 1.8
    contrast_share: Share = 0.3
    falloff: Share = 0.5
    falloff_share: Share = 0.15
    noise: Amount = 0.3
    noise_share: Share = 0.25

    def intensities(self, paired: bool, noise: bool = True) -> AugmentConfig:
        """What acts on intensities only.

        Args:
            paired: leave out what changes the relation of an image to its target: blur, and
                contrast, which is no change of brightness alone.
            noise: whether it is added; targets stay without.
        """
        bounds = self.model_dump(exclude={"flips", "turns"})
        if paired:
            bounds |= {"blur": 0.0, "blur_share": 0.0, "contrast": 1.0, "contrast_share": 0.0}
        if not noise:
            bounds |= {"noise": 0.0, "noise_share": 0.0}
        return AugmentConfig(
            flips=False, turns=False, zoom=1.0, zoom_share=0.0, spacing=1.0, spacing_axis=1.0,
            hide_spacing=0.0, **bounds,
        )  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Crops of one step. Shapes: B samples, Z Y X voxels, T width of the text vector.

    Attributes:
        image: [B, 1, Z, Y, X] float32, normalised.
        voxel_size_um: [B, 3] (z, y, x); 1 where unknown. spacing_known: [B] bool.
        counts: [B, Z, Y, X] bool, False = ignored, or padding.
        example: [B] int64, number of the example; -1 = simulated.
        labels: [B, Z, Y, X] int64. skeleton: the same, thickened centrelines of the labels.
        depth: [B, 1, Z, Y, X] float32, see `object_depth`.
        target: [B, 1, Z, Y, X] float32. span: [B] float32, from the 1st to the 99.9th percentile
            of the whole target, not normalised: what an error is measured against.
        condition: [B, T], what the foreground is called; None or rows of zeros = not said.
    """

    image: Tensor
    voxel_size_um: Tensor
    spacing_known: Tensor
    counts: Tensor
    example: Tensor
    labels: Tensor | None = None
    skeleton: Tensor | None = None
    depth: Tensor | None = None
    target: Tensor | None = None
    span: Tensor | None = None
    condition: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{k: None if v is None else v.to(device) for k, v in found.items()})


class SubCrops:
    """Cuts batches from examples.

    Args:
        examples: what is learnt from.
        crop: (z, y, x) wanted; along an axis where no example is so long, the longest one.
        patch: of the encoder: no crop is smaller. Examples shorter than a crop are filled up by
            their mirror image, which does not count.
        augment: bounds.
        seed: of the run.
        tubes: whether centrelines of the labels are wanted too.
        objects: whether the depth inside objects is.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        crop: Triple,
        patch: Triple,
        augment: CropAugment,
        seed: int,
        tubes: bool = False,
        objects: bool = False,
    ) -> None:
        longest = [max(example.image.shape[axis] for example in examples) for axis in range(3)]
        z, y, x = (
            max(min(side, most), edge)
            for side, most, edge in zip(crop, longest, patch, strict=True)
        )
        self.crop: Triple = (z, y, x)
        self.augment, self.seed = augment, seed
        self._sources = [_Source.of(example, self.crop, tubes, objects) for example in examples]

    def batch(self, step: int, size: int) -> Batch:
        """The batch of a step, on the CPU: `size` crops, examples drawn alike."""
        return self._batch([self._cut(step * size + n) for n in range(size)], step * size)

    def of_each(self, step: int) -> Batch:
        """One crop of every example, in their order; another place at every step."""
        size = len(self._sources)
        return self._batch([self._cut(step * size + n, n) for n in range(size)], step * size)

    def _batch(self, cuts: Sequence[_Cut], first: int) -> Batch:
        stacked = {
            name: torch.from_numpy(np.stack([cut.arrays[name] for cut in cuts]))
            for name in cuts[0].arrays
        }
        sizes = [cut.voxel_size_um for cut in cuts]
        batch = Batch(
            image=stacked["image"][:, None],
            voxel_size_um=torch.tensor([known or (1.0, 1.0, 1.0) for known in sizes]),
            spacing_known=torch.tensor([known is not None for known in sizes]),
            counts=stacked["counts"],
            example=torch.tensor([cut.example for cut in cuts]),
            labels=stacked.get("labels"),
            skeleton=stacked.get("skeleton"),
            depth=None if "depth" not in stacked else stacked["depth"][:, None],
            target=None if "target" not in stacked else stacked["target"][:, None],
            span=None if "target" not in stacked else torch.tensor([cut.span for cut in cuts]),
        )
        return self._change_intensities(batch, first)

    def _cut(self, index: int, of: int | None = None) -> _Cut:
        """Sample `index`, of a drawn example or of a given one."""
        rng = keyed_rng("sub-crop", self.seed, index)
        drawn = int(rng.integers(len(self._sources)))
        number = drawn if of is None else of
        source = self._sources[number]
        order = source.order(self.crop, rng) if self.augment.turns else (0, 1, 2)
        sides = [0, 0, 0]
        for new, old in enumerate(order):
            sides[old] = self.crop[new]
        place = source.place(sides, rng)
        flips = tuple(a for a in range(3) if self.augment.flips and rng.random() < 0.5)
        cut = {
            name: np.ascontiguousarray(np.flip(array[place].transpose(order), flips))
            for name, array in source.arrays.items()
        }
        z, y, x = order
        size = source.voxel_size_um
        turned = None if size is None else (size[z], size[y], size[x])
        return _Cut(cut, turned, number, source.span)

    def _change_intensities(self, batch: Batch, first: int) -> Batch:
        """The draws are functions of the sample's index: image and target change alike.

        But for noise, of which the pairs at hand may show one level only.
        """
        count = len(batch.image)
        known = {
            "extent": torch.tensor(self.crop).expand(count, 3),
            "voxel_size_um": batch.voxel_size_um,
            "spacing_known": batch.spacing_known,
            "noise": torch.zeros(count),
            "variance": torch.ones(count),
            "index": torch.arange(first, first + count),
        }
        paired = batch.target is not None
        bounds = self.augment.intensities(paired)
        image = augment({"crop": batch.image, **known}, bounds, self.seed)["crop"]
        if batch.target is None:
            return replace(batch, image=image)
        bounds = self.augment.intensities(paired, noise=False)
        target = augment({"crop": batch.target, **known}, bounds, self.seed)["crop"]
        return replace(batch, image=image, target=target)


class _Cut(NamedTuple):
    """One crop: arrays by name, its voxel size (z, y, x) or None, the number of its example, and
    the span of that one's target."""

    arrays: dict[str, NDArray[Any]]
    voxel_size_um: VoxelSize | None
    example: int
    span: float


@dataclass(frozen=True)
class _Source:
    """An example, filled up to the crop, and where its foreground lies."""

    arrays: dict[str, NDArray[Any]]
    voxel_size_um: VoxelSize | None
    foreground: tuple[NDArray[np.int64], ...]  # flat indices of voxels, one array a class
    counted: NDArray[np.int64] | None  # flat indices; None = all of the example counts
    span: float = 1.0

    @classmethod
    def of(cls, example: Example, crop: Triple, tubes: bool, objects: bool) -> _Source:
        missing = [(0, max(0, c - n)) for c, n in zip(crop, example.image.shape, strict=True)]
        whole = np.ones(example.image.shape, bool) if example.counts is None else example.counts
        arrays: dict[str, NDArray[Any]] = {
            "image": np.pad(example.image, missing, mode="symmetric"),
            "counts": np.pad(whole, missing),
        }
        if example.labels is not None:
            arrays["labels"] = np.pad(example.labels, missing)
            if tubes:
                arrays["skeleton"] = tubed_skeleton(arrays["labels"])
        if objects:
            numbers = example.labels if example.instances is None else example.instances
            assert numbers is not None  # rows of one object hold a 1 only
            depth = object_depth(numbers, example.voxel_size_um)
            arrays["depth"] = np.pad(depth, missing)
        span = 1.0
        if example.target is not None:
            arrays["target"] = np.pad(example.target, missing, mode="symmetric")
            low, high = np.percentile(np.sinh(example.target[whole]), [1, 99.9])
            span = float(high - low) or 1.0
        labels, counts = arrays.get("labels"), arrays["counts"]
        classes = [] if labels is None else [int(c) for c in np.unique(labels[counts]) if c > 0]
        return cls(
            arrays,
            example.voxel_size_um,
            tuple(_thinned(np.flatnonzero((labels == c) & counts)) for c in classes),
            None if whole.all() else _thinned(np.flatnonzero(counts)),
            span,
        )

    def order(self, crop: Triple, rng: np.random.Generator) -> tuple[int, int, int]:
        """Which old axis comes to lie along new z, y, x; with flips, all quarter turns.

        The blur that a restoration is to undo is another one along z: its pairs keep that axis.
        """
        chance = rng.random(2)
        order = [0, 1, 2]
        size = self.voxel_size_um
        cubic = size is not None and max(size) / min(size) < NEAR_CUBIC
        if cubic and "target" not in self.arrays:
            axis = int(chance[0] * 3)
            order[0], order[axis] = order[axis], order[0]
        if chance[1] < 0.5:
            order[1], order[2] = order[2], order[1]
        shape = self.arrays["image"].shape
        fits = all(shape[old] >= crop[new] for new, old in enumerate(order))
        return (order[0], order[1], order[2]) if fits else (0, 1, 2)

    def place(self, sides: Sequence[int], rng: np.random.Generator) -> tuple[slice, ...]:
        """A box of these sides: near foreground half the time, else anywhere that counts."""
        shape = self.arrays["image"].shape
        chance, jitter = rng.random(2), rng.uniform(-0.25, 0.25, 3)
        pool = self.counted
        if self.foreground and chance[0] < 0.5:
            pool = self.foreground[int(chance[1] * len(self.foreground))]
        if pool is None or not len(pool):
            starts = [int(rng.integers(n - s + 1)) for n, s in zip(shape, sides, strict=True)]
        else:
            centre = np.unravel_index(int(pool[rng.integers(len(pool))]), shape)
            starts = [
                min(max(int(c) - s // 2 + round(j * s), 0), n - s)
                for c, s, n, j in zip(centre, sides, shape, jitter, strict=True)
            ]
        return tuple(slice(start, start + s) for start, s in zip(starts, sides, strict=True))


def _thinned(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    return indices[:: -(-len(indices) // _KEPT) or 1]
