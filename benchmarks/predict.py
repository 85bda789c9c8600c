"""Prediction by blocks beside MONAI's sliding_window_inference.

Same network, tiles, overlap and batch, turn about, in one process with equal threads; medians of
processor time, and of the clock (`_clock`). A small convolutional network, so that the engine's own
cost shows. Peak memory is that of a process
of its own, less that of one that has only loaded the libraries and predicted a tile. Example:

    python benchmarks/predict.py --side 256 --out predict.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from luxvox.data.normalize import measure_intensity, normalize
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.predict.block_output import BlockOutput
from luxvox.predict.blockwise import Request
from luxvox.predict.run import run_blocks

TILE = (64, 64, 64)
TARGETS = {"ratio_full": 0.95, "ratio_half_empty": 1.0, "peak_bytes": 1e9}


class Bands:
    """Noisy tissue, made where it is looked at: nothing of it has to fit into memory."""

    dtype = np.dtype(np.uint16)

    def __init__(self, shape: tuple[int, int, int], filled: float) -> None:
        self.shape, self.filled = shape, filled

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        """A box [Z, Y, X]."""
        rng = np.random.default_rng([part.start for part in box])
        values = rng.poisson(800, [part.stop - part.start for part in box]).astype(np.uint16)
        depth = np.arange(box[0].start, box[0].stop)
        values[depth >= self.filled * self.shape[0]] = 0
        return values


class Cost(NamedTuple):
    """Seconds on the clock, and of all processors: the second is not disturbed by other work."""

    clock: float
    processor: float

    @classmethod
    def now(cls) -> Cost:
        """Both clocks as they stand."""
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: Cost) -> Cost:
        """What lies between two moments."""
        return Cost(self.clock - other.clock, self.processor - other.processor)


def network(width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, width, 3, padding=1), nn.ReLU(),
        nn.Conv3d(width, width, 3, padding=1), nn.ReLU(),
        nn.Conv3d(width, 1, 3, padding=1), nn.Sigmoid(),
    ).eval().requires_grad_(False)  # fmt: skip


def ours(path: Path, net: nn.Module, folder: Path, block: int) -> Cost:
    """From opening the volume to the finished pyramid; the page with pictures is no part of it."""
    began = Cost.now()
    request = Request(
        open_volume(path), folder / f"out-{time.monotonic_ns()}.ome.zarr", net,
        BlockOutput(what="probabilities"), TILE, block=(block, block, block),
    )  # fmt: skip
    job = request.job(request.plan())
    job.store.create()
    run_blocks(job, range(job.plan.grid.num_blocks))
    job.store.finish()
    return Cost.now() - began


def monai(path: Path, net: nn.Module, folder: Path, block: int) -> Cost:
    """The same: read, normalise, predict, write with its pyramid, in equal shards."""
    from monai.inferers import sliding_window_inference

    began = Cost.now()
    volume = open_volume(path)
    image = normalize(volume.read()[0], measure_intensity(volume)).astype(np.float32)
    with torch.no_grad():
        found = sliding_window_inference(
            torch.from_numpy(image)[None, None], TILE, 1, net, overlap=0.25, mode="gaussian"
        )
    assert isinstance(found, torch.Tensor)
    out = folder / f"monai-{time.monotonic_ns()}.ome.zarr"
    save_volume(
        found[0, 0].numpy(), out, voxel_size_um=volume.voxel_size_um, shards=(block, block, block)
    )
    return Cost.now() - began


def peak_bytes(path: Path, folder: Path, width: int, block: int) -> int:
    """Largest resident size of a process that predicts, less that of one that only begins."""
    small = save_volume(
        Bands(TILE, 1.0), folder / f"small-{time.monotonic_ns()}.ome.zarr", voxel_size_um=None
    )
    sizes = []
    for volume in (small, path):
        done = subprocess.run(
            [sys.executable, __file__, "--peak-of", str(volume), "--width", str(width),
             "--block", str(block)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        sizes.append(int(done.stdout.split()[-1]))
    return sizes[1] - sizes[0]


def _ratio(theirs: list[Cost], ours: list[Cost], which: int) -> float:
    """Theirs over ours, of medians."""
    return float(np.median([c[which] for c in theirs]) / np.median([c[which] for c in ours]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file; printed too")
    parser.add_argument("--side", type=int, default=256, help="of the volume, in voxels")
    parser.add_argument("--block", type=int, default=128, help="side of a block")
    parser.add_argument("--width", type=int, default=8, help="channels of the network")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    net = network(arguments.width)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LUXVOX_HOME"] = str(folder / "home")
        if arguments.peak_of:
            ours(arguments.peak_of, net, folder, arguments.block)
            # Not getrusage, which starts from what the parent process had. Linux only.
            status = Path("/proc/self/status").read_text(encoding="ascii")
            print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
            return
        shape = (arguments.side,) * 3
        costs: dict[str, list[Cost]] = {}
        peaks = {}
        for kind, filled in (("full", 1.0), ("half_empty", 0.5)):
            path = save_volume(
                Bands(shape, filled), folder / f"{kind}.ome.zarr", voxel_size_um=(2, 2, 2)
            )
            for turn in range(arguments.turns + 1):
                # The first turn warms up; who begins alternates.
                for way, predict in (("ours", ours), ("monai", monai))[:: 1 if turn % 2 else -1]:
                    cost = predict(path, net, folder, arguments.block)
                    if turn:
                        costs.setdefault(f"{way}_{kind}", []).append(cost)
            peaks[f"peak_bytes_{kind}"] = peak_bytes(path, folder, arguments.width, arguments.block)
    result = {
        **{
            f"ratio_{kind}{which}": _ratio(costs[f"monai_{kind}"], costs[f"ours_{kind}"], number)
            for kind in ("full", "half_empty")
            for number, which in enumerate(("_clock", ""))
        },
        **peaks,
        "targets": TARGETS,
        "costs": {way: [cost._asdict() for cost in found] for way, found in costs.items()},
        "side": arguments.side,
        "block": arguments.block,
        "width": arguments.width,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
    }
    text = json.dumps(result, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
