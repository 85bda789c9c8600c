"""What a finished (or stopped) run leaves behind: weights/, metrics.json, pictures, report.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..data.normalize import NORMALISATION
from ..models.checkpoint import save_weights
from .evaluate import Pictures
from .objectives import PretrainModel
from .origin import name_of, without_folders
from .recipe import PretrainRecipe


def architecture_of(recipe: PretrainRecipe, model: PretrainModel) -> dict[str, Any]:
    """All that decides the names and shapes of the tensors; a checkpoint of another one is
    refused."""
    return {
        "encoder_name": recipe.encoder.name,
        "encoder": model.encoder.config.model_dump(mode="json"),
        "decoder": recipe.decoder.model_dump(mode="json"),
        "text": {
            "dim": recipe.text.dim,
            "width": model.text_width,
            "folder": recipe.text.folder,
            "trainable_layers": recipe.text.trainable_layers,
        },
    }


def write_pictures(run: Path, pictures: Pictures, names: list[str]) -> None:
    """Write RUN/reconstructions.npz; crops of unequal size are padded with NaN at the end.

    Args:
        run: folder of the run.
        pictures: crops, in normalised intensity.
        names: of all volumes, by volume id.
    """
    if not pictures.original:
        return
    sides = np.max([crop.shape for crop in pictures.original], axis=0)
    np.savez_compressed(
        run / "reconstructions.npz",
        original=_padded(pictures.original, sides, np.nan),
        rebuilt=_padded(pictures.rebuilt, sides, np.nan),
        mask=_padded(pictures.mask, sides, False),
        names=np.array([names[volume] for volume in pictures.volume]),
        voxel_size_um=np.stack(pictures.voxel_size_um),
    )


def write_embeddings(
    run: Path, images: np.ndarray, image_caption: np.ndarray, text: np.ndarray, captions: list[str]
) -> None:
    """Write RUN/embeddings.npz: image [n, dim], their caption rows [n], text [M, dim], captions
    [M]."""
    np.savez_compressed(
        run / "embeddings.npz",
        image=images,
        image_caption=image_caption,
        text=text,
        captions=np.array(captions),
    )


def write_weights(
    run: Path,
    tensors: dict[str, Tensor],
    recipe: PretrainRecipe,
    architecture: dict[str, Any],
    corpus: dict[str, Any],
    metrics: dict[str, float | int],
) -> Path:
    """Write RUN/weights/: averaged tensors, config.json and a model card.

    Args:
        run: folder of the run.
        tensors: averaged weights by name.
        recipe: of the run.
        architecture: see `architecture_of`.
        corpus: what was trained on: volumes, names of groups, stains, structures, voxel sizes,
            captions.
        metrics: as in metrics.json; the card quotes those of the held-back groups.
    """
    config = {
        "architecture": architecture
        | {
            "crop_shape": list(recipe.data.crop.shape),
            "crop_voxel_size_um": recipe.data.crop.voxel_size_um,
        },
        "normalisation": NORMALISATION,
        "voxel_size_range_um": corpus["voxel_size_range_um"],
        "stains": corpus["stains"],
        "structures": corpus["structures"],
        "captions": corpus["captions"],
        "data": {
            "source": name_of(corpus["source"]),
            "volumes": corpus["volumes"],
            "groups": corpus["groups"],
            "group_count": len(corpus["groups"]),
        },
        "recipe": without_folders(recipe.model_dump(mode="json"), ("out", "data.source")),
        "licence": "not stated: it depends on the licences of the volumes",
    }
    folder = run / "weights"
    save_weights(folder, tensors, config, _card(recipe, corpus, metrics))
    return folder


def _card(recipe: PretrainRecipe, corpus: dict[str, Any], metrics: dict[str, float | int]) -> str:
    """The model card that lies beside the weights."""
    held_back = "\n".join(
        f"| {key.removeprefix('val/')} | {value:.4g} |"
        for key, value in sorted(metrics.items())
        if key.startswith("val/")
    )
    return f"""# Weights pretrained with luxvox

Encoder `{recipe.encoder.name}-{recipe.encoder.size}`, {recipe.steps} steps, pretrained by masked
volumetric reconstruction (weight {recipe.objective.masked}) and image-text alignment (weight
{recipe.objective.text}).

- Data: {corpus["volumes"]} volumes of {len(corpus["groups"])} groups, listed in
  `{name_of(recipe.data.source)}`. Their licences are those of the volumes; luxvox does not know
  them.
- Stains: {", ".join(corpus["stains"]) or "not stated"}
- Structures: {", ".join(corpus["structures"]) or "not stated"}
- Voxel sizes (z, y, x) in um: {corpus["voxel_size_range_um"] or "unknown"}
- Intensities: {NORMALISATION}

Intended use: features for few-label tasks on light-sheet volumes like those above. Not for
diagnosis.

| held-back groups | value |
|---|---|
{held_back}
"""


def _padded(crops: list[np.ndarray], sides: np.ndarray, fill: float | bool) -> np.ndarray:
    stacked = np.full((len(crops), *sides), fill, dtype=crops[0].dtype)
    for row, crop in zip(stacked, crops, strict=True):
        row[tuple(slice(0, side) for side in crop.shape)] = crop
    return stacked
