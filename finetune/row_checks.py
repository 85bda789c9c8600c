"""Whether image, labels and target of a row belong together; every message names the row."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..configs.errors import InputError
from ..data.open import open_volume
from ..data.row import Row
from ..data.volume import Volume
from ..data.voxel import format_voxel_size

SPACING_TOLERANCE = 0.05
_FEW_VALUES, _MANY_VALUES = 16, 64  # of an image that is one of labels, and of labels that are none
_SHOWN = 8
_SPANS = 10.0  # between an image and its target; a blur that hides the brightest takes a fraction


def read_labels(row: Row, marked: Volume) -> NDArray[Any]:
    """Labels [Z, Y, X] as they lie in the file.

    Raises:
        InputError: several channels, or colours.
    """
    if marked.num_channels > 1:
        raise InputError(
            f"{row.where}: labels of {marked.num_channels} channels (or colours), expected one; "
            "keep one of them: luxvox convert --labels --channel"
        )
    return marked.read()[0]


def need_structure(row: Row, target: NDArray[Any]) -> float:
    """Refuse a target [Z, Y, X] that nothing can be learnt from, or measured against.

    Returns:
        What its intensities span, 1st to 99.9th percentile.

    Raises:
        InputError: it is flat, or holds NaN or infinities.
    """
    if broken := int(np.count_nonzero(~np.isfinite(target))):
        raise InputError(
            f"{row.where}: {broken} voxels of the target are NaN or infinite, expected numbers; "
            "cut image and target to where both are known, or fill them"
        )
    low, high = np.percentile(target, (1, 99.9))
    if not high > low:
        raise InputError(
            f"{row.where}: the target is flat (its 1st and 99.9th percentile are both {low:g}), "
            "expected structure; check the column 'target', or take the row out"
        )
    return float(high - low)


def compare_intensities(row: Row, image: NDArray[Any], target_span: float) -> None:
    """Warn on stderr where image and target can hardly be in the same unit of intensity.

    Args:
        row: of both.
        image: [Z, Y, X].
        target_span: see `need_structure`.
    """
    span = float(np.ptp(np.percentile(image, (1, 99.9))))
    if max(span, target_span) > _SPANS * max(min(span, target_span), 1e-30):
        print(
            f"warning: {row.where}: intensities of the image span {span:.3g} and those of its "
            f"target {target_span:.3g} (1st to 99.9th percentile); both should come from the same "
            "camera, gain and exposure, or nothing can be learnt from the pair",
            file=sys.stderr,
        )


def same_shape(row: Row, image: Volume, partner: Volume, what: str) -> None:
    """Refuse a partner ("labels" or "target", in `what`) of another shape than the image."""
    if image.shape != partner.shape:
        raise InputError(
            f"{row.where}: {what} of {partner.shape} voxels (z, y, x) for an image of "
            f"{image.shape}, expected the same; check the column 'axes', or resample one of them"
        )


def same_spacing(row: Row, what: str) -> None:
    """Refuse partners that state another voxel size than the image; the list's word settles it.

    Args:
        row: of the list.
        what: "labels" or "target".

    Raises:
        InputError: they differ by more than `SPACING_TOLERANCE`.
    """
    partner = row.labels if what == "labels" else row.target
    if row.voxel_size_um is not None or partner is None:
        return
    axes = "".join(axis for axis in row.axes if axis in "zyx") if row.axes else None
    mine = open_volume(row.image, axes=row.axes).voxel_size_um
    other = open_volume(partner, axes=axes if what == "labels" else row.axes).voxel_size_um
    if mine is None or other is None:
        return
    if any(abs(a - b) > SPACING_TOLERANCE * max(a, b) for a, b in zip(mine, other, strict=True)):
        raise InputError(
            f"{row.where}: the image says voxels of {format_voxel_size(mine)} (z, y, x), its "
            f"{what} {format_voxel_size(other)}, expected the same; correct the files, or settle "
            "it in the column 'voxel_size_um'"
        )


def not_swapped(row: Row, raw: NDArray[Any], values: NDArray[Any]) -> None:
    """Refuse an image [Z, Y, X] that looks like labels beside labels that look like an image."""
    few = np.unique(raw)
    if len(few) <= _FEW_VALUES and np.array_equal(few, np.round(few)):
        many = len(np.unique(values))
        if many >= _MANY_VALUES:
            raise InputError(
                f"{row.where}: the image holds {len(few)} different values and the labels {many}, "
                "as if the two were swapped; exchange the columns 'image' and 'labels'"
            )


def whole_numbers(row: Row, values: NDArray[Any]) -> NDArray[np.int64]:
    """Labels as whole numbers.

    Args:
        row: says which values are ignored.
        values: [Z, Y, X] of the label file.

    Raises:
        InputError: broken numbers, or some below 0 that are not ignored.
    """
    if values.dtype.kind == "f":
        broken = ~np.isfinite(values) | (values != np.round(values))
        if broken.any():
            raise InputError(
                f"{row.where}: labels hold broken numbers (such as {values[broken][0]:g}), "
                "expected whole ones; was it interpolated, or is it an image? Give label values "
                "as integers"
            )
    whole = values.astype(np.int64)
    # Neither background nor a structure: most programs mean by -1 what was not looked at.
    below = np.setdiff1d(whole[whole < 0], row.ignore_label or ())
    if below.size:
        raise InputError(
            f"{row.where}: labels hold {listed(below)}, expected 0 and above; name what is to "
            "be ignored in the column 'ignore_label', or write it as 0"
        )
    return whole


def listed(values: NDArray[Any]) -> str:
    """Numbers in a row, the first few of many."""
    shown = " ".join(f"{value:g}" for value in values[:_SHOWN])
    return shown + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")
