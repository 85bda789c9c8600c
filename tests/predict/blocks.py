"""What tests of the block engine share: a small convolutional network, and volumes for it.

Also a program that predicts, to be started several times, and killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from luxvox.configs.errors import InputError
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.predict.block_output import BlockOutput
from luxvox.predict.blockwise import Request, predict_blocks

TILE = (32, 32, 32)
PROBABILITIES = BlockOutput(what="probabilities")
LABELS = BlockOutput(what="labels", threshold=0.55)


def stand_in(channels: int = 1) -> nn.Module:
    """A network that sees 2 voxels far; of torch's own layers, so that dask can send it."""
    torch.manual_seed(1)
    last = nn.Sigmoid() if channels == 1 else nn.Softmax(1)
    net = nn.Sequential(
        nn.Conv3d(1, 2, 3, padding=1), nn.GELU(), nn.Conv3d(2, channels, 3, padding=1), last
    )
    return net.eval().requires_grad_(False)


def smooth_volume(path: Path, shape: tuple[int, int, int], seed: int = 0, **options) -> Path:
    """An image of blobs and noise, as OME-Zarr."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    blobs = gaussian_filter(rng.random(shape), 3)
    blobs = (blobs - blobs.min()) / np.ptp(blobs)
    image = rng.poisson(100 + 900 * blobs**3).astype(np.uint16)
    return save_volume(image, path, voxel_size_um=(4.0, 2.0, 2.0), **options)


def request_of(volume: Path, out: Path, **changes) -> Request:
    """Blocks of 64 voxels, tiles of 32."""
    asked = {
        "volume": open_volume(volume), "out": out, "network": stand_in(), "output": PROBABILITIES,
        "tile": TILE, "block": (64, 64, 64), "skip_empty": False, "threads": 1,
    }  # fmt: skip
    return Request(**{**asked, **changes})


def voxels(out: Path) -> np.ndarray:
    """What was written, all channels."""
    return open_volume(out).read()


class Paused(nn.Module):
    """The stand-in, slow enough to be killed in the middle."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.net = seconds, stand_in()

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        return self.net(tiles)


def start(volume: Path, out: Path, pause: float = 0.0, **options: int) -> subprocess.Popen[str]:
    """Predict in a process of its own."""
    words = [f"{name}={value}" for name, value in options.items()]
    return subprocess.Popen(
        [sys.executable, __file__, str(volume), str(out), str(pause), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def main() -> None:
    """IN OUT PAUSE [option=number ...]"""
    volume, out, pause, *words = sys.argv[1:]
    options = {name: int(value) for name, value in (word.split("=") for word in words)}
    if "RANK" in os.environ:
        options |= {"parts": int(os.environ["WORLD_SIZE"]), "part": int(os.environ["RANK"])}
    request = request_of(Path(volume), Path(out))
    if float(pause):
        request = replace(request, network=Paused(float(pause)))
    try:
        print(json.dumps(predict_blocks(request, **options)))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
