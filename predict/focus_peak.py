"""The best slice of a sweep, between slices: from scores over z to a place, a width, and doubts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

TOP = 0.8
"""The parabola is laid through what lies above this share of the peak's height."""
PROMINENCE = 0.25
"""Height of a second peak above its surroundings, as a share of the highest."""
LEAST_CONTRAST = 4.0
"""Height of the curve over its own jitter; less is no peak."""
_LEAST_SLICES = 3
_MOST_WIDE = 15  # slices of the parabola; a defocus curve is none farther out


@dataclass(frozen=True)
class Peak:
    """Where a sweep is sharpest. Places are z indices, with fractions.

    Attributes:
        best_z: of the vertex; None where `reason` says why there is none.
        place: of the best slice among those given, from 0; None as above.
        fwhm: width at half height, in slices; None where the sweep does not reach both halves.
        peaks: places of all peaks that stand out, rising.
        boundary: the best slice is the first or last with a score: focus may lie outside.
        reason: "", "empty" (no slice has a score), "one_slice" or "flat".
    """

    best_z: float | None
    place: int | None
    fwhm: float | None
    peaks: tuple[float, ...]
    boundary: bool
    reason: str


def find_peak(z: Sequence[float], scores: Sequence[float] | NDArray[np.floating]) -> Peak:
    """Find the best slice.

    Args:
        z: [S] rising places of the slices; gaps are missing slices.
        scores: [S], nan = not valid; larger = sharper.
    """
    everywhere = np.asarray(scores, np.float64)
    known = np.flatnonzero(np.isfinite(everywhere))
    at, curve = np.asarray(z, np.float64)[known], everywhere[known]
    if not known.size:
        return Peak(None, None, None, (), False, "empty")
    if len(everywhere) == 1:
        return Peak(None, None, None, (), False, "one_slice")
    if known.size < _LEAST_SLICES:
        best = int(curve.argmax())
        return Peak(float(at[best]), int(known[best]), None, (float(at[best]),), True, "")
    smooth = _smoothed(curve)
    floor, height = float(smooth.min()), float(np.ptp(smooth))
    if height <= LEAST_CONTRAST * _jitter(curve) or height <= 1e-9 * abs(float(curve.max())):
        return Peak(None, None, None, (), False, "flat")
    best = int(smooth.argmax())
    vertex = _vertex(at, curve, smooth, best)
    walled = np.concatenate([[floor], smooth, [floor]])
    tops, _ = find_peaks(walled, prominence=PROMINENCE * height)
    others = {int(top) - 1 for top in tops} - {best}
    peaks = sorted([vertex, *(_vertex(at, curve, smooth, top) for top in others)])
    nearest = int(np.abs(at - vertex).argmin())
    return Peak(
        best_z=vertex,
        place=int(known[nearest]),
        fwhm=_width(at, curve, best, (floor + float(curve[best])) / 2),
        peaks=tuple(peaks),
        boundary=best in (0, len(curve) - 1),
        reason="",
    )


def _smoothed(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Binomial mean over three slices, twice on long curves; ends keep their own value."""
    smooth = curve
    for _ in range(2 if len(curve) >= 7 else 1 if len(curve) >= 5 else 0):
        inner = (smooth[:-2] + 2 * smooth[1:-1] + smooth[2:]) / 4
        smooth = np.concatenate([smooth[:1], inner, smooth[-1:]])
    return smooth


def _jitter(curve: NDArray[np.float64]) -> float:
    """Standard deviation of white noise with these second differences; 0 of short curves."""
    if len(curve) < 7:
        return 0.0
    return 1.4826 * float(np.median(np.abs(np.diff(curve, 2)))) / 6**0.5


def _vertex(
    at: NDArray[np.float64], curve: NDArray[np.float64], smooth: NDArray[np.float64], best: int
) -> float:
    """Vertex of a parabola through the top of a peak; the slice itself where there is none."""
    limit = smooth.min() + TOP * (smooth[best] - smooth.min())
    first = last = best
    while first > 0 and smooth[first - 1] >= limit and best - first < _MOST_WIDE // 2:
        first -= 1
    while last < len(curve) - 1 and smooth[last + 1] >= limit and last - best < _MOST_WIDE // 2:
        last += 1
    first, last = max(0, min(first, best - 1)), min(len(curve) - 1, max(last, best + 1))
    if last - first < 2:
        return float(at[best])
    places = at[first : last + 1] - at[best]
    bend, slope, _ = np.polyfit(places, curve[first : last + 1], 2)
    if bend >= 0:
        return float(at[best])
    return float(at[best] + np.clip(-slope / (2 * bend), places[0], places[-1]))


def _width(
    at: NDArray[np.float64], curve: NDArray[np.float64], best: int, half: float
) -> float | None:
    """Distance between the two places around the peak where the curve crosses half its height."""
    sides = []
    for step in (-1, 1):
        place = best
        while 0 <= place + step < len(curve) and curve[place + step] >= half:
            place += step
        if not 0 <= place + step < len(curve):
            return None
        inner, outer = curve[place], curve[place + step]
        share = (inner - half) / max(inner - outer, 1e-30)
        sides.append(at[place] + share * (at[place + step] - at[place]))
    return float(sides[1] - sides[0])
