"""Labels as people would draw them, from labels that are exact.

An annotator draws what is seen in the blurred image: a fibre thinner than a voxel as wide as it
looks, a cell with the halo up to some brightness of the annotator's own. Others leave out what is
dim beside the rest. Nothing tells the model who annotated, so its probabilities come to say how
many would agree, and a few labels of a user can move the threshold to theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.voxel import VoxelSize

_LEFT_OUT = (0.05, 0.6)  # of the way from the background to what is bright in the structure
# Of the way from the background beside it to the brightest nearby. Where the labels of real lists
# end: vessels, axons and microglia at 0.05 to 0.4, plaques at 0.4 to 0.65, nuclei at 0.5 to 0.6.
_SEEN_THIN, _SEEN_ROUND = (0.05, 0.45), (0.3, 0.75)
_REACH = 4  # voxels across beyond the exact labels
_STANDS_OUT = 1.5  # standard deviations of the surroundings, below which nothing is seen


def annotate(
    exact: Tensor,
    clean: Tensor,
    image: Tensor,
    voxel_size_um: VoxelSize,
    dim_left_out: float,
    as_seen: Sequence[float],
    thin: Sequence[bool],
    rng: np.random.Generator,
) -> Tensor:
    """Some samples without their dim parts, some as wide as they look, some as they are.

    Args:
        exact: [B, Z, Y, X] uint8.
        clean: [B, 1, Z, Y, X] normalised, the image without blur and noise.
        image: [B, 1, Z, Y, X] normalised, what the annotator sees.
        voxel_size_um: of the batch.
        dim_left_out: share of samples without their dim parts.
        as_seen: share drawn as wide as they look, for each sample.
        thin: whether each shows fibres or processes, which people draw to their faint ends; cells
            and plaques they draw to about half of their brightness.
        rng: of the step.
    """
    drawn = []
    for labels, ideal, real, wide, fine in zip(exact, clean, image, as_seen, thin, strict=True):
        leaves_out, widens = rng.random() < dim_left_out, rng.random() < wide
        faint, edge = rng.uniform(*_LEFT_OUT), rng.uniform(*(_SEEN_THIN if fine else _SEEN_ROUND))
        if labels.any() and leaves_out:
            labels = _without_dim(labels, ideal, faint)
        if labels.any() and widens:
            labels = _as_seen(labels, real, voxel_size_um, edge)
        drawn.append(labels)
    return torch.stack(drawn)


def _without_dim(labels: Tensor, clean: Tensor, cut: float) -> Tensor:
    """[Z, Y, X] labels where [1, Z, Y, X] is brighter than the cut."""
    # Seen as a whole: the holes of a textured nucleus are no reason to leave it out.
    seen = _smooth(clean)[0]
    inside = seen[labels > 0]
    dark, bright = seen.median(), inside.kthvalue(max(1, int(0.9 * len(inside)))).values
    return labels * (seen >= dark + cut * (bright - dark).clamp(min=0))


def _as_seen(labels: Tensor, image: Tensor, voxel_size_um: VoxelSize, cut: float) -> Tensor:
    """[Z, Y, X] labels, cut down and grown to what is bright in [1, Z, Y, X] and hangs together."""
    z, y, _ = voxel_size_um
    reach = (min(_REACH, max(1, round(_REACH * y / z))), _REACH, _REACH)
    seen, where = _smooth(image), labels[None].to(image.dtype)
    outside = 1 - _largest(where, (1, 2, 2))
    around = (reach[0] + 2, reach[1] + 2, reach[2] + 2)
    # The mean of what is beside it; only the inside of something huge has nothing beside it.
    beside, share = (_mean(values, around) for values in (seen * outside, outside))
    light = seen - torch.where(share > 0, beside / share.clamp(min=1e-6), seen)
    spread = (light.square() * outside).sum().div(outside.sum().clamp(min=1)).sqrt()
    brightest = _largest(light.clamp(min=0) * where, reach)
    bright = (light >= torch.maximum(cut * brightest, _STANDS_OUT * spread)).to(where.dtype)
    # What is drawn may be less than what is there; what stands out nowhere stays as it is.
    where = where * bright if bool((where * bright).any()) else where
    for step in range(_REACH):
        near = _largest(where, (int(step < reach[0]), 1, 1))
        where = torch.maximum(where, near * bright)
    return where[0].to(labels.dtype)


def _smooth(image: Tensor) -> Tensor:
    """[1, Z, Y, X] normalised -> brightness, the mean of 3 x 3 x 3 voxels."""
    return F.avg_pool3d(torch.sinh(image.clamp(max=8)), 3, 1, 1, count_include_pad=False)


def _largest(values: Tensor, reach: tuple[int, int, int]) -> Tensor:
    """[1, Z, Y, X] -> largest within so many voxels."""
    # One axis after the other, here and below: the same, and many times faster.
    for window in _axis_windows(reach):
        values = F.max_pool3d(values, window, 1, [w // 2 for w in window])
    return values


def _mean(values: Tensor, reach: tuple[int, int, int]) -> Tensor:
    """[1, Z, Y, X] -> mean within so many voxels, without what lies beyond the image."""
    # A window no longer than a thin crop, as the pooling wants it.
    z, y, x = (min(far, (side - 1) // 2) for far, side in zip(reach, values.shape[1:], strict=True))
    for window in _axis_windows((z, y, x)):
        values = F.avg_pool3d(values, window, 1, [w // 2 for w in window], count_include_pad=False)
    return values


def _axis_windows(reach: tuple[int, int, int]) -> list[list[int]]:
    return [[2 * far + 1 if a == axis else 1 for a in range(3)] for axis, far in enumerate(reach)]
