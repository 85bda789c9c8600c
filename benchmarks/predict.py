"""Prediction by blocks beside MONAI's sliding_window_inference.

Same network, tiles, overlap and batch, turn about, in one process with equal threads; medians of
processor time, and of the clock (`_clock`). A small convolutional network, so that the engine's
own cost shows. Peak memory is that of a process of its own up to the end of each stage, less that
of one that predicts a single tile. Or only memory, or several processes beside one. Examples:

    python benchmarks/predict.py --side 256 --out predict.json
    python benchmarks/predict.py --memory 256x256x256 512x512x512 --width 2
    python benchmarks/predict.py --processes 2
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from luxvox.data.normalize import measure_intensity, normalize
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.predict.block_output import BlockOutput
from luxvox.predict.blockwise import Request, predict_blocks
from luxvox.predict.run import Job, Progress, Tally, run_blocks
from luxvox.predict.stop import Stop

TILE = (64, 64, 64)
TARGETS = {"ratio_full": 0.95, "ratio_half_empty": 1.0, "peak_bytes": 1e9, "ratio_processes": 1.7}


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


def peaks(path: Path, net: nn.Module, folder: Path, block: int) -> dict[str, int]:
    """Largest resident size of this process up to the end of each stage, in bytes. Linux only."""
    request = Request(
        open_volume(path), folder / f"peak-{time.monotonic_ns()}.ome.zarr", net,
        BlockOutput(what="probabilities"), TILE, block=(block, block, block),
    )  # fmt: skip
    found = {}

    def note(stage: str) -> None:
        # Not getrusage, which starts from what the parent process had.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        found[stage] = int(status.split("VmHWM:")[1].split()[0]) * 1024

    predict_blocks(
        request, progress=lambda tally: note("blocks"), finishing=lambda what, *_: note(what)
    )
    note("page")
    return found


def peaks_above_a_tile(
    paths: Sequence[Path], folder: Path, width: int, block: int
) -> list[dict[str, int]]:
    """Of each volume, what a process takes at each stage beyond one that predicts a single tile."""
    small = save_volume(
        Bands(TILE, 1.0), folder / f"small-{time.monotonic_ns()}.ome.zarr", voxel_size_um=None
    )
    taken = []
    for volume in (small, *paths):
        words = ["--peak-of", volume, "--width", width, "--block", block]
        taken.append(json.loads(_run(words).communicate()[0].splitlines()[-1]))
    tile, *found = taken  # a tile has no coarser levels
    return [
        {stage: peak - tile.get(stage, tile["blocks"]) for stage, peak in one.items()}
        for one in found
    ]


def _run(words: Sequence[object]) -> subprocess.Popen[str]:
    """This file in a process of its own, on one thread."""
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def shared(path: Path, folder: Path, width: int, block: int, parts: int) -> dict[str, float]:
    """A volume predicted by so many processes that start together, one thread each.

    Returns:
        Seconds. `predict`: by the clock, from the first block to the last, of the slowest part;
        `processor`: of the processors in that time, of the part that took most; `all`: by the
        clock, with start-up, plan, levels and page.
    """
    out = folder / f"parts-{time.monotonic_ns()}.ome.zarr"
    options = ["--width", width, "--block", block]
    began = time.perf_counter()
    running = [_run(["--part-of", path, out, parts, part, *options]) for part in range(parts)]
    told = [json.loads(one.communicate()[0].splitlines()[-1]) for one in running]
    taken = {"all": time.perf_counter() - began}
    return taken | {which: max(one[which] for one in told) for which in ("predict", "processor")}


def one_part(path: Path, out: Path, net: nn.Module, block: int, parts: int, part: int) -> Cost:
    """What the blocks of one part take."""
    request = Request(
        open_volume(path), out, net, BlockOutput(what="probabilities"), TILE,
        block=(block, block, block),
    )  # fmt: skip
    found = []

    def timed(job: Job, blocks: range, progress: Progress, stop: Stop) -> Tally:
        began = Cost.now()
        tally = run_blocks(job, blocks, progress, stop)
        found.append(Cost.now() - began)
        return tally

    predict_blocks(request, parts=parts, part=part, execute=timed)
    return found[0]


def _ratio(theirs: list[Cost], ours: list[Cost], which: int) -> float:
    """Theirs over ours, of medians."""
    return float(np.median([c[which] for c in theirs]) / np.median([c[which] for c in ours]))


def beside_monai(arguments: argparse.Namespace, net: nn.Module, folder: Path) -> dict[str, Any]:
    """Speed of both ways, and our memory, on a full volume and on a half-empty one."""
    paths, costs = {}, {}
    for kind, filled in (("full", 1.0), ("half_empty", 0.5)):
        paths[kind] = _volume(folder, (arguments.side,) * 3, filled)
        for turn in range(arguments.turns + 1):
            # The first turn warms up; who begins alternates.
            for way, predict in (("ours", ours), ("monai", monai))[:: 1 if turn % 2 else -1]:
                cost = predict(paths[kind], net, folder, arguments.block)
                if turn:
                    costs.setdefault(f"{way}_{kind}", []).append(cost)
    taken = peaks_above_a_tile(list(paths.values()), folder, arguments.width, arguments.block)
    ratios = {
        f"ratio_{kind}{which}": _ratio(costs[f"monai_{kind}"], costs[f"ours_{kind}"], number)
        for kind in paths
        for number, which in enumerate(("_clock", ""))
    }
    return {
        **ratios,
        "peak_bytes": dict(zip(paths, taken, strict=True)),
        "costs": {way: [cost._asdict() for cost in found] for way, found in costs.items()},
        "side": arguments.side,
    }


def memory(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Our memory on full volumes of several shapes, one after the other."""
    found = {}
    for text in arguments.memory:
        z, y, x = map(int, text.split("x"))
        path = _volume(folder, (z, y, x), 1.0)
        [found[text]] = peaks_above_a_tile([path], folder, arguments.width, arguments.block)
        print(text, found[text], file=sys.stderr, flush=True)
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return {"peak_bytes": found}


