"""Nuclei: ellipsoids that hardly overlap, mottled inside."""

from __future__ import annotations

import numpy as np

from .scene import Grid, Structure, fill, smooth_noise

_MOST_TRIES = 30  # for each nucleus; a dense layer is full before it gives up
_OVERLAP = 0.9  # centres may be this share of the two radii apart
_CHROMATIN_UM = 1.5  # patches of dense and loose chromatin


def draw_blobs(grid: Grid, per_mm3: float, radius_um: float, rng: np.random.Generator) -> Structure:
    """Draw nuclei at random places.

    Args:
        grid: where to draw.
        per_mm3: wanted density; fewer where they no longer fit.
        radius_um: mean radius.
        rng: source of all that is random.
    """
    wanted = rng.poisson(per_mm3 * float(np.prod(grid.size_um)) * 1e-9)
    centres = np.empty((0, 3))
    radii = np.empty(0)
    for _ in range(max(3, wanted)):
        for _ in range(_MOST_TRIES):
            centre = rng.uniform(0, 1, 3) * grid.size_um
            radius = radius_um * rng.uniform(0.8, 1.2)
            apart = np.linalg.norm(centres - centre, axis=1)
            if (apart > _OVERLAP * (radii + radius)).all():
                centres, radii = np.vstack([centres, centre]), np.append(radii, radius)
                break
    dye, label = grid.empty(), np.zeros(grid.shape, bool)
    mottle = 1 + 0.25 * smooth_noise(grid, _CHROMATIN_UM, rng)
    for centre, radius in zip(centres, radii, strict=True):
        _paint(grid, centre, radius, rng, dye, label)
    return Structure(np.clip(dye * mottle, 0, None), label)


def _paint(
    grid: Grid,
    centre: np.ndarray,
    radius_um: float,
    rng: np.random.Generator,
    dye: np.ndarray,
    label: np.ndarray,
) -> None:
    """Add one ellipsoid, turned at random, with its own brightness."""
    stretch = rng.uniform(0.75, 1.3, 3)
    half_axes = radius_um * stretch / np.prod(stretch) ** (1 / 3)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    brightness = rng.uniform(0.6, 1.0)
    reach = half_axes.max() + 2 * grid.pitch_um
    low = np.maximum(np.floor((centre - reach) / grid.pitch_um).astype(int), 0)
    high = np.minimum(np.ceil((centre + reach) / grid.pitch_um).astype(int) + 1, grid.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    offsets = np.stack(
        np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), axis=-1
    )
    inside = ((offsets + 0.5) * grid.pitch_um - centre) @ turn / half_axes
    # First-order distance to an ellipsoid: the radial function scaled by the mean half axis.
    distance_um = (np.linalg.norm(inside, axis=-1) - 1) * half_axes.mean()
    np.maximum(dye[box], brightness * fill(distance_um, grid.pitch_um), out=dye[box])
    label[box] |= distance_um < 0
