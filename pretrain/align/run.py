"""One alignment from recipe to weights: encode once, fit, judge, write."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...configs.errors import InputError
from ...configs.run_folder import lock_run, write_metrics, write_recipe
from ...models.alignment import ALIGNMENT, Alignment, AlignmentConfig
from ...models.catalog import find_folder
from ...models.checkpoint import groups_of, load_weights, save_weights
from ...models.encoder import Encoder
from ...models.text import TextTower
from ...models.text_vectors import NAMES_TENSOR, open_tower
from ...predict.predictor import Predictor
from ...predict.task_weights import open_dense
from ...predict.volume import choose_device
from ..origin import name_of, without_folders
from .corpus import AlignCorpus, open_align_corpus
from .encoded import EncodedCrops, augmented_crops, plain_crops
from .fit import fit_alignment
from .judge import balanced, judge
from .names import usual_names
from .recipe import AlignRecipe

FIXED_SEED = 20260503
"""Of the crops that are judged."""
JUDGED_CROPS = 8
"""Of each volume."""


def align(recipe: AlignRecipe) -> dict[str, Any]:
    """Run a recipe.

    Args:
        recipe: the whole plan; `out` receives recipe.yaml, metrics.json and weights/.

    Returns:
        What stands in metrics.json.

    Raises:
        InputError: weights without tokens or fine-tuned ones, lists that are not as needed, or no
            sentence encoder.
    """
    run, began = Path(recipe.out), time.monotonic()
    lock = lock_run(run)
    write_recipe(run, recipe)
    model, tower, corpus = open_parts(recipe)
    lists = encode_lists(corpus, model, recipe)
    alignment = new_alignment(model, recipe)
    metrics: dict[str, Any] = {"steps": recipe.steps, "crops": sum(map(len, lists))}
    terms = fit_alignment(alignment, lists, corpus.captions, corpus.names, recipe)
    metrics |= {f"train/{name}": value for name, value in terms.items()}
    if corpus.val is not None:
        seen = plain_crops(corpus.val, encoder_of(model), JUDGED_CROPS, FIXED_SEED)
        metrics |= _judged(alignment, seen, corpus)
    metrics["seconds"] = time.monotonic() - began
    _write(recipe, model, alignment, tower, corpus, metrics)
    write_metrics(run, metrics)
    lock.close()
    return metrics


def open_parts(recipe: AlignRecipe) -> tuple[Predictor, TextTower, AlignCorpus]:
    """What is aligned with what: the frozen model, the sentence encoder, the lists.

    Raises:
        InputError: as `align` does.
    """
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    model = open_frozen(recipe)
    tower = open_tower(model.weights.text_folder, model.model.config.text_dim, recipe.init)
    corpus = open_align_corpus(
        recipe.data, model.crop, tower, recipe.variants, recipe.noise, recipe.seed
    )
    return model, tower, corpus


def open_frozen(recipe: AlignRecipe) -> Predictor:
    """The weights whose encoder is aligned, on the device of the recipe.

    Raises:
        InputError: fine-tuned weights, or a net without tokens.
    """
    model = Predictor(open_dense(recipe.init, choose_device(recipe.device))).eval()
    if model.weights.task is not None:
        raise InputError(
            f"{recipe.init}: fine-tuned for {model.weights.task.task!r}; align pretrained weights, "
            "a run of a dense_* recipe"
        )
    if not isinstance(model.encoder, Encoder):
        raise InputError(
            f"{recipe.init}: a {model.model.config.backbone}, which has no tokens; give weights "
            "with backbone vit"
        )
    return model


def encoder_of(model: Predictor) -> Encoder:
    """The encoder of `open_frozen`."""
    assert isinstance(model.encoder, Encoder)  # checked when it was opened
    return model.encoder


def new_alignment(model: Predictor, recipe: AlignRecipe) -> Alignment:
    """An alignment for the encoder, of random numbers that the seed decides."""
    torch.manual_seed(recipe.seed)
    config = AlignmentConfig(dim=recipe.dim, text_dim=model.model.config.text_dim)
    return Alignment(encoder_of(model).config, config).to(next(model.parameters()).device)


def encode_lists(corpus: AlignCorpus, model: Predictor, recipe: AlignRecipe) -> list[EncodedCrops]:
    """Crops to learn from, of each list."""
    return [
        augmented_crops(
            source, encoder_of(model), recipe.views, recipe.tokens, recipe.augment, recipe.seed
        )
        for source in corpus.train
    ]


def _judged(alignment: Alignment, seen: EncodedCrops, corpus: AlignCorpus) -> dict[str, float]:
    """Caption retrieval and naming on held-back volumes; nothing where there is one text only."""
    metrics = {}
    for name, book, own in (
        ("retrieval_r1", corpus.captions, seen.caption),
        ("naming", corpus.names, seen.structure),
    ):
        texts = torch.stack([vectors[0] for vectors in book.features])
        found = judge(alignment, seen, texts, own)
        if found is not None:
            metrics |= {f"val/{name}_macro": balanced(found), f"val/{name}_chance": found.chance}
    return metrics


def _write(
    recipe: AlignRecipe,
    model: Predictor,
    alignment: Alignment,
    tower: TextTower,
    corpus: AlignCorpus,
    metrics: dict[str, Any],
) -> None:
    """Write RUN/weights/: those of `init` as they were, with alignment and names beside them."""
    kept, config = load_weights(find_folder(recipe.init))
    names = usual_names(corpus.train_rows)
    tensors: dict[str, Tensor] = {
        name: tensor
        for name, tensor in kept.items()
        if not name.startswith(ALIGNMENT) and name != NAMES_TENSOR
    }
    tensors |= {ALIGNMENT + name: tensor for name, tensor in alignment.state_dict().items()}
    tensors[NAMES_TENSOR] = tower.encode(names)
    plan = recipe.model_dump(mode="json")
    before = groups_of(config)
    groups = sorted({row.group for row in corpus.train_rows} | set(before or ()))
    del config["format_version"]
    config["architecture"] |= {
        "alignment": alignment.config.model_dump(mode="json"),
        "names": list(names),
    }
    config["alignment"] = without_folders(plan, ("out", "init", "data"))
    if before is not None:  # weights that do not say what they have seen still do not say all
        config["data"] |= {"groups": groups, "group_count": len(groups)}
    table = "\n".join(
        f"| {name} | {value:.3f} |" for name, value in sorted(metrics.items()) if "/" in name
    )
    card = f"""# Dense weights aligned with sentences by luxvox

`{name_of(recipe.init)}`, none of whose tensors was changed, with a pool and two projections that
place its crops beside sentences, fitted in {recipe.steps} steps on {len(corpus.train_rows)} volumes
with captions; and the vectors of {len(names)} usual names. Not for diagnosis.

| measured | value |
|---|---|
{table}
"""
    save_weights(Path(recipe.out) / "weights", tensors, config, card)
