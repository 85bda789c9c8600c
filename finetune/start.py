"""Where a run starts: from nothing, from an encoder (stage A), or from a whole dense model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from ..configs.errors import InputError
from ..models.catalog import SHIPPED
from ..models.checkpoint import load_strict, load_weights
from ..models.dense import DenseConfig, DenseModel, HeadConfig, SegmentConfig
from ..models.encoder import Encoder
from ..models.sizes import SIZES, EncoderConfig
from ..predict.task_weights import load_task
from .examples import Task
from .recipe import Begins, FinetuneRecipe

DEFAULT_WEIGHTS = "luxvox-tiny"


@dataclass(frozen=True)
class Start:
    """A model with the head of the task, and what of it is pretrained.

    Attributes:
        model: on the CPU.
        begins: what its weights bring.
        new_head: whether the head starts from random numbers.
        where: names the weights.
    """

    model: DenseModel
    begins: Begins
    new_head: bool
    where: str


def starting_model(recipe: FinetuneRecipe, head: str, config: HeadConfig, text_dim: int) -> Start:
    """Build the model of a run.

    Args:
        recipe: `weights`, `encoder`, `backbone`, `seed`.
        head: name of the task's head.
        config: its dimensions; a pretrained head of this name and these dimensions is kept, unless
            it restores.
        text_dim: of the vectors that name structures, where no weights say it.

    Raises:
        InputError: weights that are not there, do not fit, or are of another task.
    """
    torch.manual_seed(recipe.seed)
    name = recipe.weights
    if name is None:
        name = DEFAULT_WEIGHTS if DEFAULT_WEIGHTS in SHIPPED else "none"
        if name == "none":
            print(
                f"warning: no weights given, and {DEFAULT_WEIGHTS} does not ship yet: training "
                "from scratch; give weights=RUN of luxvox pretrain",
                file=sys.stderr,
            )
    if name == "none":
        model = _fresh(SIZES[recipe.encoder], head, config, text_dim, recipe.backbone)
        return Start(model, "scratch", True, "from scratch")
    if (encoder := _encoder_alone(name)) is not None:
        model = _fresh(encoder.config, head, config, text_dim)
        model.encoder.load_state_dict(encoder.state_dict())
        return Start(model, "encoder", True, name)
    # A pretrained model is the same whatever is asked of it; one that was fine-tuned is not.
    task: Task = "segment" if recipe.task == "classify" else recipe.task
    found = load_task(name, task).model
    # What stage B adds to a simulated image takes several dB from a real one (docs/results.md): a
    # residual begins anew, at nothing.
    if found.config.heads.get(head) == config and task != "restore":
        return Start(found, "dense", False, name)
    grown = _with_head(found, head, config)
    return Start(grown, "dense", not _same_logits(found.config.heads.get(head), config), name)


def _fresh(
    encoder: EncoderConfig, head: str, config: HeadConfig, text_dim: int, backbone: str = "vit"
) -> DenseModel:
    chosen = {"heads": {head: config}, "text_dim": text_dim, "backbone": backbone}
    return DenseModel(encoder, DenseConfig.for_encoder(encoder).model_copy(update=chosen))


def _same_logits(have: HeadConfig | None, wanted: HeadConfig) -> bool:
    """Whether two heads differ in the distance channel only."""
    if not isinstance(have, SegmentConfig) or not isinstance(wanted, SegmentConfig):
        return False
    return have.classes == wanted.classes


def _with_head(model: DenseModel, head: str, config: HeadConfig) -> DenseModel:
    """The same model with one head more, of random numbers; logits that fit are kept."""
    heads = {**model.config.heads, head: config}
    grown = DenseModel(model.encoder.config, model.config.model_copy(update={"heads": heads}))
    fits, fresh = _same_logits(model.config.heads.get(head), config), grown.state_dict()
    kept = {
        n: t
        for n, t in model.state_dict().items()
        if not n.startswith(f"heads.{head}.") or (fits and n in fresh)
    }
    grown.load_state_dict({**fresh, **kept}, strict=True)
    return grown


def _encoder_alone(name: str) -> Encoder | None:
    """The encoder of a run of stage A; None where the weights are not of that kind."""
    folder = Path(name)
    folder = folder / "weights" if (folder / "weights" / "config.json").is_file() else folder
    if not (folder / "config.json").is_file():
        return None  # a shipped name, or nothing: `load_task` says which
    tensors, config = load_weights(folder)
    parts = config.get("architecture")
    if not isinstance(parts, dict) or "encoder_name" not in parts or "dense" in parts:
        return None
    if parts["encoder_name"] != "vit":
        raise InputError(
            f"{folder}: weights of {parts['encoder_name']!r}, expected a ViT, which the dense "
            "model is built on; give a run with encoder.name=vit"
        )
    encoder = Encoder(EncoderConfig(**parts["encoder"]))
    prefix = "encoder."
    own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    load_strict(encoder, own, str(folder))
    return encoder
