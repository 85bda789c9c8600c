"""RUN/report.html: what a pretraining run has learnt, in numbers, words and pictures.

Reads only what the run wrote, so that it can be made again at any time, also while a run is going.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .figures import DARK, LIGHT, Panel, curves, embedding_map
from .page import Number, Page
from .run_folder import Embeddings, RunFolder, read_run
from .slices import Rebuilt, shorten, slices

MODEL, MEAN, NEAR = "val/masked_error", "val/visible_mean_error", "val/interpolation_error"
FOUND, FOUND_BLIND = "val/retrieval_r1_macro", "val/retrieval_r1_macro_no_spacing"
FOUND_CHANCE = "val/retrieval_chance"
KNN, KNN_CHANCE = "val/knn_accuracy", "val/knn_chance"
SPREAD, RANK = "val/feature_spread", "val/feature_rank"
# Terms of the loss as the history names them, and as a reader does.
TERMS = {
    "total": "loss",
    "patch": "patch",
    "intensity": "intensity",
    "patch mean": "mean",
    "patch spread": "log_std",
    "frequency": "frequency",
    "image and text": "text",
}
MAX_CROPS = 8  # rows of slices on the page
COLLAPSED = 0.1  # feature spread below this: all crops look alike to the model


def write_pretrain_report(run: Path) -> Path:
    """Write one self-contained HTML page about a pretraining run.

    Args:
        run: the run's folder; see `read_run` for the files.

    Returns:
        Path of `report.html` in that folder.

    Raises:
        InputError: no run lies here, or one of its files is damaged.
    """
    files = read_run(Path(run))

    page = Page(
        title=f"Pretraining report: {files.path.resolve().name}",
        lead=_lead(files),
    )
    _add_verdict(page, files)
    _add_slices(page, files.rebuilt)
    _add_curves(page, files)
    _add_map(page, files.embeddings)
    _add_details(page, files)
    return page.write(files.path / "report.html")


def _lead(files: RunFolder) -> str:
    last = files.history[-1] if files.history else {}
    parts = [f"{last['step']:.0f} steps"] if "step" in last else []
    if "time_s" in last:
        parts.append(f"{last['time_s'] / 60:.1f} minutes")
    if "crops_per_second" in files.metrics:
        parts.append(f"{files.metrics['crops_per_second']:.1f} crops per second")
    if not files.metrics:
        parts.append("not finished yet: only what was written so far is shown")
    return " · ".join(parts)


def _add_verdict(page: Page, files: RunFolder) -> None:
    """The headline: plain sentences, then the model beside what it has to beat."""
    found, step = _measured(files)
    page.heading("Has it learnt?")
    if step is not None:
        page.paragraph(f"Measured at step {step:.0f}: the run was stopped, or is still going.")
    elif not any(key.startswith("val/") for key in found):
        page.paragraph(
            "Not measured yet. Let the run come to its end (with --resume, where it was stopped), "
            "or set evaluate.every_steps; without held-back groups nothing can be measured."
        )
    for sentence in _sentences(found):
        page.paragraph(sentence)
    rows: list[list[str | Number]] = []
    for title, key, beside, lower in (
        ("Error on hidden patches", MODEL, (("visible mean", MEAN), ("interpolation", NEAR)), True),
        ("Caption found first (R@1)", FOUND, (("chance", FOUND_CHANCE),), False),
        ("... with the voxel size hidden", FOUND_BLIND, (("chance", FOUND_CHANCE),), False),
        ("Structure named by 5 nearest neighbours", KNN, (("chance", KNN_CHANCE),), False),
    ):
        if key not in found:
            continue
        rivals = {name: found[other] for name, other in beside if other in found}
        best = min(rivals.values(), default=None) if lower else max(rivals.values(), default=None)
        better = None if best is None else (found[key] < best) == lower and found[key] != best
        show = _decimal if lower else _percent
        rows.append(
            [
                f"{title} ({'lower' if lower else 'higher'} is better)",
                Number(show(found[key]), better),
                ", ".join(f"{name} {show(value)}" for name, value in rivals.items()),
            ]
        )
    if rows:
        page.table(("measured on held-back groups", "model", "beside it"), rows)


def _measured(files: RunFolder) -> tuple[dict[str, float], float | None]:
    """The numbers of the end, else those of the last evaluation on the way, with its step."""
    if any(key.startswith("val/") for key in files.metrics):
        return files.metrics, None
    for entry in reversed(files.history):
        held = {key: value for key, value in entry.items() if key.startswith("val/")}
        if held:
            return files.metrics | held, entry["step"]
    return files.metrics, None


def _sentences(found: dict[str, float]) -> list[str]:
    """What the numbers mean, for who has not met them."""
    sentences = []
    if MODEL in found and MEAN in found and NEAR in found:
        rival = min(found[MEAN], found[NEAR])
        gap = abs(1 - found[MODEL] / rival)
        verdict = (
            f"its error is {gap:.0%} below the better of the two"
            if found[MODEL] < rival
            else f"its error is {gap:.0%} above the better of the two: it has not learnt enough yet"
        )
        sentences.append(
            f"On {_volumes(found)} that it never trained on, the model rebuilds hidden patches "
            f"with an error of {_decimal(found[MODEL])} (1 is the variance of the volume, 0 is "
            f"perfect). Filling them with the mean of the visible voxels gives "
            f"{_decimal(found[MEAN])}, interpolating from the nearest visible patches "
            f"{_decimal(found[NEAR])}: {verdict}."
        )
    if FOUND in found and FOUND_CHANCE in found:
        blind = (
            f", and for {_percent(found[FOUND_BLIND])} when it is not told the voxel size, "
            "which would give some data sets away"
            if FOUND_BLIND in found
            else ""
        )
        sentences.append(
            f"Among {round(1 / found[FOUND_CHANCE])} captions the right one comes first for "
            f"{_percent(found[FOUND])} of the crops{blind}; guessing would reach "
            f"{_percent(found[FOUND_CHANCE])}."
        )
    if SPREAD in found:
        collapsed = found[SPREAD] < COLLAPSED
        rank = f" over about {found[RANK]:.0f} directions" if RANK in found else ""
        verdict = "the features have collapsed" if collapsed else "they have not collapsed"
        sentences.append(
            f"The features of different crops spread by {_decimal(found[SPREAD])}{rank} "
            f"(0 means that all crops look alike, 1 is the most): {verdict}."
        )
    return sentences


def _volumes(found: dict[str, float]) -> str:
    count = found.get("val/volumes")
    return "volumes" if count is None else f"{count:.0f} volume{'s' if count != 1 else ''}"


def _add_slices(page: Page, rebuilt: Rebuilt | None) -> None:
    if rebuilt is None:
        return
    page.heading("What it rebuilds")
    some = Rebuilt(
        rebuilt.original[:MAX_CROPS],
        rebuilt.rebuilt[:MAX_CROPS],
        rebuilt.hidden[:MAX_CROPS],
        rebuilt.names[:MAX_CROPS],
        rebuilt.voxel_size_um[:MAX_CROPS],
    )
    page.picture(
        *(slices(some, crop_errors(some), theme) for theme in (LIGHT, DARK)),
        alt="Original, visible and rebuilt slices of held-back volumes, in xy and in xz",
        caption=(
            "Middle slices of one crop each of volumes that were held back. Blue patches were "
            "hidden; in the rebuilt slices they are the model's, the others are as acquired. Each "
            "row has one grey scale, the original's. The error is the mean squared error over "
            "hidden voxels divided by the variance of that crop."
        ),
    )


def crop_errors(crops: Rebuilt) -> list[float]:
    """[S] mean squared error over hidden voxels, divided by the variance of the crop."""
    errors = []
    for original, rebuilt, hidden in zip(crops.original, crops.rebuilt, crops.hidden, strict=True):
        real = np.isfinite(original)
        wrong = np.square(rebuilt - original)[hidden & real]
        # A crop of a single real patch hides nothing.
        error = float(wrong.mean()) if wrong.size else 0.0
        errors.append(error / max(float(original[real].var()), 1e-12))
    return errors


def _add_curves(page: Page, files: RunFolder) -> None:
    history, (found, _) = files.history, _measured(files)
    rivals = {"visible mean": MEAN, "interpolation": NEAR}
    panels = [
        Panel("Training loss", _lines(history, TERMS), {}, log=True),
        Panel(
            "Error on hidden patches, held-back groups",
            _lines(history, {"model": MODEL}),
            {name: found[key] for name, key in rivals.items() if key in found},
        ),
        Panel(
            "Right caption first (R@1), held-back groups",
            _lines(history, {"model": FOUND, "voxel size hidden": FOUND_BLIND}),
            {"chance": found[FOUND_CHANCE]} if FOUND_CHANCE in found else {},
            top=1.04,  # a point at 100 % is drawn whole
        ),
        Panel("Crops per second", _lines(history, {"crops per second": "crops_per_second"}), {}),
    ]
    panels = [panel for panel in panels if panel.lines]
    if not panels:
        return
    page.heading("How it got there")
    page.picture(
        *(curves(panels, theme) for theme in (LIGHT, DARK)),
        alt="Curves over training steps: " + "; ".join(panel.title for panel in panels),
        caption="Faint: every logged step; strong: running mean.",
    )


def _lines(
    history: tuple[dict[str, float], ...], keys: dict[str, str]
) -> dict[str, tuple[list[float], list[float]]]:
    """(steps, values) under each name, for the keys that the history holds."""
    lines = {}
    for name, key in keys.items():
        held = [(entry["step"], entry[key]) for entry in history if key in entry]
        if held:
            lines[name] = ([step for step, _ in held], [value for _, value in held])
    return lines


def _add_map(page: Page, embeddings: Embeddings | None) -> None:
    if embeddings is None:
        return
    page.heading("Where images and captions lie")
    page.picture(
        *(
            embedding_map(embeddings.image, embeddings.caption_of, embeddings.text, theme)
            for theme in (LIGHT, DARK)
        ),
        alt="Map of image and caption embeddings on two main axes",
        caption=(
            "Points are crops of held-back volumes, stars their captions, in the same colour. Two "
            "axes of many: what lies together here may lie apart in the full space. Images and "
            "captions are each centred on their own mean."
        ),
    )
    if embeddings.captions:
        page.table(
            ("star", "crops", "caption"),
            [
                [Number(str(m + 1)), Number(str(int((embeddings.caption_of == m).sum()))), caption]
                for m, caption in enumerate(embeddings.captions)
            ],
        )


def _add_details(page: Page, files: RunFolder) -> None:
    page.heading("Details")
    if files.skipped:
        count = len(files.skipped)
        page.paragraph(
            f"{count} volume{'s were' if count > 1 else ' was'} skipped because "
            f"{'they' if count > 1 else 'it'} could not be read (data.skip_unreadable=true):"
        )
        page.table(
            ("volume", "reason"),
            [[entry.get("id", "?"), entry.get("reason", "?")] for entry in files.skipped],
        )
    if files.metrics:
        listing = "\n".join(
            f"{key:<40} {value:.6g}" for key, value in sorted(files.metrics.items())
        )
        page.folded("All numbers (metrics.json)", listing)
    if files.recipe:
        page.folded("Recipe (recipe.yaml)", files.recipe)
    page.paragraph(
        shorten(f"Made by luxvox from the files in {files.path.resolve().name}/.", 200), soft=True
    )


def _decimal(value: float) -> str:
    return f"{value:.2f}" if value >= 0.095 else f"{value:.2g}"


def _percent(value: float) -> str:
    return f"{value:.0%}"
