"""How real simulated volumes look: spectra, histograms, and whether a linear probe can tell.

For every structure, crops of real volumes (grouped by parent volume) are set beside simulated ones:

- `inside`: share of the bins of a real crop's power spectrum that lie in the 5-95 % band of the
  simulated crops, mean over real crops; `crops_inside`: share of real crops with at least 80 %.
  The same for intensity histograms (quantiles).
- `auc`: area under the ROC curve of a logistic regression on spectra and histograms, real against
  simulated, tested on parent volumes that it was not trained on; 0.5 = cannot tell.
- `without`: that area when one effect of the optics is left out of the simulation. Where it rises,
  the effect brings realism.

    python benchmarks/realism.py --real LIST.csv --real LIST2.csv --count 80 --out realism.json
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from luxvox.data.draws import keyed_rng
from luxvox.data.manifest import open_row, read_dataset
from luxvox.data.optics import OpticsRanges
from luxvox.data.synthetic.recipe import SimulateRecipe
from luxvox.data.synthetic.sample import make_sample
from luxvox.report.contact_sheet import Tile, contact_sheet

TITLES = {
    "nuclei": ("nuclei", "nucleus"),
    "vessels": ("vessel",),
    "microglia": ("microglia",),
    "axons": ("axon",),
    "plaques": ("plaque",),
}
"""Which words of a list's `structure` and `caption` mean which structure of the simulator."""

SIZE = (16, 64, 64)
"""Of a crop, in voxels; some real volumes are 15 to 20 planes deep (they give one crop)."""

LEFT_OUT: dict[str, dict] = {
    "noise": {"photons": (1e6, 1e6), "read_noise": (0.0, 0.0), "hot_pixels": (0.0, 0.0)},
    "haze": {"haze": (0.0, 0.0)},
    "stripes": {"stripes": (0.0, 0.0)},
    "defocus": {"defocus_um": (0.0, 0.0), "tilt": (0.0, 0.0), "drift": (0.0, 0.0)},
    "storage": {"resampled": 0.0, "cut": 0.0, "bits_8": 0.0},
    "scattering": {"scatter_um_per_mm": (0.0, 0.0)},
    "diffraction": {"na": (1.2, 1.2), "sheet_waist_um": (1.0, 1.0), "defocus_um": (0.0, 0.0)},
}

TILES = 4  # crops of each kind on the contact sheet
SPECTRUM_BINS, QUANTILES = 16, np.linspace(0.5, 99.9, 20)


def describe(crop: np.ndarray) -> np.ndarray:
    """[bins + quantiles]: log power in rings of spatial frequency, and the shape of the histogram.

    Neither knows gain or offset: power is a share of the whole, intensities are in units of the
    crop's own spread (median to the 99.9th percentile).
    """
    crop = crop.astype(np.float64)
    window = np.hanning(crop.shape[1])[:, None] * np.hanning(crop.shape[2])
    centred = (crop - crop.mean(axis=(1, 2), keepdims=True)) * window
    power = (np.abs(np.fft.fft2(centred)) ** 2).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in crop.shape[1:]), indexing="ij"))
    edges = np.linspace(0.5 / max(crop.shape), 0.5, SPECTRUM_BINS + 1)
    ring = np.digitize(frequency, edges) - 1
    spectrum = np.array([power[ring == number].mean() for number in range(SPECTRUM_BINS)])
    low, middle, high = np.percentile(crop, [0.5, 50, 99.9])
    quantiles = (np.percentile(crop, QUANTILES) - middle) / max(high - low, 1e-9)
    return np.concatenate([np.log10(spectrum / max(spectrum.sum(), 1e-12) + 1e-12), quantiles])


def real_crops(lists: list[str], name: str, most: int) -> Iterator[tuple[str, np.ndarray]]:
    """(group, crop) of the real volumes that show a structure, a few of each, at fixed places."""
    seen: set[Path] = set()
    for row in (row for source in lists for row in read_dataset(source)):
        words = f"{row.structure or ''} {row.class_name or ''}".lower()
        if row.image in seen or not any(title in words for title in TITLES[name]):
            continue
        seen.add(row.image)
        volume = open_row(row)
        rng = keyed_rng("realism", 0, len(seen))
        shape = [min(s, n) for s, n in zip(SIZE, volume.shape, strict=True)]
        for _ in range(most if volume.shape[0] >= 2 * SIZE[0] else 1):
            room = [n - s for n, s in zip(volume.shape, shape, strict=True)]
            origin = [int(rng.integers(r + 1)) for r in room]
            crop = volume.read(origin, shape)[0]
            if crop.max() > crop.min():
                yield row.group, crop


def simulated_crop(number: int, recipe: SimulateRecipe, seed: int) -> np.ndarray:
    """One simulated crop of that number."""
    return make_sample(recipe, seed, number).image


def simulated(name: str, count: int, seed: int, pool: ProcessPoolExecutor, **optics) -> np.ndarray:
    """[count, features] of simulated crops of a structure."""
    recipe = SimulateRecipe(size=SIZE, structures=(name,), optics=OpticsRanges(**optics))
    make = partial(simulated_crop, recipe=recipe, seed=seed)
    return np.stack([describe(crop) for crop in pool.map(make, range(count), chunksize=4)])


