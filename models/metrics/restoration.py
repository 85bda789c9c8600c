"""How near a restored image is to its target: PSNR, 3D SSIM, NRMSE.

The contract: both images are scaled by the TARGET's 1st and 99.9th percentile, the data range is 1,
and nothing is clipped, so that a wrong gain or a lost bright structure costs what it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError
from .counted import BoolArray, same_shape

WINDOW = 7
"""Side of SSIM's window in voxels (scikit-image's own default), smaller in thinner crops."""


def restoration_metrics(
    found: NDArray[Any], truth: NDArray[Any], counts: BoolArray | None = None
) -> dict[str, float]:
    """Compare a restored image with its target.

    Args:
        found: [Z, Y, X], intensities in the target's unit.
        truth: the same, the target.
        counts: [Z, Y, X] bool, True = counts; None = all. The others change nothing.

    Returns:
        "psnr" in dB, 10 log10(1 / MSE), inf of equal images; "ssim", see `ssim`; "nrmse", the root
        of the MSE, that is, the error over the target's range between the two percentiles.

    Raises:
        InputError: shapes differ; a number is not finite; the target is flat; crop too thin.
    """
    counts = same_shape(found, truth, counts)
    found, truth = scaled_by_target(found, truth, counts)
    error = float(np.square(found - truth)[counts].mean())
    psnr = float("inf") if error == 0 else -10 * float(np.log10(error))
    return {"psnr": psnr, "ssim": ssim(found, truth, counts), "nrmse": error**0.5}


def scaled_by_target(
    found: NDArray[Any], truth: NDArray[Any], counts: BoolArray | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both images with the target's 1st percentile at 0 and its 99.9th at 1, not clipped.

    Args:
        found: [Z, Y, X]. truth: the same, the target. counts: the same, bool; None = all.

    Returns:
        Two [Z, Y, X] float64; 0 where a voxel does not count.
    """
    counts = same_shape(found, truth, counts)
    found = np.where(counts, found, 0).astype(np.float64)
    truth = np.where(counts, truth, 0).astype(np.float64)
    if not counts.any():
        raise InputError("no voxel counts: expected at least one; look at the ignored values")
    if not (np.isfinite(found).all() and np.isfinite(truth).all()):
        raise InputError("image or target holds nan or inf, expected finite intensities")
    low, high = np.percentile(truth[counts], [1, 99.9])
    if not high > low:
        raise InputError(
            f"target's 1st and 99.9th percentile are both {low:g}: "
            "expected structure; leave flat targets out of the list"
        )
    return (
        np.where(counts, (found - low) / (high - low), 0.0),
        np.where(counts, (truth - low) / (high - low), 0.0),
    )


def ssim(
    found: NDArray[np.float64], truth: NDArray[np.float64], counts: BoolArray | None = None
) -> float:
    """Mean structural similarity in 3D of images of range 1.

    Wang et al., IEEE Transactions on Image Processing 13 (2004), as in scikit-image: a uniform
    window of 7 voxels a side (the largest odd number that fits, where the crop is thinner), the
    mean over windows that lie wholly in the crop and touch no ignored voxel.

    Args:
        found: [Z, Y, X], scaled. truth: the same. counts: the same, bool; None = all.

    Raises:
        InputError: an axis is 2 voxels long (one voxel is fine: the axis is left out), or no window
            fits into what counts.
    """
    from scipy.ndimage import minimum_filter
    from skimage.metrics import structural_similarity

    counts = same_shape(found, truth, counts)
    found, truth, counts = np.squeeze(found), np.squeeze(truth), np.squeeze(counts)
    thinnest = min(found.shape, default=0)
    if thinnest < 3:
        raise InputError(
            f"crop of {found.shape} voxels, expected at least 3 on every axis longer than 1: "
            "SSIM needs a window; take a larger crop"
        )
    window = min(WINDOW, thinnest - (thinnest + 1) % 2)
    similarity = np.asarray(
        structural_similarity(truth, found, win_size=window, data_range=1.0, full=True)[1]
    )
    whole = np.asarray(minimum_filter(counts, size=window, mode="constant", cval=0), dtype=bool)
    if not whole.any():
        raise InputError(
            f"no window of {window} voxels a side holds counted voxels only: "
            "SSIM needs one; ignore less"
        )
    return float(similarity[whole].mean())
