"""Small sweeps on disk: texture through focus, one folder a stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

PLANES = tuple(range(-5, 6))


def draw_sweep(seed: int, side: int = 64, planes: tuple[int, ...] = PLANES) -> np.ndarray:
    """[Z, Y, X] uint16; brightness and density differ between stacks, focus is at z 0."""
    rng = np.random.default_rng(seed)
    dye = rng.uniform(30, 90) * (rng.random((side, side)) < rng.uniform(0.05, 0.2))
    dye = gaussian_filter(dye, 0.8) * 4
    images = [gaussian_filter(dye, 0.4 + 0.6 * abs(z)) for z in planes]
    return np.stack([rng.poisson(12 + image) + 100 for image in images]).astype(np.uint16)


def write_stack(folder: Path, seed: int, **shape) -> None:
    folder.mkdir(parents=True)
    for z, image in zip(shape.get("planes", PLANES), draw_sweep(seed, **shape), strict=True):
        tifffile.imwrite(folder / f"{folder.name}_z{z}.tif", image)


@pytest.fixture
def sweep() -> Callable[..., np.ndarray]:
    return draw_sweep


@pytest.fixture(scope="session")
def stacks(tmp_path_factory) -> Path:
    """S001 to S011 below one folder."""
    folder = tmp_path_factory.mktemp("sweeps") / "stacks"
    for number in range(1, 12):
        write_stack(folder / f"S{number:03d}", number)
    return folder
