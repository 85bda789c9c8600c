"""From a recipe to a learner: model, optimiser, average and captions, wrapped for one or many
processes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..configs.errors import InputError
from ..models.encoder import Encoder
from ..models.sizes import SIZES, EncoderConfig
from ..models.text import TextTower
from .caption_book import CaptionBook
from .corpus import Corpus
from .ema import Ema
from .loop import Learner
from .objectives import PretrainModel
from .optimizer import make_optimizer
from .recipe import PretrainRecipe

if TYPE_CHECKING:
    from accelerate import Accelerator

FEWEST_CAPTIONS = 4  # below, a contrastive loss has next to nothing to tell apart
TEXT_WIDTH_WITHOUT_TOWER = 384  # the shipped encoder's, so that text can be switched on later


def make_accelerator(recipe: PretrainRecipe) -> Accelerator:
    """The process group, device and precision; what `accelerate launch` set up is kept."""
    from accelerate import Accelerator

    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    return Accelerator(
        mixed_precision=recipe.precision,
        cpu=recipe.device == "cpu",
        log_with=_tracker(recipe),
        project_dir=str(Path(recipe.out) / "logs"),
        step_scheduler_with_optimizer=False,
    )


def _tracker(recipe: PretrainRecipe) -> str | None:
    """The tracker that is wanted. The default one may be missing, one that is asked for not."""
    if recipe.tracker == "none" or find_spec(recipe.tracker) is not None:
        return None if recipe.tracker == "none" else recipe.tracker
    if "tracker" in recipe.model_fields_set:
        raise InputError(
            f"tracker={recipe.tracker}: it is not installed; run pip install {recipe.tracker}, "
            "or set tracker=none"
        )
    print('no TensorBoard logs: it is not installed (pip install "luxvox[train]")')
    return None


def encoder_config(recipe: PretrainRecipe, corpus: Corpus) -> EncoderConfig:
    """Dimensions by size; wavelengths from the corpus: 2 x its smallest token pitch to 4 x its
    largest crop."""
    crop = recipe.data.crop
    sizes = [size or (1.0, 1.0, 1.0) for size in corpus.voxel_sizes_um]  # unknown: index units
    smallest = min(s * p for size in sizes for s, p in zip(size, crop.patch, strict=True))
    largest = max(s * n for size in sizes for s, n in zip(size, crop.shape, strict=True))
    return SIZES[recipe.encoder.size].model_copy(
        update={
            "patch": crop.patch,
            "drop_path": recipe.encoder.drop_path,
            "wavelengths_um": (2 * smallest, 4 * largest),
        }
    )


def build_learner(recipe: PretrainRecipe, corpus: Corpus, accelerator: Accelerator) -> Learner:
    """Build everything that learns.

    Raises:
        InputError: text is trained, but there is no sentence encoder, or there are too few captions
            in the list or in one batch.
    """
    tower, book = None, None
    text_width = TEXT_WIDTH_WITHOUT_TOWER
    if recipe.objective.text > 0:
        _check_captions(recipe, corpus, accelerator.num_processes)
        tower = TextTower(recipe.text.folder, recipe.text.trainable_layers)
        book = CaptionBook.read(corpus.wordings, tower, recipe.text.noise)
        text_width = tower.width
    model = PretrainModel(
        recipe,
        encoder_config(recipe, corpus),
        text_width,
        tower if recipe.text.trainable_layers else None,
    )
    if isinstance(model.encoder, Encoder):
        model.encoder.checkpoint_activations = recipe.encoder.checkpoint_activations
    if recipe.compile:
        model.encoder.compile()
        model.decoder.compile()
    optimizer = make_optimizer(model, recipe.optim)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    bare = accelerator.unwrap_model(wrapped, keep_torch_compile=True)
    return Learner(accelerator, wrapped, bare, optimizer, Ema(bare, recipe.optim.ema), book)


def _check_captions(recipe: PretrainRecipe, corpus: Corpus, num_processes: int) -> None:
    distinct = corpus.distinct_train_captions
    images = recipe.batch_size * recipe.accumulate * num_processes
    if distinct < FEWEST_CAPTIONS:
        raise InputError(
            f"{recipe.data.source}: {distinct} distinct captions among the training volumes, "
            f"expected at least {FEWEST_CAPTIONS} to align images with text; "
            "add captions or set objective.text=0"
        )
    if images < FEWEST_CAPTIONS:
        raise InputError(
            f"batch_size {recipe.batch_size} x accumulate {recipe.accumulate} x "
            f"{num_processes} processes = {images} images a step, expected at least "
            f"{FEWEST_CAPTIONS} for the contrastive loss; raise batch_size or accumulate, "
            "or set objective.text=0"
        )