def inside_band(real: np.ndarray, band: np.ndarray) -> dict[str, float]:
    """How many bins of each real crop lie between the 5th and the 95th percentile of simulated."""
    low, high = np.percentile(band, [5, 95], axis=0)
    share = ((real >= low) & (real <= high)).mean(axis=1)
    return {"inside": float(share.mean()), "crops_inside": float((share >= 0.8).mean())}


def probe(real: np.ndarray, groups: list[str], band: np.ndarray) -> float:
    """Area under the ROC curve of telling real from simulated, on groups held out."""
    features = np.concatenate([real, band])
    truth = np.concatenate([np.ones(len(real)), np.zeros(len(band))])
    names = np.array([*groups, *(f"simulated {i}" for i in range(len(band)))])
    folds = GroupKFold(n_splits=min(5, len(set(groups))), shuffle=True, random_state=0)
    scores = np.zeros(len(truth))
    # Real groups are dealt to the folds first, so that every fold tests on some.
    fold_of = np.empty(len(truth), int)
    for part in (truth == 1, truth == 0):
        index = np.flatnonzero(part)
        for number, (_, test) in enumerate(folds.split(index, groups=names[index])):
            fold_of[index[test]] = number
    for number in np.unique(fold_of):
        test = fold_of == number
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
        )
        model.fit(features[~test], truth[~test])
        scores[test] = model.decision_function(features[test])
    return float(roc_auc_score(truth, scores))


def compare(
    lists: list[str], name: str, count: int, ablate: bool, pool: ProcessPoolExecutor
) -> dict:
    """All figures of one structure, and the crops' features for a picture."""
    found = list(real_crops(lists, name, most=4))
    groups, real = [group for group, _ in found], np.stack([describe(crop) for _, crop in found])
    band = simulated(name, count, 11, pool)
    result: dict = {
        "real_crops": len(real),
        "real_groups": len(set(groups)),
        "simulated_crops": count,
        "spectrum": inside_band(real[:, :SPECTRUM_BINS], band[:, :SPECTRUM_BINS]),
        "histogram": inside_band(real[:, SPECTRUM_BINS:], band[:, SPECTRUM_BINS:]),
        "auc": probe(real, groups, band),
    }
    if ablate:
        result["without"] = {
            effect: probe(real, groups, simulated(name, count, 11, pool, **changes))
            for effect, changes in LEFT_OUT.items()
        }
    shown = [crop for _, crop in found][:: max(1, len(found) // TILES)][:TILES]
    return result | {"_real": real, "_simulated": band, "_groups": groups, "_crops": shown}


def draw(results: dict[str, dict], path: Path) -> None:
    """Spectra and histograms, real over the simulated band."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(results), figsize=(4 * len(results), 6), squeeze=False)
    for column, (name, result) in enumerate(results.items()):
        for row, part in enumerate((slice(0, SPECTRUM_BINS), slice(SPECTRUM_BINS, None))):
            panel, band = axes[row, column], result["_simulated"][:, part]
            place = np.arange(band.shape[1])
            panel.fill_between(place, *np.percentile(band, [5, 95], axis=0), alpha=0.3)
            for group in sorted(set(result["_groups"])):
                lines = result["_real"][[g == group for g in result["_groups"]], part]
                panel.plot(place, lines[0], lw=0.6, label=group[:18])
                panel.plot(place, lines[1:].T, lw=0.6, color=panel.lines[-1].get_color())
            panel.set_title(f"{name}: {'spectrum' if row == 0 else 'quantiles'}")
        axes[0, column].set_xlabel(f"AUC {result['auc']:.2f}")
        axes[0, column].legend(fontsize=5)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def draw_sheet(results: dict[str, dict], path: Path) -> None:
    """Crops of both kinds, with the figures of their structure above them."""
    rows = []
    for name, result in results.items():
        recipe = SimulateRecipe(size=SIZE, structures=(name,))
        samples = [make_sample(recipe, 11, number) for number in range(TILES)]
        ours = [
            Tile(sample.image, sample.scene.grid.voxel_size_um, f"simulated {sample.number}")
            for sample in samples
        ]
        theirs = [Tile(crop, None, f"real crop {n}") for n, crop in enumerate(result["_crops"])]
        title = (
            f"{name}: AUC {result['auc']:.2f}; crops in the band: spectra "
            f"{result['spectrum']['crops_inside']:.0%}, histograms "
            f"{result['histogram']['crops_inside']:.0%}"
        )
        rows.append((title, ours, theirs))
    path.write_bytes(contact_sheet(rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", action="append", required=True, help="dataset list; repeatable")
    parser.add_argument("--structures", default=",".join(TITLES))
    parser.add_argument("--count", type=int, default=80, help="simulated crops of a structure")
    parser.add_argument("--ablate", action="store_true", help="leave one effect out at a time")
    parser.add_argument("--out", type=Path, default=None, help="JSON file; two pictures beside it")
    arguments = parser.parse_args()
    results = {}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for name in arguments.structures.split(","):
            results[name] = compare(arguments.real, name, arguments.count, arguments.ablate, pool)
    if arguments.out:
        draw(results, arguments.out.with_suffix(".png"))
        draw_sheet(results, arguments.out.with_name(f"{arguments.out.stem}_sheet.png"))
    shown = {
        name: {key: value for key, value in result.items() if not key.startswith("_")}
        for name, result in results.items()
    }
    text = json.dumps(shown, indent=2)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
