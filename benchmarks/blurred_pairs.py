"""Pairs for restoration whose blur no model has seen: real volumes behind another kind of PSF.

Stage B degrades with scalar diffraction; here the lens is a Gaussian beam. All pairs have the same
optics, as those of one microscope have, and no noise: `luxvox benchmark ... noise=0.01` adds it.

    python benchmarks/blurred_pairs.py LIST OUT
    luxvox benchmark OUT/dataset.csv --tasks restore --shots 1 --draws 3 --out tables noise=0.01
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from luxvox.configs.errors import InputError
from luxvox.data.manifest import open_row, read_dataset
from luxvox.data.optics.degrade import degrade
from luxvox.data.optics.settings import Optics, sharp_optics

LARGEST = (48, 96, 96)
GUESSED = (2.0, 2.0, 2.0)
"""Voxel size in um of volumes that do not say theirs, as stage B guesses it."""


def blurred(image: NDArray[np.float32], size_um: tuple[float, float, float]) -> NDArray[np.float32]:
    """[Z, Y, X] -> the same behind a wide, slightly defocused Gaussian beam, without noise."""
    lens = {"na": 0.1, "sheet_waist_um": 8.0, "defocus_um": 30.0, "scalar_psf": 0.0}
    # So much light that noise does not show, and 30 of the camera's 65 thousand counts.
    light = {"photons": 1e6, "counts_per_photon": 0.03}
    optics = Optics.stack([sharp_optics(**lens, **light)])
    seen = degrade(
        torch.from_numpy(image)[None, None], size_um, optics, torch.Generator().manual_seed(0)
    )
    return seen[0, 0].numpy()


def main() -> None:
    """Write one pair a group of the rows that a list holds back from training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("listing")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    rows = {row.group: row for row in read_dataset(given.listing).rows if row.split == "val"}
    if not rows:
        raise InputError(f"{given.listing}: no row of split val, expected some")
    given.out.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in rows.values():
        volume = open_row(row)
        shape = [min(n, most) for n, most in zip(volume.shape, LARGEST, strict=True)]
        start = [(n - side) // 2 for n, side in zip(volume.shape, shape, strict=True)]
        image = volume.read(start, shape, channels=[0])[0].astype(np.float32)
        size = volume.voxel_size_um
        span = np.ptp(np.percentile(image, [0.1, 99.9])) or 1.0
        for name, array in (("sharp", image), ("blurred", blurred(image, size or GUESSED))):
            tifffile.imwrite(given.out / f"{row.id}_{name}.tif", array / span)
        lines.append(
            {
                "id": row.id,
                "image": f"{row.id}_blurred.tif",
                "target": f"{row.id}_sharp.tif",
                "group": row.group,
                "axes": "zyx",
                "voxel_size_um": " ".join(map(str, size or ())),
            }
        )
    with (given.out / "dataset.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    print(f"{given.out / 'dataset.csv'}: {len(lines)} pairs")


if __name__ == "__main__":
    main()
