"""Small labelled stacks for the focus head: points through focus, without the simulator."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from luxvox.finetune.focus.head_stack import LabelledStack, Lens

LENS = Lens(na=0.3, wavelength_um=0.52, index=1.45, pixel_um=1.0)
STAINS = ("lectin", "DAPI")
STEP_DOF = 0.7


def stack(seed: int, mode: str = "sweep", slices: int = 9, side: int = 64) -> LabelledStack:
    """Blur grows by 1.2 pixels with each depth of field; in a volume each slice is other tissue."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(1, slices - 2)
    distance = np.abs(np.arange(slices) - middle) * STEP_DOF
    dye = (rng.random((slices, side, side)) < 0.02) * rng.uniform(200, 900)
    if mode == "sweep":
        dye = np.broadcast_to(dye[:1], dye.shape)
    light = [
        gaussian_filter(p, 0.8 + 1.2 * d, mode="wrap") for p, d in zip(dye, distance, strict=True)
    ]
    counts = rng.poisson(np.stack(light) + 5) + 100 + rng.normal(0, 1, dye.shape)
    truth = torch.tensor(distance, dtype=torch.float32)[:, None, None].expand(-1, 1, 1)
    return LabelledStack(
        images=torch.from_numpy(counts.astype(np.float32)),
        defocus_dof=truth,
        mode=mode,  # pyright: ignore[reportArgumentType]
        specimen=f"animal {seed}",
        lens=LENS,
        stain=STAINS[seed % 2],
        foreground=torch.ones(slices, 1, 1, 8, 8),
    )


def empty_stack(seed: int) -> LabelledStack:
    """Noise, and no known distance."""
    full = stack(seed)
    rng = torch.Generator().manual_seed(seed)
    return LabelledStack(
        images=100 + 3 * torch.randn(full.images.shape, generator=rng).round(),
        defocus_dof=torch.full_like(full.defocus_dof, torch.nan),
        mode="sweep",
        specimen=f"empty {seed}",
        foreground=torch.zeros_like(full.foreground),
    )


class Tower:
    """Stands in for the sentence encoder: a vector of its own for every text."""

    def encode(self, texts):
        seeds = [sum(map(ord, text)) for text in texts]
        return torch.stack(
            [torch.randn(16, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        )
