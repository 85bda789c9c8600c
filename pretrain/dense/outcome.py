"""What a run of stage B has seen, and the weights that it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...data.normalize import NORMALISATION
from ...data.synthetic.catalogue import CATALOGUE
from ...data.synthetic.stock import STRUCTURES
from ...models.checkpoint import groups_of, read_config, save_weights
from ..origin import name_of, without_folders
from .objective import DensePretrainModel
from .real import training_rows
from .recipe import DenseRecipe


def init_folder(init: str) -> Path:
    """The folder with the files of `init`, a run or a weights folder."""
    folder = Path(init) / "weights"
    return folder if folder.is_dir() else Path(init)


def seen_groups(recipe: DenseRecipe) -> list[str] | None:
    """Groups of real volumes behind a run: those of `real`, and those that `init` has seen.

    Args:
        recipe: of the run.

    Returns:
        Sorted names; None where `init` does not say what it has seen.

    Raises:
        InputError: `init` or `real` cannot be read.
    """
    groups: set[str] = set()
    if recipe.real is not None:
        groups |= {row.group for row in training_rows(recipe.real)}
    if recipe.init is not None:
        before = groups_of(read_config(init_folder(recipe.init)))
        if before is None:
            return None
        groups |= set(before)
    return sorted(groups)


def write_dense_weights(
    run: Path,
    recipe: DenseRecipe,
    model: DensePretrainModel,
    architecture: Mapping[str, Any],
    groups: Sequence[str] | None,
    metrics: Mapping[str, Any],
) -> Path:
    """Write RUN/weights/: tensors, config.json and a model card.

    Args:
        run: folder of the run.
        recipe: of the run; its paths are written as names.
        model: holding the averaged weights.
        architecture: all that decides names and shapes of the tensors.
        groups: see `seen_groups`.
        metrics: as in metrics.json; the card quotes those of evaluation.

    Raises:
        InputError: the folder cannot be written.
    """
    sizes = recipe.stock.voxel_sizes_um
    plan = recipe.model_dump(mode="json")
    config = {
        "architecture": {**architecture, "crop_shape": list(recipe.stock.crop)},
        "normalisation": NORMALISATION,
        "voxel_size_range_um": [
            [min(size[axis] for size in sizes) for axis in range(3)],
            [max(size[axis] for size in sizes) for axis in range(3)],
        ],
        "stains": [],
        "structures": [CATALOGUE[name].title for name in STRUCTURES],
        "recipe": without_folders(plan, ("out", "init", "real", "evaluate.real")),
        "data": {
            "source": "simulated",
            "structures": list(STRUCTURES),
            "real": None if recipe.real is None else name_of(recipe.real),
            "groups": None if groups is None else list(groups),
            "group_count": None if groups is None else len(groups),
        },
        "licence": "Apache-2.0",
    }
    table = "\n".join(
        f"| {name.removeprefix('val/')} | {value:.3f} |"
        for name, value in sorted(metrics.items())
        if name.startswith("val/")
    )
    began = "nothing" if recipe.init is None else f"`{name_of(recipe.init)}`"
    card = f"""# Dense weights pretrained with luxvox (stage B)

Encoder, detail stream, dense decoder and heads, {recipe.steps} steps on simulated volumes; started
from {began}. Finds a structure by its name, restores, and is meant as the start for few-label
tasks. Not for diagnosis.

| measured | value |
|---|---|
{table}
"""
    return save_weights(run / "weights", model.state_dict(), config, card)
