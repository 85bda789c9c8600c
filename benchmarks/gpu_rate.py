"""The first minute of a burst: how fast both stages step here, and how many steps fit the time.

Steps are those of training itself, with data, optimiser and average. Model FLOPs utilisation (MFU)
counts matrix products, convolutions and attention of the model's own forward and backward, against
the bf16 peak of the device; of an unknown device, or in another precision, it is left out.

    python benchmarks/gpu_rate.py --bank BANK --size tiny --minutes 28 --out rate.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from pretrain_step import PEAK_BF16_FLOPS
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from luxvox.configs.errors import InputError
from luxvox.configs.load import load_recipe
from luxvox.data.loader import collate, make_loader
from luxvox.data.synthetic.stock import SceneStock
from luxvox.models.text import TextTower
from luxvox.pretrain.build import build_learner, make_accelerator
from luxvox.pretrain.corpus import open_corpus
from luxvox.pretrain.dense.real import open_real
from luxvox.pretrain.dense.recipe import DenseRecipe
from luxvox.pretrain.dense.run import build_dense
from luxvox.pretrain.dense.step import draw_step
from luxvox.pretrain.dense.targets import structure_words
from luxvox.pretrain.ema import Ema
from luxvox.pretrain.loop import StepReport, prepare, train
from luxvox.pretrain.optimizer import make_optimizer
from luxvox.pretrain.recipe import PretrainRecipe
from luxvox.pretrain.state import Position
from luxvox.pretrain.stop import StopRequests

WARM_UP = 3
COUNTED = 4  # crops that FLOPs are counted on
SHARE_A = 0.4  # of the time that trains, for stage A
RESERVE = 0.15  # of the time that is left: evaluation, checkpoints, and a rate that was luck
FEWEST = 10  # steps, however short the time
ENDLESS = 10**7


class Window:
    """Counts crops from the end of the warm-up until enough seconds have passed."""

    def __init__(self, warm_up: int, seconds: float) -> None:
        self.warm_up, self.seconds = warm_up, seconds
        self.steps = self.crops = 0
        self.passed = 0.0

    def step(self, crops: int) -> bool:
        """Note one step; True when the window is over."""
        self.steps += 1
        now = time.perf_counter()
        if self.steps <= self.warm_up:
            self.began = now
            return False
        self.crops += crops
        self.passed = now - self.began
        return self.passed >= self.seconds

    def rate(self) -> float:
        """Crops per second."""
        return self.crops / self.passed


def rate_of_stage_a(recipe: PretrainRecipe, seconds: float) -> dict[str, float]:
    """Steps of stage A as `luxvox pretrain` makes them."""
    began = time.perf_counter()
    accelerator = make_accelerator(recipe)
    corpus = open_corpus(recipe, shown=False)
    learner = build_learner(recipe, corpus, accelerator)
    window, stops = Window(WARM_UP, seconds), StopRequests(save_minutes=1e6)
    ready = waited = 0.0

    def after_step(position: Position, report: StepReport) -> None:
        nonlocal ready, waited
        if position.step == WARM_UP:
            ready = time.perf_counter() - began
        waited += report.waited if position.step > WARM_UP else 0.0
        stops.stop = window.step(report.crops)

    size = recipe.batch_size * recipe.accumulate
    with make_loader(
        corpus.train, seed=recipe.seed, batch_size=size, num_steps=ENDLESS,
        workers=recipe.data.workers,
    ) as batches:  # fmt: skip
        train(learner, recipe, batches, Position(0, ENDLESS, ENDLESS), stops, after_step)

    chosen = corpus.train.choose(recipe.seed, 0, COUNTED)
    samples = [corpus.train.sample(n, recipe.seed, int(v)) for n, v in enumerate(chosen)]
    batch, masks = prepare(collate(samples), recipe, accelerator.device)[0]
    captions = None
    if learner.captions is not None:
        ids = batch["caption_id"]
        captions = learner.captions.draw(ids, recipe.seed, 0, accelerator.device)

    def once() -> None:
        accelerator.backward(learner.wrapped("learn", batch, masks, captions)["loss"])

    flops = counted_flops(once, accelerator) / len(batch["crop"])
    return {
        "batch_size": size,
        "crops_per_second": window.rate(),
        "data_wait_fraction": waited / window.passed,
        "start_seconds": ready,
        "flops_per_crop": flops,
    }


def rate_of_stage_b(recipe: DenseRecipe, seconds: float) -> dict[str, float]:
    """Steps of stage B as `luxvox pretrain` makes them; the size of the encoder is the recipe's."""
    began = time.perf_counter()
    accelerator = Accelerator(mixed_precision=recipe.precision, cpu=recipe.device == "cpu")
    device = accelerator.device
    tower = TextTower(recipe.text_folder)
    words = structure_words(tower).to(device)
    model = build_dense(recipe, tower.width)[0].to(memory_format=torch.channels_last_3d)
    patch = model.dense.encoder.config.patch
    optimizer = make_optimizer(model, recipe.optim)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    wrapped.train()
    bare = accelerator.unwrap_model(wrapped)
    ema = Ema(bare, recipe.optim.ema)
    real = open_real(recipe.real, recipe.stock.crop) if recipe.real is not None else None
    # Every kind of scene once before the clock starts: the first ones have to be drawn.
    warm_up = WARM_UP + len(recipe.stock.voxel_sizes_um)
    window, step, over, ready = Window(warm_up, seconds), 0, False, 0.0
    with SceneStock(recipe.stock, recipe.seed, str(device), recipe.workers) as stock:
        while not over:
            inputs = draw_step(recipe, stock, real, words, patch, step)
            optimizer.zero_grad(set_to_none=True)
            with accelerator.autocast():
                loss = wrapped(*inputs)["loss"]
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(wrapped.parameters(), recipe.optim.clip)
            optimizer.step()
            ema.update(bare, step)
            float(norm)  # waits for the device, as training does
            over, step = window.step(recipe.batch_size), step + 1
            if step == warm_up:
                ready = time.perf_counter() - began
        few = recipe.model_copy(update={"batch_size": min(COUNTED, recipe.batch_size)})
        inputs = draw_step(few, stock, None, words, patch, step)

    def once() -> None:
        accelerator.backward(wrapped(*inputs)["loss"])

    flops = counted_flops(once, accelerator) / few.batch_size
    return {
        "batch_size": recipe.batch_size,
        "crops_per_second": window.rate(),
        "start_seconds": ready,
        "flops_per_crop": flops,
    }