def processes(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One process over all blocks and several over a part each, turn about, on equal volumes."""
    shape = (2 * arguments.side, arguments.side, arguments.side)
    path = _volume(folder, shape, 1.0)
    counts = (1, arguments.processes)
    costs: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    for turn in range(arguments.turns):
        for count in counts[:: -1 if turn % 2 else 1]:
            costs[count].append(shared(path, folder, arguments.width, arguments.block, count))
    middle = {
        count: {which: float(np.median([one[which] for one in found])) for which in found[0]}
        for count, found in costs.items()
    }
    alone, together = middle.values()
    return {
        **{f"ratio_processes_{which}": alone[which] / together[which] for which in alone},
        "costs": costs,
        "shape": shape,
    }


def _volume(folder: Path, shape: tuple[int, int, int], filled: float) -> Path:
    name = f"{'x'.join(map(str, shape))}-{filled}.ome.zarr"
    return save_volume(Bands(shape, filled), folder / name, voxel_size_um=(2, 2, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file; printed too")
    parser.add_argument("--side", type=int, default=256, help="of the volume, in voxels")
    parser.add_argument("--block", type=int, default=128, help="side of a block")
    parser.add_argument("--width", type=int, default=8, help="channels of the network")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", nargs="+", metavar="ZxYxX", help="only memory, of these shapes")
    parser.add_argument("--processes", type=int, help="only so many processes beside one")
    for name in ("--peak-of", "--part-of"):  # what the processes are started with
        parser.add_argument(name, nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    net = network(arguments.width)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LUXVOX_HOME"] = str(folder / "home")
        if arguments.peak_of:
            print(json.dumps(peaks(Path(*arguments.peak_of), net, folder, arguments.block)))
            return
        if arguments.part_of:
            path, out, parts, part = arguments.part_of
            cost = one_part(Path(path), Path(out), net, arguments.block, int(parts), int(part))
            print(json.dumps({"predict": cost.clock, "processor": cost.processor}))
            return
        if arguments.memory:
            result = memory(arguments, folder)
        elif arguments.processes:
            result = processes(arguments, folder)
        else:
            result = beside_monai(arguments, net, folder)
    result |= {
        "targets": TARGETS,
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
