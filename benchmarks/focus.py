"""Cost of the gate and the classical measures of one slice, in `torch.fft.rfft2` of the same slice.

    python benchmarks/focus.py --stem runs/focus --context runs/focus-encoder --out focus.json

All are timed in turns in one run, in seconds of processor time, which other programs hardly change;
the least of the repeats counts.
Aims: gate and default measure at most 4, all measures raw and prefiltered at most 20; of heads that
`luxvox finetune focus` trained, the stem alone at most 12, with 3D context at most 60, behind the
same gate. The survey of a stack (at most 33 of its slices, once) is timed for one of eight slices;
the time of a head holds what it does with the surveyed slices, not the survey. Then peak memory of
whole stacks of 40 and of 120 slices, made as they are read: it should be the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from luxvox.data.sharpness import MEASURES
from luxvox.data.sharpness_gate import judge_slices
from luxvox.data.sharpness_survey import survey_slices
from luxvox.predict.focus import Sample, score_stack
from luxvox.predict.focus_scorer import load_scorer
from luxvox.predict.focus_stack import FocusStack

AIMS = {
    "gate and default": 4.0,
    "gate and all measures": 20.0,
    "stem": 12.0,
    "context": 60.0,
}
BLOCK = 64
"""Slices that the tokens of a head with context are made of, together."""
SURVEYED = 8


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
        "survey": lambda: survey_slices(image.expand(SURVEYED, -1, -1), range(SURVEYED)),
    }


def stack_of(side: int, count: int) -> FocusStack:
    """A sweep of points in noise; each slice is made when it is read."""
    sharp = np.zeros((side, side), np.float32)
    places = np.random.default_rng(0).integers(0, side, (2, side))
    sharp[places[0], places[1]] = 5000

    def load(place: int) -> np.ndarray:
        noise = np.random.default_rng(place).normal(100, 3, (side, side))
        blurred = ndimage.gaussian_filter(sharp, 1 + 0.2 * abs(place - count // 2))
        return (blurred + noise).round().astype(np.uint16)

    return FocusStack(
        image_paths=("made",) * count, stack_id="made", channel="", t=0,
        z_index=tuple(range(count)), voxel_size_um=(1.0, 0.5, 0.5), shape=(side, side),
        largest=65535.0, notes=(), load=load,
    )  # fmt: skip


def head_ms(run: str, side: int) -> float:
    """Milliseconds of processor time for a slice of a sweep; least of two.

    Reading and the survey are left out; what the head does with the surveyed slices is not.
    """
    stack = stack_of(side, BLOCK)
    slices = [stack.read([place])[0].numpy() for place in range(BLOCK)]
    held = replace(stack, load=lambda place: slices[place])
    scorer = load_scorer(run, na=0.4, wavelength_nm=520, index=1.45)
    assert scorer is not None
    places = range(0, BLOCK, 2)
    planes = held.read(places)
    sample = Sample(planes, places, survey_slices(planes, places, drifts=True))
    seconds = []
    for _ in range(2):
        start = time.process_time()
        score = scorer.begin(sample, held, None, "sweep")
        for place in range(0, BLOCK, 4):
            score(held.read(range(place, place + 4)), range(place, place + 4))
        seconds.append(time.process_time() - start)
    return 1000 * min(seconds) / BLOCK


def peak_mb(side: int, count: int, run: str | None) -> float:
    """Peak memory in MB of judging a stack of `count` slices, in a process of its own; on Linux."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak, (side, count, run))


def _peak(side: int, count: int, run: str | None) -> float:
    torch.set_num_threads(1)
    score_stack(stack_of(side, count), "sweep", scorer=load_scorer(run))
    # Not getrusage: there a new process starts with what the one before it held.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


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
    found = {name: 1000 * min(times) for name, times in seconds.items()}
    return found | {"survey": found["survey"] / SURVEYED}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", type=int, default=1024, help="of the slice, in pixels")
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--stem", help="RUN of a stem")
    parser.add_argument("--context", help="RUN of a head with an encoder")
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measure(options.side, options.repeats)
    heads = {"stem": options.stem, "context": options.context}
    found |= {name: head_ms(run, options.side) for name, run in heads.items() if run}
    ratios = {name: ms / found["rfft2"] for name, ms in found.items()}
    for name, ms in found.items():
        aim = f" (at most {AIMS[name]:g})" if name in AIMS else ""
        print(f"{name:24s} {ms:8.2f} ms {ratios[name]:7.2f} rfft2{aim}")
    peaks = {}
    for name, run in {"default": None, **heads}.items():
        if name == "default" or run is not None:
            peaks[name] = [peak_mb(options.side, count, run) for count in (40, 120)]
            few, many = peaks[name]
            print(f"peak memory, {name}: {few:.0f} MB of 40 slices, {many:.0f} MB of 120")
    if options.out is not None:
        told = {
            "peak_mb": peaks,
            "side": options.side,
            "threads": options.threads,
            "ms": found,
            "ratios": ratios,
        }
        options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