def counted_flops(once: Callable[[], None], accelerator: Accelerator) -> int:
    """Operations of one forward and backward, 2 per multiply-add."""
    # Attention as plain matrix products: not every fused kernel is known to the counter.
    with sdpa_kernel(SDPBackend.MATH), accelerator.autocast():
        with FlopCounterMode(display=False) as counter:
            once()
    return counter.get_total_flops()


def peak_of(device: str, precision: str) -> float | None:
    """Operations per second that a device may reach; None where that is not known."""
    if precision != "bf16" or "PCIe" in device or "NVL" in device:
        return None  # the table holds the SXM boards
    return next((peak for name, peak in PEAK_BF16_FLOPS.items() if name in device), None)


def planned_steps(seconds: float, a: dict[str, float], b: dict[str, float]) -> dict[str, int]:
    """How many steps of either stage fit.

    Args:
        seconds: left for both, starts and evaluations included.
        a: rate of stage A: crops_per_second, batch_size, start_seconds.
        b: the same of stage B.
    """
    usable = max(0.0, (1 - RESERVE) * seconds - a["start_seconds"] - b["start_seconds"])
    return {
        name: max(FEWEST, int(share * usable * rate["crops_per_second"] / rate["batch_size"]))
        for name, share, rate in (("a", SHARE_A, a), ("b", 1 - SHARE_A, b))
    }


def measure(arguments: argparse.Namespace, began: float) -> dict:
    """Everything that rate.json says."""
    size, bank = arguments.size, arguments.bank
    with tempfile.TemporaryDirectory() as out:
        words = [f'data="{bank}"', f'out="{out}"', "tracker=none", *arguments.a]
        recipe = load_recipe(f"gpu_30min_{size}", PretrainRecipe, words)
        dense = load_recipe(
            f"dense_gpu_{size}",
            DenseRecipe,
            [f'real="{bank}"', f'out="{out}"', *arguments.b],
        )
        a = rate_of_stage_a(recipe, arguments.seconds)
        b = rate_of_stage_b(dense, arguments.seconds)
    on_gpu = torch.cuda.is_available() and recipe.device != "cpu"
    device = torch.cuda.get_device_name() if on_gpu else platform.machine()
    for rate, precision in ((a, recipe.precision), (b, dense.precision)):
        if (peak := peak_of(device, precision)) is not None:
            rate["mfu"] = rate["crops_per_second"] * rate["flops_per_crop"] / peak
    measured = time.perf_counter() - began
    return {
        "device": device,
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "size": size,
        "minutes": arguments.minutes,
        "measuring_seconds": measured,
        "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None,
        "stage_a": a,
        "stage_b": b,
        "steps": planned_steps(60 * arguments.minutes - measured, a, b),
    }


def main(words: Sequence[str] | None = None) -> int:
    began = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bank", required=True, help="from luxvox bank")
    parser.add_argument("--size", choices=("tiny", "small"), required=True)
    parser.add_argument("--minutes", type=float, required=True, help="for all of it")
    parser.add_argument("--seconds", type=float, default=15.0, help="timed, of each stage")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--a", nargs="*", default=[], help="key=value of stage A")
    parser.add_argument("--b", nargs="*", default=[], help="key=value of stage B")
    arguments = parser.parse_args(words)
    try:
        result = measure(arguments, began)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text = json.dumps(result, indent=2)
    partial = arguments.out.with_suffix(".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(arguments.out)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
