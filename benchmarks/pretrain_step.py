"""Crops per second of a pretraining step: ours beside MONAI's masked autoencoder and SwinUNETR.

One step is forward and backward of the masked objective on random 64^3 crops, masks drawn inside.
The two autoencoders have encoders alike (patch 8, width 192, depth 6, 3 heads, 75 % hidden) and
decoders 96 wide: 4 layers for MONAI's, 2 for ours, as shipped (4 rebuild slightly better;
`ours_four_layers` has as many). All run in one process and take turns, so that a busy machine slows
all.

    python benchmarks/pretrain_step.py --threads 2 --out pretrain_step.json
    python benchmarks/pretrain_step.py --device cuda --batch 128 --out pretrain_step_gpu.json

What differs by design: MONAI decodes every token of the crop and its loss takes the hidden ones;
ours decodes a random third of the hidden patches (25 % of all) by cross-attention;
`ours_all_hidden` decodes all of them. SwinUNETR runs bare, on fewer crops at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from luxvox.models.encoder import Encoded, Encoder
from luxvox.models.losses.contrastive import contrastive_loss
from luxvox.models.losses.frequency import frequency_loss
from luxvox.models.losses.masked import masked_patch_loss
from luxvox.models.masked_decoder import MaskedDecoder
from luxvox.models.patch_embed import gather_patches
from luxvox.models.pool import AttentionPool
from luxvox.models.sizes import SIZES, DecoderConfig, EncoderConfig
from luxvox.models.text import Projector

SIDE, PATCH, HIDDEN_SHARE, DECODED_SHARE = 64, 8, 0.75, 0.25
TOKENS = (SIDE // PATCH) ** 3
COMPARED = EncoderConfig(width=192, depth=6, heads=3)
DECODER = DecoderConfig(width=96, heads=3)
FOUR_LAYERS = DecoderConfig(width=96, depth=4, heads=3)
PEAK_BF16_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bf16 tensor-core peaks, from NVIDIA's data sheets (SXM)."""


class Ours(nn.Module):
    """Masked objective of luxvox; `decoded` patches of each crop are rebuilt."""

    def __init__(self, config: EncoderConfig, decoder: DecoderConfig, decoded: int) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(config), MaskedDecoder(decoder, config)
        self.patch, self.decoded = config.patch, decoded

    def masked_terms(self, crop: Tensor) -> tuple[Tensor, Encoded]:
        """The loss of crops [B, 1, Z, Y, X], and their tokens."""
        batch, kept = len(crop), round(TOKENS * (1 - HIDDEN_SHARE))
        order = torch.rand(batch, TOKENS, device=crop.device).argsort(1)
        keep, query = order[:, :kept], order[:, kept : kept + self.decoded]
        voxel = crop.new_ones(batch, 3)
        known = torch.ones(batch, dtype=torch.bool, device=crop.device)
        encoded = self.encoder(crop, voxel, known, keep)
        prediction = self.decoder(encoded, encoded.query_positions_um(query))
        target = gather_patches(crop, self.patch, query)
        noise, counts = crop.new_full((batch,), 0.1), torch.ones_like(query, dtype=torch.bool)
        terms = masked_patch_loss(prediction, target, noise, counts)
        frequency = frequency_loss(prediction, target, noise, counts, self.patch)
        return torch.stack([*terms.values(), 0.05 * frequency]).sum(), encoded

    def forward(self, crop: Tensor) -> Tensor:
        """Loss of crops [B, 1, Z, Y, X]."""
        return self.masked_terms(crop)[0]


class OursWithText(Ours):
    """The full step: masked and text objectives; caption vectors are cached, as in a run."""

    def __init__(self, config: EncoderConfig, decoder: DecoderConfig, decoded: int) -> None:
        super().__init__(config, decoder, decoded)
        self.pool = AttentionPool(config.width, config.heads)
        self.project_image, self.project_text = Projector(config.width), Projector(384)
        self.register_buffer("captions", torch.randn(16, 384))

    def forward(self, crop: Tensor) -> Tensor:
        """Loss of crops [B, 1, Z, Y, X]."""
        loss, encoded = self.masked_terms(crop)
        ids = torch.arange(len(crop), device=crop.device) % 16
        text_ids = torch.arange(16, device=crop.device)
        image, text = self.project_image(self.pool(encoded)), self.project_text(self.captions)
        aligned = contrastive_loss(image, ids, text, text_ids, crop.new_tensor(14.3))
        return loss + 0.1 * aligned.loss


