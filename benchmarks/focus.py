"""Cost of the gate and the classical measures of one slice, in `torch.fft.rfft2` of the same slice.

    python benchmarks/focus.py --out focus.json

All are timed in turns in one run, in seconds of processor time, which other programs hardly change;
the least of the repeats counts.
Aims: gate and default measure at most 4, all measures raw and prefiltered at most 20. The survey of
a stack (at most 33 of its slices, once) is timed for one slice.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from luxvox.data.sharpness import MEASURES
from luxvox.data.sharpness_gate import judge_slices
from luxvox.data.sharpness_survey import survey_slices

AIMS = {"gate and default": 4.0, "gate and all measures": 20.0}


def works(side: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name, on one slice of points in noise."""
    noise = torch.Generator().manual_seed(0)
    image = torch.zeros(1, 1, side, side)
    places = torch.randint(side, (2, side), generator=noise)
    image[0, 0, places[0], places[1]] = 5000.0
    image = torch.nn.functional.avg_pool2d(image, 5, 1, 2)[0]
    image += torch.randn(image.shape, generator=noise) * 3 + 100
    survey = survey_slices(image, [0.0])
    z = torch.zeros(1)
    return {
        "rfft2": lambda: torch.fft.rfft2(image),
        "gate and default": lambda: judge_slices(image, z, survey),
        "gate and all measures": lambda: judge_slices(image, z, survey, MEASURES),
        "survey": lambda: survey_slices(image, [0.0]),
    }


def measure(side: int, repeats: int) -> dict[str, float]:
    """Milliseconds of each work."""
    todo = works(side)
    seconds: dict[str, list[float]] = {name: [] for name in todo}
    for turn in range(repeats + 2):
        for name, work in todo.items():
            start = time.process_time()
            work()
            if turn >= 2:
                seconds[name].append(time.process_time() - start)
    return {name: 1000 * min(found) for name, found in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", type=int, default=1024, help="of the slice, in pixels")
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measure(options.side, options.repeats)
    ratios = {name: ms / found["rfft2"] for name, ms in found.items()}
    for name, ms in found.items():
        aim = f" (at most {AIMS[name]:g})" if name in AIMS else ""
        print(f"{name:24s} {ms:8.2f} ms {ratios[name]:7.2f} rfft2{aim}")
    if options.out is not None:
        told = {"side": options.side, "threads": options.threads, "ms": found, "ratios": ratios}
        options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
