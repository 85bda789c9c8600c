"""What is learnt on simulated volumes alone is worth on real ones: a small U-Net against Otsu.

For each structure a MONAI U-Net (InstanceNorm, 12-24-48-96 channels) sees simulated crops only,
for a given time on a given number of threads. On real labelled crops its Dice, at the threshold
0.5, stands beside that of an Otsu threshold on the smoothed crop; its smoothing is chosen on the
very crops that it is tested on, which favours it.

    python benchmarks/sim_to_real.py --real LIST.csv --minutes 10 --out sim_to_real.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_dilation, gaussian_filter
from skimage.filters import threshold_otsu
from torch import Tensor

from luxvox.data.manifest import open_labels, open_row, read_dataset
from luxvox.data.synthetic.recipe import SimulateRecipe
from luxvox.data.synthetic.sample import make_sample

WORDS = {"nuclei": "nucle", "vessels": "vessel", "axons": "axon"}
WIDENED = {"axons": 1}
"""Voxels by which labels are grown before training: dye thinner than a voxel is seen as wide as the
PSF, and experts mark what they see."""
CROP, BATCH = (32, 64, 64), 2
SMOOTHINGS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


def normalise(volume: np.ndarray) -> np.ndarray:
    """asinh of a robust z-score: bright structures are compressed, never cut off."""
    low, middle, high = np.percentile(volume, [16, 50, 84])
    return np.arcsinh((volume - middle) / max((high - low) / 2, 1e-3)).astype(np.float32)


def simulated_pair(number: int, recipe: SimulateRecipe, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Normalised image and label [Z, Y, X] of one sample."""
    sample = make_sample(recipe, 77, number)
    label = sample.scene.labels(name)
    if name in WIDENED:
        label = binary_dilation(label, iterations=WIDENED[name]).astype(np.uint8)
    return normalise(sample.image.astype(np.float32)), label


def real_pairs(
    lists: list[str], name: str
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """(id, image, label, counts) [Z, Y, X] of the labelled real crops of a structure."""
    for row in (row for source in lists for row in read_dataset(source)):
        if row.labels is None or WORDS[name] not in (row.structure or "").lower():
            continue
        image = open_row(row).read()[0].astype(np.float32)
        labels = open_labels(row).read()[0]
        wanted = row.foreground_label
        truth = labels == wanted if wanted is not None else labels > 0
        counts = ~np.isin(labels, row.ignore_label or ())
        yield row.id, image, truth, counts


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Overlap of two masks; 1 where both are empty."""
    both = found.sum() + truth.sum()
    return 1.0 if both == 0 else float(2 * (found & truth).sum() / both)


def otsu(image: np.ndarray, sigma: float) -> np.ndarray:
    """Otsu's threshold on the smoothed crop."""
    smooth = gaussian_filter(image, sigma) if sigma else image
    return smooth > threshold_otsu(smooth)


def make_net() -> torch.nn.Module:
    from monai.networks.nets.unet import UNet

    net = UNet(
        spatial_dims=3, in_channels=1, out_channels=1, channels=(12, 24, 48, 96),
        strides=(2, 2, 2), num_res_units=1, norm="INSTANCE",
    )  # fmt: skip
    # Structures are rare: start from "no", as focal losses do (arXiv 1708.02002, 4.1).
    biases = [p for name, p in net.named_parameters() if name.endswith("bias") and p.numel() == 1]
    with torch.no_grad():
        for bias in biases:
            bias.fill_(-3.0)
    return net


def train(
    name: str, minutes: float, threads: int, pool: ProcessPoolExecutor
) -> tuple[torch.nn.Module, int]:
    """Train on fresh simulated crops, each seen a few times, turned and mirrored."""
    from monai.losses.dice import DiceCELoss

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    net, loss_of = (
        make_net().train(),
        DiceCELoss(sigmoid=True, batch=True, weight=torch.tensor(5.0)),
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-3)
    recipe = SimulateRecipe(size=CROP, structures=(name,))
    rng, bank, coming, number = np.random.default_rng(0), [], [], 0
    start, steps = time.monotonic(), 0
    while (passed := (time.monotonic() - start) / (60 * minutes)) < 1:
        while len(coming) < 4:
            coming.append(pool.submit(simulated_pair, number, recipe, name))
            number += 1
        while coming and (coming[0].done() or len(bank) < BATCH):
            bank.append(coming.pop(0).result())
        bank = bank[-400:]
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * min(1.0, steps / 50 + 0.02) * min(1.0, 4 * (1 - passed) + 0.01)
        # Crops with more to learn from come more often; none is left out.
        weight = np.sqrt([label.mean() + 1e-3 for _, label in bank])
        picked = rng.choice(len(bank), size=BATCH, p=weight / weight.sum())
        chosen = [bank[i] for i in picked]
        image, label = (
            torch.stack([torch.from_numpy(pair[part].astype(np.float32))[None] for pair in chosen])
            for part in (0, 1)
        )
        axes = [axis for axis in (2, 3, 4) if rng.random() < 0.5]
        image, label = image.flip(axes), label.flip(axes)
        if rng.random() < 0.5:
            image, label = image.transpose(3, 4), label.transpose(3, 4)
        optimiser.zero_grad()
        loss = loss_of(net(image), label)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        steps += 1
    for task in coming:
        task.cancel()
    return net.eval(), steps


@torch.no_grad()
def segment(net: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    """Mask [Z, Y, X] of a whole crop, mean over four flips."""
    from monai.inferers.utils import sliding_window_inference

    volume = torch.from_numpy(normalise(image))[None, None]
    total: Tensor | float = 0.0
    for axes in ((), (3,), (4,), (3, 4)):
        part = sliding_window_inference(volume.flip(axes), CROP, 2, net, 0.5, mode="gaussian")
        assert isinstance(part, Tensor)
        total = total + part.sigmoid().flip(axes)
    return (total / 4 > 0.5)[0, 0].numpy()


def compare(lists: list[str], name: str, minutes: float, threads: int) -> dict:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        net, steps = train(name, minutes, threads, pool)
    pairs = list(real_pairs(lists, name))
    ours = {
        key: dice(segment(net, image) & counts, truth & counts)
        for key, image, truth, counts in pairs
    }
    by_sigma = {
        sigma: {
            key: dice(otsu(image, sigma) & counts, truth & counts)
            for key, image, truth, counts in pairs
        }
        for sigma in SMOOTHINGS
    }
    best = max(SMOOTHINGS, key=lambda sigma: np.mean(list(by_sigma[sigma].values())))
    return {
        "crops": len(pairs),
        "steps": steps,
        "dice": float(np.mean(list(ours.values()))),
        "otsu_dice": float(np.mean(list(by_sigma[best].values()))),
        "otsu_sigma": best,
        "samples": {key: {"dice": ours[key], "otsu_dice": by_sigma[best][key]} for key in ours},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", action="append", required=True, help="labelled list; repeatable")
    parser.add_argument("--structures", default=",".join(WORDS))
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, each structure")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    arguments = parser.parse_args()
    result = {
        name: compare(arguments.real, name, arguments.minutes, arguments.threads)
        for name in arguments.structures.split(",")
    }
    text = json.dumps(result, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