class MonaiMae(nn.Module):
    """MONAI's MaskedAutoEncoderViT of equal sizes; an MLP of 4 x width weighs what SwiGLU does."""

    def __init__(self, config: EncoderConfig, decoder: DecoderConfig) -> None:
        super().__init__()
        from monai.networks.nets.masked_autoencoder_vit import MaskedAutoEncoderViT

        self.net = MaskedAutoEncoderViT(
            in_channels=1,
            img_size=(SIDE,) * 3,
            patch_size=(PATCH,) * 3,
            hidden_size=config.width,
            mlp_dim=4 * config.width,
            num_layers=config.depth,
            num_heads=config.heads,
            masking_ratio=HIDDEN_SHARE,
            decoder_hidden_size=decoder.width,
            decoder_mlp_dim=4 * decoder.width,
            decoder_num_layers=decoder.depth,
            decoder_num_heads=decoder.heads,
        )

    def forward(self, crop: Tensor) -> Tensor:
        """Loss of crops [B, 1, Z, Y, X]."""
        rebuilt, mask = self.net(crop)
        target = rearrange(
            crop, "b c (z p) (y q) (x r) -> b (z y x) (p q r c)", p=PATCH, q=PATCH, r=PATCH
        )
        error = (rebuilt.float() - target).square().mean(-1)
        return (error * mask).sum() / mask.sum()


class BareSwin(nn.Module):
    """The reference system's network alone: no teacher, no second view, one output channel."""

    def __init__(self) -> None:
        super().__init__()
        from monai.networks.nets.swin_unetr import SwinUNETR

        self.net = SwinUNETR(in_channels=1, out_channels=1, feature_size=24)

    def forward(self, crop: Tensor) -> Tensor:
        """Loss of crops [B, 1, Z, Y, X]."""
        return F.mse_loss(self.net(crop).float(), crop)


class Contender:
    """One network, its batch and its measured times."""

    def __init__(
        self, name: str, module: nn.Module, batch: int, device: str, low: bool, every: int = 1
    ) -> None:
        self.name, self.batch, self.device, self.every = name, batch, device, every
        self.module = module.to(device).train()
        self.low = low  # bf16 autocast and torch.compile
        self.call: Callable[[Tensor], Tensor] = torch.compile(self.module) if low else self.module
        self.crop = torch.randn(batch, 1, SIDE, SIDE, SIDE, device=device)
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []  # of this process: what waiting for others leaves out

    def step(self) -> None:
        """Forward and backward once."""
        for parameter in self.module.parameters():
            parameter.grad = None
        with torch.autocast(self.device, torch.bfloat16, enabled=self.low):
            loss = self.call(self.crop)
        loss.backward()
        if self.device == "cuda":
            torch.cuda.synchronize()

    def measure(self, steps: int) -> None:
        """Time a few steps in a row, as a run makes them.

        One step goes before, untimed: whoever follows SwinUNETR (gigabytes, given back to the
        system) pays for fresh memory in its first step, which is no cost of its own.
        """
        self.step()
        start, cpu_start = time.perf_counter(), time.process_time()
        for _ in range(steps):
            self.step()
        self.seconds.append((time.perf_counter() - start) / steps)
        self.cpu_seconds.append((time.process_time() - cpu_start) / steps)

    def crops_per_second(self) -> float:
        """Median over the repeats."""
        return self.batch / statistics.median(self.seconds)


def take_turns(contenders: list[Contender], repeats: int, warm_up: int) -> None:
    """Measure in turns of 3 steps; one with `every` n runs one step in each n-th round only."""
    for contender in contenders:
        for _ in range(warm_up if contender.every == 1 else 1):
            contender.step()
    for round_ in range(repeats):
        for contender in contenders:
            if round_ % contender.every == 0:
                contender.measure(3 if contender.every == 1 else 1)


def ratio(slower: list[float], faster: list[float]) -> float:
    """Median over the rounds of how many times as long the one takes as the other."""
    return statistics.median(s / f for s, f in zip(slower, faster, strict=True))


def forward_flops(module: nn.Module, crop: Tensor) -> int:
    """Operations of matrix products and attention, 2 per multiply-add, forward only."""
    with FlopCounterMode(display=False) as counter:
        module(crop)
    return counter.get_total_flops()


