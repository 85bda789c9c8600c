"""Crops per second of rendering optics alone, and of whole training batches from a stock.

    python benchmarks/simulator.py --threads 2 --out simulator.json
    python benchmarks/simulator.py --device cuda --side 96 --batch 64 --out simulator_gpu.json

`optics`: dye to stored counts (illumination, sheet, lens, tissue, camera), new parameters at every
call, median of the repeats. `batches`: the same through `SceneStock`, scenes drawn before the clock
starts and none renewed, so it is what training gets.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from luxvox.data.optics import Optics, OpticsRanges, draw_optics, image
from luxvox.data.synthetic.stock import SceneStock, StockRecipe


def synchronise(device: str) -> None:
    """Wait for the device, so that the clock sees the work."""
    if device == "cuda":
        torch.cuda.synchronize()


def optics_alone(side: int, batch: int, device: str, repeats: int, psf: str) -> float:
    """Crops per second of `image`."""
    ranges = OpticsRanges(psf="scalar" if psf == "scalar" else "gaussian")
    noise = torch.Generator(device).manual_seed(0)
    dye = torch.rand(batch, 1, side, side, side, device=device)
    seconds = []
    for number in range(repeats + 2):
        drawn = [
            draw_optics(ranges, np.random.default_rng(number * batch + i)) for i in range(batch)
        ]
        lens = Optics.stack(drawn).to(device)
        synchronise(device)
        start = time.perf_counter()
        image(dye, (1.5, 1.5, 1.5), lens, noise)
        synchronise(device)
        if number >= 2:
            seconds.append(time.perf_counter() - start)
    return batch / statistics.median(seconds)


def batches(side: int, batch: int, device: str, repeats: int) -> float:
    """Crops per second of `SceneStock.batch`."""
    recipe = StockRecipe(crop=(side, side, side), scenes=4, renew_every=0)
    recipe = recipe.model_copy(update={"scene_size": tuple(side + 16 for _ in range(3))})
    kinds = len(recipe.voxel_sizes_um)
    with SceneStock(recipe, seed=0, device=device, workers=os.cpu_count() or 1) as stock:
        for step in range(8 * kinds):  # until every scene was asked for
            stock.batch(step, batch)
        seconds = []
        for step in range(8 * kinds, 8 * kinds + repeats * kinds):
            start = time.perf_counter()
            stock.batch(step, batch)
            synchronise(device)
            seconds.append(time.perf_counter() - start)
    return batch / statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=int, default=64, help="of a crop, in voxels")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    common = (arguments.side, arguments.batch, arguments.device, arguments.repeats)
    on_gpu = arguments.device == "cuda"
    result = {
        "torch": torch.__version__,
        "machine": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "threads": arguments.threads,
        "side": arguments.side,
        "batch": arguments.batch,
        "optics_crops_per_second": optics_alone(*common, psf="scalar"),
        "optics_gaussian_crops_per_second": optics_alone(*common, psf="gaussian"),
        "batches_crops_per_second": batches(*common),
        "load_average": os.getloadavg()[0],
    }
    text = json.dumps(result, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
