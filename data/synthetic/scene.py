"""From a drawn structure to what a camera records: blur, tissue, depth, shot and read noise.

All sizes are in um and all axes (z, y, x). Structures are drawn on a fine, cubic grid whose voxels
are as wide as a camera pixel; the planes of the volume are then taken out of it, because a
light-sheet stack samples z and does not integrate over the step.

Model: Gaussian PSF, wider along z; soft tissue fluorescence; exponential loss with depth (Beer and
Lambert); Poisson photon counts; Gaussian read noise; a constant camera offset. A simple stand-in
for the full simulator: no aberrations, no stripes, no defocus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from ..voxel import VoxelSize

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Grid:
    """The grid that a structure is drawn on.

    Attributes:
        shape: (Z, Y, X) of the fine grid.
        pitch_um: side of its cubic voxels.
        z_step: how many fine planes one plane of the volume stands for.
    """

    shape: Shape
    pitch_um: float
    z_step: int

    @classmethod
    def of_volume(cls, shape: Shape, voxel_size_um: VoxelSize) -> Grid:
        """The fine grid of a volume of `shape` voxels whose z step is a whole number of pixels."""
        pitch_um = voxel_size_um[2]
        z_step = round(voxel_size_um[0] / pitch_um)
        return cls((shape[0] * z_step, shape[1], shape[2]), pitch_um, z_step)

    @property
    def size_um(self) -> np.ndarray:
        """[3], extent along (z, y, x)."""
        return np.asarray(self.shape) * self.pitch_um

    def empty(self, value: float = 0.0) -> np.ndarray:
        """[Z, Y, X] float32 on the fine grid, filled with `value`."""
        return np.full(self.shape, value, np.float32)

    def pick_planes(self, field: np.ndarray) -> np.ndarray:
        """[Z, Y, X] of the volume from [Z * z_step, Y, X]: the middle plane of every step."""
        return field[self.z_step // 2 :: self.z_step]


@dataclass(frozen=True)
class Structure:
    """What was drawn: dye concentration (1 = fully labelled) and label, on the fine grid."""

    dye: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class Optics:
    """How a specimen is imaged.

    Attributes:
        sigma_um: Gaussian PSF, standard deviation across and along the detection axis (xy, z).
        photons: mean count of a fully labelled voxel at the surface.
        background: light of unlabelled tissue as a share of `photons`.
        texture: relative variation of that background.
        texture_um: size of its patches.
        attenuation_um: depth at which light has dropped to 1/e.
        offset: camera counts without light.
        read_noise: standard deviation in counts.
        counts_per_photon: camera gain.
    """

    sigma_um: tuple[float, float]
    photons: float
    background: float
    texture: float
    texture_um: float
    attenuation_um: float
    offset: float = 100.0
    read_noise: float = 2.0
    counts_per_photon: float = 2.0


def signed_distance(grid: Grid, points_um: np.ndarray, radii_um: np.ndarray) -> np.ndarray:
    """Distance to the surface of a chain of balls (negative inside), in um.

    Args:
        grid: where to draw.
        points_um: [N, 3], centres (z, y, x), close enough together to merge into a tube.
        radii_um: [N].

    Returns:
        [Z, Y, X] float32; beyond two voxels from any surface only a lower bound, 2 voxels.
    """
    margin = 2 * grid.pitch_um
    field = grid.empty(margin)
    axes = [(np.arange(n, dtype=np.float32) + 0.5) * grid.pitch_um for n in grid.shape]
    for centre, radius in zip(points_um, radii_um, strict=True):
        reach = radius + margin
        low = np.maximum(np.floor((centre - reach) / grid.pitch_um).astype(int), 0)
        high = np.minimum(np.ceil((centre + reach) / grid.pitch_um).astype(int) + 1, grid.shape)
        if (high <= low).any():
            continue
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        z, y, x = (axes[i][box[i]] - np.float32(centre[i]) for i in range(3))
        squared = (z * z)[:, None, None] + (y * y)[None, :, None] + (x * x)[None, None, :]
        np.minimum(field[box], np.sqrt(squared) - np.float32(radius), out=field[box])
    return field


def fill(distance_um: np.ndarray, pitch_um: float) -> np.ndarray:
    """Share of each voxel that lies inside a surface, 0 to 1, from the signed distance (um)."""
    return np.clip(0.5 - distance_um / pitch_um, 0.0, 1.0)


def deposit(grid: Grid, points_um: np.ndarray, volume_um3: np.ndarray) -> np.ndarray:
    """Dye of something thinner than a voxel: each point's volume is shared by its 8 voxels.

    Args:
        grid: where to draw.
        points_um: [N, 3] (z, y, x).
        volume_um3: [N], how much labelled volume each point stands for.

    Returns:
        [Z, Y, X] float32, labelled share of each voxel; the total volume inside is conserved.
    """
    field = grid.empty()
    place = points_um / grid.pitch_um - 0.5
    base = np.floor(place).astype(int)
    share = place - base
    amount = volume_um3 / grid.pitch_um**3
    for corner in np.ndindex(2, 2, 2):
        index = base + corner
        inside = ((index >= 0) & (index < grid.shape)).all(axis=1)
        weight = np.where(corner, share, 1 - share).prod(axis=1) * amount
        np.add.at(field, tuple(index[inside].T), weight[inside].astype(np.float32))
    return field


def smooth_noise(grid: Grid, scale_um: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of zero mean and unit variance that varies over `scale_um`; [Z, Y, X] float32.

    Drawn on a coarse grid, because wide filters on the fine one would cost most of the time.
    """
    factor = max(1, int(scale_um / grid.pitch_um / 2))
    coarse = [max(2, -(-n // factor) + 1) for n in grid.shape]
    sigma = scale_um / grid.pitch_um / factor
    noise = gaussian_filter(rng.standard_normal(coarse, np.float32), sigma, mode="wrap")
    ratios = [n / c for n, c in zip(grid.shape, coarse, strict=True)]
    wide = np.asarray(zoom(noise, ratios, order=1, grid_mode=True, mode="nearest"))
    return (wide - wide.mean()) / max(float(wide.std()), 1e-6)


def record(
    structure: Structure, grid: Grid, optics: Optics, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Image a structure.

    Returns:
        Image [Z, Y, X] uint16 in camera counts, and label [Z, Y, X] uint8, on the volume's grid.
    """
    texture = smooth_noise(grid, optics.texture_um, rng)
    tissue = optics.background * np.clip(1 + optics.texture * texture, 0, None)
    across, along = (sigma / grid.pitch_um for sigma in optics.sigma_um)
    light = gaussian_filter(structure.dye + tissue, (along, across, across), mode="nearest")
    light = grid.pick_planes(light)
    depth_um = (np.arange(len(light)) + 0.5) * grid.z_step * grid.pitch_um
    arriving = np.exp(-depth_um / optics.attenuation_um)[:, None, None]
    counts = rng.poisson(np.maximum(optics.photons * light * arriving, 0.0)).astype(np.float64)
    signal = counts * optics.counts_per_photon + optics.offset
    signal += rng.normal(0.0, optics.read_noise, light.shape)
    image = np.clip(np.rint(signal), 0, np.iinfo(np.uint16).max).astype(np.uint16)
    return image, np.ascontiguousarray(grid.pick_planes(structure.label)).astype(np.uint8)
