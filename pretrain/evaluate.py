"""Knowing that it learns: fixed crops of held-back groups, fixed masks, the same yardstick for all.

Errors are mean squared errors over the same hidden voxels in normalised intensity, divided by the
volume's variance, averaged over volumes: the model beside two trivial predictors. Then caption
retrieval, nearest neighbours and feature spread. The masks depend on the evaluation seed alone,
never on the training step or its recipe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from einops import reduce
from torch import Tensor, nn

from ..models.patch_embed import patchify, unpatchify
from .baselines import inverse_distance, visible_mean
from .masking import Masks, draw_masks
from .objectives import Batch
from .probe import effective_rank, knn_balanced_accuracy, retrieval_r1_macro, spread
from .recipe import MaskingRecipe

SEED = 20260501  # of masks; apart from every training seed
ERRORS = ("masked_error", "visible_mean_error", "interpolation_error")


@dataclass
class CropScores:
    """What was measured on one crop; plain numbers and small arrays, so that ranks can exchange
    it."""

    index: int
    volume: int
    caption: int
    structure: int
    errors: dict[str, float]
    image: np.ndarray  # [dim]
    image_no_spacing: np.ndarray  # [dim]
    features: np.ndarray  # [D]


@dataclass
class Pictures:
    """Crops to look at: lists of [Z, Y, X] arrays in normalised intensity."""

    original: list[np.ndarray] = field(default_factory=list)
    mask: list[np.ndarray] = field(default_factory=list)
    rebuilt: list[np.ndarray] = field(default_factory=list)
    volume: list[int] = field(default_factory=list)
    caption: list[int] = field(default_factory=list)
    voxel_size_um: list[np.ndarray] = field(default_factory=list)


def score_crops(
    model: nn.Module,
    batches: Iterable[Batch],
    patch: tuple[int, int, int],
    ratio: float,
    pictures: Pictures | None = None,
    most_pictures: int = 8,
) -> list[CropScores]:
    """Score crops one by one.

    Args:
        model: a PretrainModel, wrapped or bare, holding the weights to judge.
        batches: decoded batches on the model's device.
        patch: voxels of a token along (z, y, x).
        ratio: share of tokens hidden; all hidden ones are judged.
        pictures: filled with one crop per volume, if given.
        most_pictures: of how many volumes.
    """
    scores: list[CropScores] = []
    masking = MaskingRecipe(ratio=ratio, queries=ratio, random=1, blocks=0, slabs=0)
    for batch in batches:
        grid = _grid(batch["crop"], patch)
        masks = draw_masks(
            batch["index"], batch["extent"], grid, patch, masking, SEED, every_hidden=True
        ).to(batch["crop"].device)
        seen = model("inspect", batch, masks)
        rebuilt = seen.pop("rebuilt").float()
        vectors = {key: value.float().cpu().numpy() for key, value in seen.items()}
        errors = _errors(batch, masks, rebuilt, grid, patch)
        for row in range(len(batch["crop"])):
            scores.append(
                CropScores(
                    index=int(batch["index"][row]),
                    volume=int(batch["volume_id"][row]),
                    caption=int(batch["caption_id"][row]),
                    structure=int(batch["structure_id"][row]),
                    errors={name: float(errors[name][row]) for name in ERRORS},
                    image=vectors["images"][row],
                    image_no_spacing=vectors["images_no_spacing"][row],
                    features=vectors["features"][row],
                )
            )
        if pictures is not None:
            _take_pictures(pictures, most_pictures, batch, masks, rebuilt, grid, patch)
    return scores


def summarise(
    scores: list[CropScores],
    captions: np.ndarray,
    train_features: np.ndarray,
    train_structures: np.ndarray,
) -> dict[str, float]:
    """Turn crop scores into the flat keys of metrics.json.

    Args:
        scores: every validation crop once.
        captions: [C, dim] unit vectors of all captions, row = caption id; [0, dim] without text.
        train_features: [n, D] features of training crops, for the nearest-neighbour vote.
        train_structures: [n] their structure ids, -1 where unknown.
    """
    metrics = {
        f"val/{name}": float(
            np.mean([np.mean(values) for values in _by_volume(scores, name).values()])
        )
        for name in ERRORS
    }
    metrics["val/volumes"] = float(len({score.volume for score in scores}))
    metrics["val/crops"] = float(len(scores))
    features = np.stack([score.features for score in scores])
    metrics["val/feature_spread"] = spread(features)
    metrics["val/feature_rank"] = effective_rank(features)
    metrics |= _retrieval([s for s in scores if s.caption >= 0], captions)
    metrics |= _knn(scores, train_features, train_structures)
    return metrics


def _by_volume(scores: list[CropScores], name: str) -> dict[int, list[float]]:
    grouped: dict[int, list[float]] = {}
    for score in scores:
        grouped.setdefault(score.volume, []).append(score.errors[name])
    return grouped


def _retrieval(scores: list[CropScores], captions: np.ndarray) -> dict[str, float]:
    """R@1 among the distinct captions of the held-back volumes; nothing where there are under
    two."""
    present = np.unique([score.caption for score in scores])
    if len(captions) == 0 or len(present) < 2:
        return {}
    own = np.searchsorted(present, [score.caption for score in scores])
    result = {"val/retrieval_chance": 1 / len(present)}
    for key, name in (
        ("image", "val/retrieval_r1_macro"),
        ("image_no_spacing", "val/retrieval_r1_macro_no_spacing"),
    ):
        images = np.stack([getattr(score, key) for score in scores])
        result[name] = retrieval_r1_macro(images, captions[present], own)
    return result


def _knn(
    scores: list[CropScores], train_features: np.ndarray, train_structures: np.ndarray
) -> dict[str, float]:
    """Vote of training crops on the structures that both sides know."""
    known = set(train_structures[train_structures >= 0].tolist())
    judged = [score for score in scores if score.structure in known]
    if len({score.structure for score in judged}) < 2:
        return {}
    use = train_structures >= 0
    accuracy = knn_balanced_accuracy(
        train_features[use],
        train_structures[use],
        np.stack([score.features for score in judged]),
        np.array([score.structure for score in judged]),
    )
    return {"val/knn_accuracy": accuracy, "val/knn_chance": 1 / len(known)}


def _errors(
    batch: Batch,
    masks: Masks,
    rebuilt: Tensor,
    grid: tuple[int, int, int],
    patch: tuple[int, int, int],
) -> dict[str, Tensor]:
    """[B] mean squared errors over the queried voxels, divided by the volume's variance."""
    patches = patchify(batch["crop"], patch)
    target = torch.take_along_dim(patches, masks.query[:, :, None], dim=1)  # [B, Q, P]
    real = (
        torch.ones(masks.query.shape, device=target.device)
        if masks.query_real is None
        else masks.query_real.to(target.dtype)
    )
    guesses = {
        "masked_error": rebuilt,
        "visible_mean_error": visible_mean(patches, masks),
        "interpolation_error": inverse_distance(
            patches, masks, grid, patch, batch["voxel_size_um"]
        ),
    }
    errors = {}
    for name, guess in guesses.items():
        per_patch = reduce((guess - target).square(), "b q p -> b q", "mean")
        errors[name] = (per_patch * real).sum(1) / real.sum(1) / batch["variance"]
    return errors


