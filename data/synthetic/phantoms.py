"""Small simulated volumes with captions and labels, for the demo and for tests.

Every sample is a pure function of (seed, its number): more samples never change the first ones.
Two samples come from one specimen (a `group`), which fixes structure, stain, optics and voxel size.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...configs.errors import InputError
from ..save import save_volume
from ..voxel import VoxelSize
from .blobs import draw_blobs
from .fibres import draw_fibres
from .scene import Grid, Optics, Shape, Structure, record
from .tubes import draw_tubes

VOXEL_SIZES_UM: tuple[VoxelSize, ...] = ((1.5, 1.5, 1.5), (4.5, 1.5, 1.5))
SAMPLES_PER_SPECIMEN = 2
COLUMNS = (
    "id", "image", "labels", "group", "split", "stain", "structure", "caption",
    "voxel_size_um", "axes", "foreground_label",
)  # fmt: skip

_STAIN_AND_STRUCTURE = {
    "tubes": ("vessel stain", "blood vessels"),
    "blobs": ("nuclear stain", "nuclei"),
    "fibres": ("axon label", "axons"),
}
KINDS = tuple(_STAIN_AND_STRUCTURE)

# One caption for one meaning: two wordings of one meaning in a list would be negatives of each
# other in the contrastive loss. Wordings vary between the meanings; `captions.caption_variants`
# gives further ones of each.
_CAPTIONS = {
    ("tubes", 0): "Simulated light-sheet microscopy of blood vessels; a few wide tubes that branch "
    "into finer ones.",
    ("tubes", 1): "A simulated light-sheet volume with a vessel stain. It shows a dense network of "
    "narrow, branching tubes.",
    ("blobs", 0): "Simulated light-sheet microscopy of tissue with a nuclear stain; sparse, round "
    "nuclei on a dim background.",
    ("blobs", 1): "Densely packed nuclei in a simulated light-sheet volume. The nuclear stain "
    "fills small, round blobs that almost touch.",
    ("fibres", 0): "Axons in a simulated light-sheet volume; thin, winding fibres that run in all "
    "directions.",
    ("fibres", 1): "Simulated light-sheet microscopy with an axon label. A loose bundle of thin "
    "fibres runs in one direction.",
}

# Tubes: trees for each mm2 of cross-section, radius of the trunks in um.
_TUBES = ((430.0, 6.5), (2000.0, 3.4))
# Nuclei: number in a mm3, radius in um.
_BLOBS = ((50e3, 5.5), (320e3, 4.5))
# Fibres: number for each mm2 of cross-section, turn away from the common direction.
_FIBRES = ((1300.0, 1.0), (1800.0, 0.1))
_FIBRE_RADIUS_UM = 0.8
# An axon is thinner than the PSF, which thins its light out; it is seen because it is labelled
# more strongly than the wide structures.
_FIBRE_GAIN = 8.0


@dataclass(frozen=True)
class Specimen:
    """What all samples of one group share."""

    number: int
    kind: str
    pattern: int
    voxel_size_um: VoxelSize
    optics: Optics

    @property
    def group(self) -> str:
        """Name of the group in the list."""
        return f"specimen_{self.number:03d}"

    @property
    def split(self) -> str:
        """Every fourth round of kinds is held back, whole; all kinds are in it."""
        return "val" if _round(self.number) % 4 == 1 else "train"


def _round(specimen: int) -> int:
    """How many times all kinds were gone through before this specimen."""
    return specimen // len(KINDS)


def specimen_of(sample: int, seed: int) -> Specimen:
    """The specimen that a sample is taken from."""
    number = sample // SAMPLES_PER_SPECIMEN
    kind = number % len(KINDS)
    # Apart from the samples' own streams, which are keyed by the sample number.
    rng = np.random.Generator(np.random.Philox(key=[seed, 2**32 + number]))
    across_um = rng.uniform(0.7, 1.1)
    return Specimen(
        number=number,
        kind=KINDS[kind],
        # Voxel size and pattern alternate at different rates and start differently in each kind,
        # so that neither tells the kind, and train and val hold both of each.
        pattern=(_round(number) // 2 + kind) % 2,
        voxel_size_um=VOXEL_SIZES_UM[(_round(number) + kind) % 2],
        optics=Optics(
            sigma_um=(across_um, across_um * rng.uniform(2.0, 3.5)),
            photons=rng.uniform(80, 200),
            background=rng.uniform(0.08, 0.2),
            texture=rng.uniform(0.15, 0.35),
            texture_um=rng.uniform(15, 40),
            attenuation_um=rng.uniform(250, 600),
            offset=rng.uniform(90, 110),
            read_noise=rng.uniform(1.5, 3.0),
            counts_per_photon=rng.uniform(1.0, 3.0),
        ),
    )


def make_phantom(
    sample: int, seed: int, size: Shape = (64, 64, 64)
) -> tuple[np.ndarray, np.ndarray, Specimen]:
    """Draw and image one sample.

    Args:
        sample: its number, from 0.
        seed: chooses everything that is random.
        size: (Z, Y, X) in voxels.

    Returns:
        Image [Z, Y, X] uint16 (camera counts), label [Z, Y, X] uint8 (1 inside the structure), and
        the specimen.
    """
    specimen = specimen_of(sample, seed)
    rng = np.random.Generator(np.random.Philox(key=[seed, sample]))
    grid = Grid.of_volume(size, specimen.voxel_size_um)
    image, label = record(_draw(specimen, grid, rng), grid, specimen.optics, rng)
    return image, label, specimen


def _draw(specimen: Specimen, grid: Grid, rng: np.random.Generator) -> Structure:
    # Structures that pass through are counted by the area they pass, not by volume.
    area_mm2 = float(np.prod(grid.size_um)) ** (2 / 3) * 1e-6
    vary = rng.uniform(0.8, 1.2)
    if specimen.kind == "tubes":
        per_mm2, radius_um = _TUBES[specimen.pattern]
        return draw_tubes(grid, max(2, round(per_mm2 * area_mm2 * vary)), radius_um, rng)
    if specimen.kind == "blobs":
        per_mm3, radius_um = _BLOBS[specimen.pattern]
        return draw_blobs(grid, per_mm3 * vary, radius_um, rng)
    per_mm2, spread = _FIBRES[specimen.pattern]
    count = max(2, round(per_mm2 * area_mm2 * vary))
    drawn = draw_fibres(grid, count, _FIBRE_RADIUS_UM, spread, rng)
    return Structure(_FIBRE_GAIN * drawn.dye, drawn.label)


def write_phantoms(
    out_dir: str | Path,
    count: int,
    seed: int,
    size: Shape = (64, 64, 64),
    *,
    overwrite: bool = False,
) -> Path:
    """Write `count` phantoms as OME-Zarr, their labels beside them, and a dataset list.

    The list comes last: a folder without `dataset.csv` was not finished.

    Args:
        out_dir: folder, made if needed.
        count: how many volumes; 24 hold every kind, pattern and voxel size and both splits.
        seed: 0 or above; the same seed gives the same bytes.
        size: (Z, Y, X) in voxels.
        overwrite: replace phantoms that stand there.

    Returns:
        Path of `dataset.csv`.

    Raises:
        InputError: numbers out of range, a list stands there already, or the folder cannot be
            written.
    """
    if count < 1 or seed < 0 or min(size) < 1:
        raise InputError(
            f"phantoms: count {count}, seed {seed}, size {size}: expected count and size of at "
            "least 1 and a seed of at least 0"
        )
    folder = Path(out_dir)
    table = folder / "dataset.csv"
    if table.exists() and not overwrite:
        raise InputError(f"{table}: stands there already; choose another folder or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        table.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    rows = [_write_one(folder, sample, seed, size, overwrite) for sample in range(count)]
    part = table.with_name(".dataset.csv.part")
    with open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, table)
    return table


def _write_one(folder: Path, sample: int, seed: int, size: Shape, overwrite: bool) -> dict:
    image, label, specimen = make_phantom(sample, seed, size)
    stain, structure = _STAIN_AND_STRUCTURE[specimen.kind]
    name = f"phantom_{sample:04d}"
    files = {"image": f"{name}.ome.zarr", "labels": f"{name}_label.ome.zarr"}
    voxel_size_um = specimen.voxel_size_um
    save_volume(image, folder / files["image"], voxel_size_um=voxel_size_um, overwrite=overwrite)
    save_volume(
        label, folder / files["labels"], voxel_size_um=voxel_size_um, kind="labels",
        overwrite=overwrite,
    )  # fmt: skip
    return {
        "id": name,
        **files,
        "group": specimen.group,
        "split": specimen.split,
        "stain": stain,
        "structure": structure,
        "caption": _CAPTIONS[specimen.kind, specimen.pattern],
        "voxel_size_um": " ".join(f"{side:g}" for side in voxel_size_um),
        "axes": "zyx",
        "foreground_label": 1,
    }
