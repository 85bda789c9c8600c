"""Structures painted on a given label volume, such as a traced mask of real vessels."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import affine_transform, distance_transform_edt, gaussian_filter, label

from .grid import Grid
from .painter import Drawing
from .randomness import Range, Ranges, log_uniform, smooth_noise, uniform

_EVERY_NEIGHBOUR = np.ones((3, 3, 3))


class PaintedRanges(Ranges):
    """How a label volume is painted."""

    scale: Range = (0.85, 1.2)
    """Factor on all lengths of the label volume; our judgement."""
    smoothing: Range = (0.3, 0.6)
    """Voxels of the label volume, over which its staircase surface is smoothed; our judgement."""
    least_share: float = 0.005
    """Places with less foreground than this are passed over where there are better ones."""
    tries: int = 20
    """Places that are looked at."""
    unevenness: Range = (0.05, 0.45)
    """Standard deviation of the logarithm of the dye; our judgement."""
    patch_um: Range = (10.0, 60.0)
    """um, extent of evenly stained stretches; our judgement."""
    wide_um: float = 4.0
    """um, median radius from which a caption calls the structure wide; our judgement."""


def draw_painted(
    grid: Grid,
    rng: np.random.Generator,
    labels: np.ndarray,
    voxel_size_um: tuple[float, float, float],
    ranges: PaintedRanges,
) -> Drawing:
    """Paint a random place of a label volume; every connected piece has one number.

    Args:
        grid: where to draw.
        rng: source of all that is random.
        labels: [Z, Y, X] of integers; all above 0 is painted.
        voxel_size_um: (z, y, x) of the labels.
        ranges: of the place and the dye.
    """
    pitch_um = np.asarray(voxel_size_um) * log_uniform(rng, ranges.scale)
    crop, offset = _place(grid, rng, labels > 0, pitch_um, ranges)
    sigma_um = uniform(rng, ranges.smoothing) * pitch_um.mean()
    depth = _depth(crop, pitch_um, sigma_um)
    ratio = np.asarray(grid.pitch_um) / pitch_um
    # Centres of the fine voxels, in voxels of the crop.
    first = offset + 0.5 * ratio - 0.5
    fine = affine_transform(
        depth,
        ratio,
        first,  # pyright: ignore[reportArgumentType]  (the stubs know only one number)
        grid.shape,
        order=1,
        mode="nearest",
    )
    inside = fine > 0
    instances = np.zeros(grid.shape, np.int32)
    label(inside, _EVERY_NEIGHBOUR, output=instances)
    spread = uniform(rng, ranges.unevenness)
    dye = np.exp(spread * smooth_noise(grid, log_uniform(rng, ranges.patch_um), rng))
    density = np.clip(0.5 + fine / grid.mean_pitch_um, 0.0, 1.0) * np.minimum(dye, 2.0)
    centreline = _skeleton(instances)
    # Smoothing lowers the ridge of the distance inside a tube by sqrt(pi / 2) sigma.
    lost_um = (np.pi / 2) ** 0.5 * sigma_um
    radius_um = float(np.median(fine[centreline])) + lost_um if centreline.any() else 0.0
    words = _words(float(inside.mean()), radius_um, int(instances.max()), ranges)
    return Drawing(density.astype(np.float32), instances, centreline, words)


def _place(
    grid: Grid,
    rng: np.random.Generator,
    foreground: np.ndarray,
    pitch_um: np.ndarray,
    ranges: PaintedRanges,
) -> tuple[np.ndarray, np.ndarray]:
    """A part of the labels as large as the grid, with enough foreground where there is such.

    Returns:
        The part [Z, Y, X] with a margin, and where in it the grid begins [3], in its voxels.
    """
    need = np.ceil(grid.size_um / pitch_um).astype(int) + 1
    margin = 3
    # A label volume smaller than the grid is mirrored at its faces.
    lacking = np.maximum(need - foreground.shape, 0)
    if lacking.any():
        foreground = np.pad(foreground, [(0, n) for n in lacking], mode="symmetric")
    free = np.asarray(foreground.shape) - need
    origins = np.floor(rng.uniform(0, 1, (ranges.tries, 3)) * (free + 1)).astype(int)
    best, most = origins[0], -1.0
    for origin in origins:
        share = foreground[tuple(slice(a, a + n) for a, n in zip(origin, need, strict=True))].mean()
        if share > most:
            best, most = origin, float(share)
        if most >= ranges.least_share:
            break
    low = np.maximum(best - margin, 0)
    high = np.minimum(best + need + margin, foreground.shape)
    part = foreground[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return part, (best - low).astype(float)


def _depth(foreground: np.ndarray, pitch_um: np.ndarray, sigma_um: float) -> np.ndarray:
    """[Z, Y, X] float32, um below the smoothed surface of the foreground; negative outside."""
    if not foreground.any():
        return np.full(foreground.shape, -float(pitch_um.mean()), np.float32)
    if foreground.all():
        return np.full(foreground.shape, float(pitch_um.mean()), np.float32)
    # Distances run between centres of voxels; the surface lies half a voxel before the next one.
    half = 0.5 * float(pitch_um.mean())
    within = np.asarray(distance_transform_edt(foreground, sampling=pitch_um)) - half
    beyond = np.asarray(distance_transform_edt(~foreground, sampling=pitch_um)) - half
    depth = np.where(foreground, within, -beyond).astype(np.float32)
    return gaussian_filter(depth, sigma_um / pitch_um)


def _skeleton(instances: np.ndarray) -> np.ndarray:
    """[Z, Y, X] bool, the middle of every piece."""
    from skimage.morphology import skeletonize

    skeleton = np.asarray(skeletonize(instances > 0), bool)
    for axis in range(3):
        lost = np.setdiff1d(np.unique(instances), np.unique(instances[skeleton]))
        lost = lost[lost > 0]
        if not len(lost):
            break
        # Thinning from all sides at once may erase what is exactly symmetric: take a layer off.
        rest = np.moveaxis(np.isin(instances, lost), axis, 0)
        uneven = rest.copy()
        uneven[1:] &= rest[:-1]
        skeleton |= np.asarray(skeletonize(np.moveaxis(uneven, 0, axis)), bool)
    return skeleton


def _words(share: float, radius_um: float, pieces: int, ranges: PaintedRanges) -> dict[str, str]:
    amount = "sparse" if share < 0.02 else "dense" if share > 0.08 else "of medium density"
    calibre = "wide" if radius_um >= ranges.wide_um else "fine"
    pattern = "in separate pieces" if pieces > 1 else "in one connected piece"
    return {"amount": amount, "calibre": calibre, "pattern": pattern}