def _take_pictures(
    pictures: Pictures,
    most: int,
    batch: Batch,
    masks: Masks,
    rebuilt: Tensor,
    grid: tuple[int, int, int],
    patch: tuple[int, int, int],
) -> None:
    """Keep the first crop of volumes of different captions (of any, where a volume has none): as
    it is, what is hidden, and with the hidden part rebuilt."""
    patches = patchify(batch["crop"], patch)
    for row in range(len(patches)):
        volume = int(batch["volume_id"][row])
        caption = int(batch["caption_id"][row])
        shown = volume in pictures.volume or (caption >= 0 and caption in pictures.caption)
        if shown or len(pictures.volume) == most:
            continue
        pictures.caption.append(caption)
        real = slice(None) if masks.query_real is None else masks.query_real[row]
        query = masks.query[row][real]
        filled, hidden = patches[row].clone(), torch.zeros_like(patches[row])
        filled[query] = rebuilt[row][real]
        hidden[query] = 1
        z, y, x = (int(side) for side in batch["extent"][row])
        original, mask, guess = (
            unpatchify(part[None], grid, patch)[0, 0, :z, :y, :x].cpu().numpy()
            for part in (patches[row], hidden, filled)
        )
        pictures.original.append(original)
        pictures.mask.append(mask > 0)
        pictures.rebuilt.append(guess)
        pictures.volume.append(volume)
        size = batch["voxel_size_um"][row].cpu().numpy()
        known = bool(batch["spacing_known"][row])
        pictures.voxel_size_um.append(size if known else np.full(3, np.nan))


def _grid(crop: Tensor, patch: tuple[int, int, int]) -> tuple[int, int, int]:
    z, y, x = (side // edge for side, edge in zip(crop.shape[2:], patch, strict=True))
    return z, y, x
