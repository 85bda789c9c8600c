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
_SEEN = (0.2, 0.65)  # of the way from the background beside it to the brightest nearby
_REACH = 4  # voxels across beyond the exact labels


def annotate(
    exact: Tensor,
    clean: Tensor,
    image: Tensor,
    voxel_size_um: VoxelSize,
    dim_left_out: float,
    as_seen: Sequence[float],
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
        rng: of the step.
    """
    drawn = []
    for labels, ideal, real, wide in zip(exact, clean, image, as_seen, strict=True):
        leaves_out, widens = rng.random() < dim_left_out, rng.random() < wide
        faint, edge = rng.uniform(*_LEFT_OUT), rng.uniform(*_SEEN)
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
    """[Z, Y, X] labels, and around them what is brighter than the cut in [1, Z, Y, X]."""
    z, y, _ = voxel_size_um
    reach = (min(_REACH, max(1, round(_REACH * y / z))), _REACH, _REACH)
    seen, where = _smooth(image), labels[None].to(image.dtype)
    beside = -_largest(-seen, (reach[0], reach[1] + 2, reach[2] + 2))
    brightest = _largest((seen - beside).clamp(min=0) * where, reach)
    bright = (seen - beside) >= cut * brightest
    near = (_largest(where, reach) > 0) & (brightest > 0)
    return torch.where(bright & near, 1, labels[None])[0].to(labels.dtype)


def _smooth(image: Tensor) -> Tensor:
    """[1, Z, Y, X] normalised -> brightness, the mean of 3 x 3 x 3 voxels."""
    return F.avg_pool3d(torch.sinh(image.clamp(max=8)), 3, 1, 1, count_include_pad=False)


def _largest(values: Tensor, reach: tuple[int, int, int]) -> Tensor:
    """[1, Z, Y, X] -> largest within so many voxels; one axis after the other, which is fast."""
    for axis, far in enumerate(reach):
        window = [1, 1, 1]
        window[axis] = 2 * far + 1
        values = F.max_pool3d(values, window, 1, [w // 2 for w in window])
    return values
