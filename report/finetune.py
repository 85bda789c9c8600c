"""RUN/report.html of a fine-tuning run: what was learnt from what, how, and how good it is.

Reads only what the run (and `luxvox evaluate --json RUN/NAME.json`) wrote.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..configs.errors import InputError
from ..configs.load import read_yaml
from .cases import Case
from .evaluation import add_cases, add_means
from .figures import DARK, LIGHT, Panel, curves
from .page import Number, Page
from .run_folder import read_history, read_json
from .slices import shorten

_MOST_CASES = 5
_NO_TERMS = {"step", "lr"}


def is_finetuned(run: Path) -> bool:
    """Whether a folder is that of a fine-tuning run, by its recipe."""
    recipe = run / "recipe.yaml"
    return recipe.is_file() and "task" in read_yaml(recipe)


def write_finetune_report(run: Path) -> Path:
    """Write one self-contained HTML page about a fine-tuning run.

    Args:
        run: its folder: recipe.yaml, metrics.json, history.jsonl, support.npz, and evaluations.

    Returns:
        Path of `report.html` in that folder.

    Raises:
        InputError: no such run lies here, or one of its files is damaged.
    """
    if not is_finetuned(run):
        raise InputError(
            f"{run}: no fine-tuning run (no recipe.yaml with a task); give the folder that "
            "`luxvox finetune ... --out RUN` wrote"
        )
    recipe = read_yaml(run / "recipe.yaml")
    metrics = read_json(run / "metrics.json", {})
    page = Page(
        title=f"Fine-tuning report: {run.resolve().name}",
        lead=_lead(recipe, metrics),
    )
    evaluations = _evaluations(run)
    for name, result in evaluations.items():
        page.heading(f"Evaluation: {name}")
        add_means(page, result)
        for note in result.get("notes", ()):
            page.paragraph(note, soft=True)
    if not evaluations:
        page.paragraph(
            "Not evaluated yet. How good it is on other volumes is measured by: luxvox evaluate "
            "RUN DATASET --json RUN/NAME.json"
        )
    _add_support(page, metrics)
    add_cases(page, "What it makes of what it learnt from", _read_support(run / "support.npz"))
    _add_curve(page, run)
    page.heading("Details")
    for title, name in (("All numbers", "metrics.json"), ("Recipe", "recipe.yaml")):
        if (run / name).is_file():
            page.folded(f"{title} ({name})", (run / name).read_text(encoding="utf-8"))
    page.paragraph(
        shorten(f"Made by luxvox from the files in {run.resolve().name}/.", 200), soft=True
    )
    return page.write(run / "report.html")


def _lead(recipe: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    parts = [f"task {recipe['task']}", f"list {recipe.get('data')}"]
    if "weights" in metrics:
        parts.append(f"started from {metrics['weights']}")
    if "adapt" in metrics:
        parts.append(f"{metrics['adapt']}: {metrics.get('trained_share', 0):.1%} learnt")
    if "steps" in metrics:
        parts.append(f"{metrics['steps']} steps in {metrics.get('seconds', 0) / 60:.1f} minutes")
    if not metrics:
        parts.append("not finished yet")
    return " · ".join(parts)


def _add_support(page: Page, metrics: Mapping[str, Any]) -> None:
    names = metrics.get("support", ())
    if not names:
        return
    page.heading("What it learnt from")
    groups = metrics.get("support_groups", ())
    page.paragraph(
        f"{len(names)} rows of {len(groups)} group{'s' if len(groups) != 1 else ''} "
        f"({', '.join(map(str, groups))}): {', '.join(map(str, names))}."
    )
    fit = {
        key.removeprefix("support/"): value
        for key, value in metrics.items()
        if key.startswith("support/")
    }
    if fit:
        page.paragraph("The fit to these rows says that training worked, and nothing about others.")
        page.table(
            ("fit to what it learnt from", "value"),
            [[name, Number(f"{value:.3f}")] for name, value in sorted(fit.items())],
        )


def _add_curve(page: Page, run: Path) -> None:
    history = read_history(run / "history.jsonl")
    terms = sorted({key for entry in history for key in entry} - _NO_TERMS)
    lines = {
        name: (
            [entry["step"] for entry in history if name in entry],
            [entry[name] for entry in history if name in entry],
        )
        for name in terms
    }
    if not lines:
        return
    panels = [
        Panel("Training loss", {"loss": lines.pop("loss")}, {}) if "loss" in lines else None,
        Panel("Its terms", lines, {}) if lines else None,
    ]
    page.heading("How it got there")
    page.picture(
        *(curves([panel for panel in panels if panel], theme) for theme in (LIGHT, DARK)),
        alt="Loss over training steps",
        caption="Faint: every step; strong: running mean.",
    )


def _evaluations(run: Path) -> dict[str, Any]:
    """What `luxvox evaluate` left in the folder, by name of the file."""
    found = {}
    for path in sorted(run.glob("*.json")):
        result = read_json(path, {})
        if (
            isinstance(result, dict)
            and isinstance(result.get("mean"), dict)
            and "samples" in result
        ):
            found[path.stem] = result
    return found


def _read_support(path: Path) -> list[Case]:
    """The first few examples with truth and what was found."""
    if not path.is_file():
        return []
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [
                _case(archive, number, str(name))
                for number, name in enumerate(archive["ids"][:_MOST_CASES])
                if f"found_{number}" in archive.files
            ]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: damaged or not of a luxvox run ({error}); delete it and run the report again"
        ) from None


def _case(archive: Any, number: int, name: str) -> Case:
    image, truth, found = (
        archive[f"{what}_{number}"] for what in ("image", "truth", "found")
    )  # [Z, Y, X] each
    z, y, x = (float(side) for side in archive["voxel_size_um"][number])
    size = (z, y, x) if np.isfinite([z, y, x]).all() else None
    image = image.astype(np.float32)
    if truth.dtype.kind == "f":
        restored = found.astype(np.float32)
        return Case(name, image, size, target=truth.astype(np.float32), restored=restored)
    return Case(name, image, size, labels=truth, found=found)