def utilisation(size: str, batch: int, repeats: int) -> dict[str, float | str]:
    """Model FLOPs utilisation of a full step of one size on the GPU; backward = 2 x forward."""
    config = SIZES[size]
    model = OursWithText(config, DecoderConfig(width=256, depth=4, heads=4), decoded=TOKENS // 4)
    contender = Contender(f"ours_{size}", model, batch, "cuda", low=True)
    per_crop = 3 * forward_flops(contender.module, contender.crop[:2]) / 2
    take_turns([contender], repeats, warm_up=5)
    name = torch.cuda.get_device_name()
    peak = next((peak for key, peak in PEAK_BF16_FLOPS.items() if key in name), float("nan"))
    achieved = contender.crops_per_second() * per_crop
    return {
        "size": size,
        "batch": batch,
        "crops_per_second": contender.crops_per_second(),
        "flops_per_crop": per_crop,
        "achieved_tflops": achieved / 1e12,
        "assumed_peak_tflops": peak / 1e12,
        "model_flops_utilisation": achieved / peak,
    }


def compare(batch: int, device: str, low: bool, repeats: int, swin_batch: int) -> dict:
    """All contenders side by side."""
    decoded, hidden = round(TOKENS * DECODED_SHARE), round(TOKENS * HIDDEN_SHARE)
    torch.manual_seed(0)
    contenders = [
        Contender("ours", Ours(COMPARED, DECODER, decoded), batch, device, low),
        Contender("monai_mae", MonaiMae(COMPARED, FOUR_LAYERS), batch, device, low),
        Contender("ours_four_layers", Ours(COMPARED, FOUR_LAYERS, decoded), batch, device, low),
        Contender("ours_all_hidden", Ours(COMPARED, DECODER, hidden), batch, device, low),
        Contender("ours_with_text", OursWithText(COMPARED, DECODER, decoded), batch, device, low),
        Contender("swinunetr", BareSwin(), swin_batch, device, low, every=max(1, repeats // 3)),
    ]
    gigaflops = {
        c.name: forward_flops(c.module, c.crop[:1]) / 1e9
        for c in contenders
        if c.name != "swinunetr"
    }
    take_turns(contenders, repeats, warm_up=3)
    rates = {contender.name: contender.crops_per_second() for contender in contenders}
    ours, monai = contenders[0], contenders[1]
    return {
        "ratio_monai_mae": ratio(monai.seconds, ours.seconds),
        "ratio_monai_mae_cpu_time": ratio(monai.cpu_seconds, ours.cpu_seconds),
        "ratio_monai_mae_four_layers": ratio(monai.seconds, contenders[2].seconds),
        "ratio_monai_mae_all_hidden_decoded": ratio(monai.seconds, contenders[3].seconds),
        "ratio_reference_swinunetr": rates["ours"] / rates["swinunetr"],
        "crops_per_second": rates,
        "seconds_per_step": {c.name: c.seconds for c in contenders},
        "load_average": os.getloadavg()[0],
        "batch": {c.name: c.batch for c in contenders},
        "forward_gigaflops_per_crop": gigaflops,
        "tokens": {
            "per_crop": TOKENS,
            "encoded": TOKENS - hidden,
            "decoded_ours": decoded,
            "decoded_ours_all_hidden": hidden,
            "decoded_monai_mae": TOKENS,
        },
        "precision": "bf16 autocast + torch.compile" if low else "fp32, eager",
    }


def wait_politely() -> None:
    """Start again with OpenMP threads that spin briefly, then sleep; it is read at start only.

    On a machine that others use, endless spinning costs every contender a factor of ten. (Even so
    a second thread that has lost its core holds up our short operations more than MONAI's long
    ones: where `load_average` is above the number of threads, believe the ratio of CPU time.)
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ["GOMP_SPINCOUNT"] = "1000"
        os.execv(sys.executable, [sys.executable, *sys.argv])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument(
        "--size", choices=tuple(SIZES), default="small", help="for utilisation (GPU)"
    )
    parser.add_argument("--size-batch", type=int, default=256)
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    arguments = parser.parse_args()
    wait_politely()
    torch.set_num_threads(arguments.threads)
    on_gpu = arguments.device == "cuda"
    result: dict = {
        "torch": torch.__version__,
        "machine": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "cores": os.cpu_count(),
        "threads": arguments.threads,
    }
    swin_batch = min(arguments.batch, 16) if on_gpu else 1
    result |= compare(arguments.batch, arguments.device, on_gpu, arguments.repeats, swin_batch)
    if on_gpu:
        result["utilisation"] = utilisation(arguments.size, arguments.size_batch, arguments.repeats)
    text = json.dumps(result, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
