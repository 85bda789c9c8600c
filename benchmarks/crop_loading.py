"""How fast crops arrive: the reference system's chain, our OME-Zarr store, and a crop bank.

All in one process with equal threads, turn about; medians of the turns. Every way ends with a
batch of tensors as a training step takes it. Example:

    python benchmarks/crop_loading.py --out crop_loading.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from luxvox.data.bank import BankSource
from luxvox.data.bank_pack import write_bank
from luxvox.data.crops import CropConfig, CropSource, Source
from luxvox.data.loader import collate, decode
from luxvox.data.row import Row
from luxvox.data.save import save_volume

SIDE = 96
BATCH = 8
VOXEL_SIZE_UM = (2.0, 1.8, 1.8)
TARGETS = {
    "ratio_reference_chain": 5.0,
    "ratio_reference_chain_bank": 20.0,
    "ratio_reference_chain_bank_uint16": 50.0,
}


def make_patch(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """[Z, Y, X] uint16 like cleared tissue: uneven, bright blobs, shot and camera noise."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.gamma(4.0, 1.0, [side // 16 + 2 for side in shape]))
    tissue = _enlarge(coarse, shape) * 400
    fine = torch.from_numpy(rng.random([side // 6 + 2 for side in shape]))
    blobs = _enlarge((fine > 0.97).double(), shape) * 9000
    photons = rng.poisson((tissue + blobs) / 8) * 8
    return np.clip(photons + rng.normal(100, 20, shape), 0, 65535).astype(np.uint16)


def _enlarge(coarse: torch.Tensor, shape: tuple[int, int, int]) -> np.ndarray:
    grown = torch.nn.functional.interpolate(
        coarse[None, None], size=shape, mode="trilinear", align_corners=False
    )
    return grown[0, 0].numpy()


def write_patches(folder: Path, count: int, given: Path | None) -> list[Path]:
    """Give 96^3 uint16 patches as .nii.gz: those under `given`, else made-up volumes."""
    if given is not None:
        found = sorted(given.rglob("*.nii.gz"))[:count]
        if not found:
            raise SystemExit(f"{given}: no .nii.gz files below")
        return found
    import nibabel

    paths = []
    for number in range(count):
        array = make_patch((SIDE, SIDE, SIDE), seed=number)
        path = folder / f"patch_{number:03d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([1.8, 1.8, 2, 1])), path)
        paths.append(path)
    return paths


def reference_chain(paths: list[Path]) -> Callable[[int], torch.Tensor]:
    """The reference system's chain on one patch: load, channel first, percentiles to 0..1."""
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        ScaleIntensityRangePercentilesd,
    )

    chain = Compose(
        [
            LoadImaged(keys="image"),
            EnsureChannelFirstd(keys="image"),
            ScaleIntensityRangePercentilesd("image", 1, 99, 0.0, 1.0, clip=True),
        ]
    )

    def batch(first: int) -> torch.Tensor:
        places = range(first, first + BATCH)
        return torch.stack([chain({"image": paths[i % len(paths)]})["image"] for i in places])

    return batch


def ours(source: Source, to_float: bool) -> Callable[[int], torch.Tensor]:
    """Batches of a source as a training loop gets them; codes become float32 if `to_float`."""

    def batch(first: int) -> torch.Tensor:
        volumes = [i % len(source.rows) for i in range(first, first + BATCH)]
        samples = [source.sample(first + i, 0, volume) for i, volume in enumerate(volumes)]
        made = collate(samples)
        return decode(made, "cpu")["crop"] if to_float else made["crop"]

    return batch


def stores(folder: Path, paths: list[Path]) -> Iterator[Row]:
    """The same patches as OME-Zarr, as `luxvox convert` writes them."""
    from luxvox.data.open import open_volume

    for path in paths:
        out = folder / path.name.replace(".nii.gz", ".ome.zarr")
        yield Row(
            id=path.name,
            image=save_volume(open_volume(path), out, voxel_size_um=VOXEL_SIZE_UM),
            group=path.name,
        )


def measure(
    ways: dict[str, Callable[[int], torch.Tensor]], turns: int, batches: int
) -> dict[str, list[float]]:
    """Crops per second of every way, turn about, after one warm-up each."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            # Fast ways make more batches, so that each turn is long enough to time.
            count = batches * (20 if name.startswith("bank") else 4 if name != "reference" else 1)
            began = time.perf_counter()
            for number in range(count):
                way(number * BATCH)
            seconds = time.perf_counter() - began
            if turn:
                rates[name].append(count * BATCH / seconds)
    return rates


def run(folder: Path, given: Path | None, patches: int, turns: int, batches: int) -> dict:
    """Prepare the data in `folder` and measure."""
    os.environ["LUXVOX_HOME"] = str(folder / "home")
    paths = write_patches(folder, patches, given)
    config = CropConfig(shape=(SIDE, SIDE, SIDE))
    source = CropSource(list(stores(folder, paths)), config)
    bank = BankSource(write_bank(source, folder / "bank.safetensors"), config)
    large = save_volume(make_patch((256, 256, 256), 99), folder / "large.ome.zarr",
                        voxel_size_um=VOXEL_SIZE_UM)  # fmt: skip
    many = CropSource([Row(id="large", image=large, group="large")], config)
    ways = {
        "reference": reference_chain(paths),
        "store": ours(source, to_float=True),
        "store_large": ours(many, to_float=True),
        "bank_float32": ours(bank, to_float=True),
        "bank_uint16": ours(bank, to_float=False),
    }
    rates = measure(ways, turns, batches)
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    ratios = {
        "ratio_reference_chain": medians["store"] / medians["reference"],
        "ratio_reference_chain_large": medians["store_large"] / medians["reference"],
        "ratio_reference_chain_bank": medians["bank_float32"] / medians["reference"],
        "ratio_reference_chain_bank_uint16": medians["bank_uint16"] / medians["reference"],
    }
    return {
        **ratios,
        **{f"crops_per_second_{name}": value for name, value in medians.items()},
        "targets": TARGETS,
        "turns": rates,
        "data": "given .nii.gz files" if given else "made-up volumes",
        "patches": len(paths),
        "crop": [SIDE, SIDE, SIDE],
        "threads": torch.get_num_threads(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file; printed too")
    parser.add_argument(
        "--data", type=Path, help="folder with 96^3 .nii.gz patches; else made-up volumes"
    )
    parser.add_argument("--patches", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batches", type=int, default=2, help=f"of {BATCH} crops, per turn")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = run(
            Path(folder), arguments.data, arguments.patches, arguments.turns, arguments.batches
        )
    text = json.dumps(result, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
