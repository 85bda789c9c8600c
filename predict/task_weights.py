"""Weights for one task: the dense model, and what has to be known to use it; loaded and saved.

A fine-tuned RUN knows its task. Pretrained dense weights are told one: which head, which structure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ..configs.errors import InputError
from ..configs.explain import one_line
from ..data.normalize import NORMALISATION
from ..data.voxel import VoxelSize
from ..models.alignment import Alignment, read_alignment
from ..models.catalog import find_folder
from ..models.checkpoint import load_strict, load_weights, save_weights
from ..models.dense import DenseConfig, DenseModel
from ..models.sizes import EncoderConfig
from ..models.text_vectors import KnownNames, read_names, text_vectors

Triple = tuple[int, int, int]
Task = Literal["segment", "restore", "classify"]

_CONDITION = "condition"  # name of the stored vector; no part of the model has it
_PREFIX = "dense."  # of the dense model among the tensors of a pretraining run


class TaskConfig(BaseModel):
    """What a task is, beside its tensors; stands in config.json under architecture.task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task
    head: str
    """Name of the head in the dense model."""
    structure: str | None = None
    """Text that names the foreground; None = not said."""
    structures: tuple[str, ...] = ()
    """Several that were learnt, each by its name; every use says which."""
    classes: tuple[str, ...] = ()
    """Classification: names in order. Several labels: their names, background first. () = binary
    segmentation, or restoration."""
    label_values: tuple[int, ...] = ()
    """Several labels: the value that each class has in label images."""
    foreground_label: int | None = None
    """Binary: the value of the foreground in label images; None = all above 0."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """Binary: a voxel is foreground above it."""
    tile: Triple = (64, 64, 64)
    """Voxels (z, y, x) that are predicted together."""
    tta: bool = False
    """Mean over the four mirror images in y and x: 4 times the time; see `TaskWeights.flipped`."""
    voxel_size_um: VoxelSize | None = None
    """(z, y, x) of what it was trained on, for the warning; None = not known."""


@dataclass(frozen=True)
class TaskWeights:
    """A model that is ready for its task.

    Attributes:
        model: in evaluation mode.
        task: what it does.
        where: names the weights in messages.
        condition: [1, text_dim], the vector of `task.structure`; None = not said. One row for each
            of `task.structures`, as long as it is not told which.
        voxel_range_um: smallest and largest (z, y, x) that it was trained on; None = not known.
        fine_tuned: whether it has learnt this very task; pretrained weights have to be told one.
    """

    model: DenseModel
    task: TaskConfig
    where: str
    condition: Tensor | None = None
    voxel_range_um: tuple[VoxelSize, VoxelSize] | None = None
    fine_tuned: bool = False

    def asked(self, structure: str | None) -> TaskWeights:
        """These weights, told which of several learnt structures is meant; others as they are.

        Raises:
            InputError: none of those that were learnt.
        """
        known = self.task.structures
        if not known or self.task.structure is not None:
            return self
        if structure not in known or self.condition is None:
            raise InputError(
                f"{self.where}: fine-tuned for {len(known)} structures ({', '.join(known)}), asked "
                f"for {structure!r}; say which of them: --structure, or the column 'structure'"
            )
        place = known.index(structure)
        task = self.task.model_copy(update={"structure": structure})
        return replace(self, task=task, condition=self.condition[place : place + 1])

    def flipped(self) -> TaskWeights:
        """These weights, to answer by the mean over mirror images.

        Raises:
            InputError: they classify.
        """
        if self.task.task == "classify":
            raise InputError(
                f"{self.where}: --flips does not fit task 'classify', which has no mean over "
                "mirror images; leave it out"
            )
        return replace(self, task=self.task.model_copy(update={"tta": True}))


@dataclass(frozen=True)
class DenseWeights:
    """A dense model before it is told what to do.

    Attributes:
        model: in evaluation mode.
        where: names the weights in messages.
        task: what it was fine-tuned for; None of pretrained weights.
        tile: voxels (z, y, x) that are predicted together.
        condition: [S, text_dim], stored vectors that name the structure, or each of several; None =
            none is stored.
        voxel_range_um: smallest and largest (z, y, x) that it was trained on; None = not known.
        text_folder: of the sentence encoder that it was trained with; None = the installed one.
        names: those whose vectors it holds; None = none.
        alignment: what places its crops beside sentences; None = it knows none.
    """

    model: DenseModel
    where: str
    task: TaskConfig | None
    tile: Triple
    condition: Tensor | None = None
    voxel_range_um: tuple[VoxelSize, VoxelSize] | None = None
    text_folder: str | None = None
    names: KnownNames | None = None
    alignment: Alignment | None = None

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """[M, text_dim] float32 of texts, on the device of the model.

        Raises:
            InputError: a text that is no known name, and no sentence encoder for it.
        """
        width = self.model.config.text_dim
        found = text_vectors(texts, self.names, self.text_folder, width, self.where)
        return found.to(next(self.model.parameters()).device)

    def told(self, task: Task | None = None, structure: str | None = None) -> TaskWeights:
        """The model with its own task, or with the one that pretrained weights are given.

        Args:
            task: of pretrained weights; fine-tuned ones know theirs.
            structure: text that names the foreground, for pretrained weights; None leaves it
                unnamed: the main structure is meant. Or which of several that were learnt.

        Raises:
            InputError: another task or structure than it was fine-tuned for; no task, or one
                without a head; or no sentence encoder to name the structure with.
        """
        if self.task is not None:
            _same(self.task, task, structure, self.where)
        known = self.task or _new_task(self, task, structure)
        condition = self.condition
        if condition is None and known.structure is not None and known.task == "segment":
            condition = self.vectors([known.structure])
        weights = TaskWeights(
            self.model,
            known,
            self.where,
            condition,
            self.voxel_range_um,
            fine_tuned=self.task is not None,
        )
        return weights if structure is None else weights.asked(structure)


def load_task(
    name: str | Path,
    task: Task | None = None,
    structure: str | None = None,
    device: str | torch.device = "cpu",
) -> TaskWeights:
    """Load weights for a task: `open_dense`, and then `DenseWeights.told`, whose errors it has."""
    return open_dense(name, device).told(task, structure)


def open_dense(name: str | Path, device: str | torch.device = "cpu") -> DenseWeights:
    """Load dense weights, pretrained or fine-tuned.

    Args:
        name: a RUN folder (with `weights/`), a folder of weights, or a name that ships.
        device: where the model is put.

    Raises:
        InputError: nothing of that name, weights without a decoder, or tensors that do not fit.
    """
    folder = find_folder(name)
    tensors, config = load_weights(folder)
    model, tile, parts = _build(config, folder)
    known = _task_of(parts, folder) if "task" in parts else None
    names = read_names(parts, tensors, str(folder))
    alignment = read_alignment(parts, tensors, str(folder))
    if known is None and any(key.startswith(_PREFIX) for key in tensors):
        # Decoders and heads that only pretraining needs lie in the same file.
        tensors = {
            key.removeprefix(_PREFIX): tensor
            for key, tensor in tensors.items()
            if key.startswith(_PREFIX)
        }
    condition = tensors.pop(_CONDITION, None)
    load_strict(model, tensors, str(folder))
    # Faster on CPUs; the answers are the same.
    model.to(device).to(memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
    recipe = config.get("recipe")
    return DenseWeights(
        model,
        str(name),
        known,
        tile if known is None else known.tile,
        None if condition is None else condition.float().to(device),
        _voxel_range(config, folder),
        recipe.get("text_folder") if isinstance(recipe, dict) else None,
        names,
        None if alignment is None else alignment.to(device),
    )


def save_task(
    folder: str | Path,
    model: DenseModel,
    task: TaskConfig,
    config: Mapping[str, Any],
    card: str,
    condition: Tensor | None = None,
) -> Path:
    """Write weights that `load_task` reads without being told anything.

    Args:
        folder: to write.
        model: plain, adapters merged.
        task: what it does.
        config: what config.json says beside architecture and normalisation: "recipe", "data",
            "licence" ...; where it says no voxel sizes, stains or structures, those of the task
            stand there.
        card: model card, Markdown.
        condition: [S, text_dim], the vectors that name the structure or structures, so that no
            sentence encoder is needed later.

    Raises:
        InputError: the folder cannot be written.
    """
    size = task.voxel_size_um
    architecture = {
        "kind": "dense",
        "encoder": model.encoder.config.model_dump(mode="json"),
        "dense": model.config.model_dump(mode="json"),
        "task": task.model_dump(mode="json"),
    }
    tensors = dict(model.state_dict())
    if condition is not None:
        tensors[_CONDITION] = condition.reshape(-1, condition.shape[-1])
    defaults = {
        "normalisation": NORMALISATION,
        "voxel_size_range_um": None if size is None else [list(size), list(size)],
        "stains": [],
        "structures": list(task.structures or filter(None, [task.structure])),
        "recipe": {},
        "data": {},
        "licence": "not stated: it depends on the licences of the volumes",
    }
    return save_weights(folder, tensors, {**defaults, **config, "architecture": architecture}, card)


def is_dense(config: Mapping[str, Any]) -> bool:
    """Whether config.json speaks of a dense model, pretrained or fine-tuned."""
    parts = config.get("architecture")
    return isinstance(parts, dict) and "dense" in parts


def _build(config: Mapping[str, Any], folder: Path) -> tuple[DenseModel, Triple, dict[str, Any]]:
    """The untrained model that config.json describes, its crops, and its description."""
    if not is_dense(config):
        raise InputError(
            f"{folder}: weights without a dense decoder, which tasks need; give a run of luxvox "
            "finetune or of a dense_* recipe of luxvox pretrain"
        )
    parts = config["architecture"]
    try:
        encoder = EncoderConfig(**parts["encoder"])
        z, y, x = (int(side) for side in parts.get("crop_shape") or (64, 64, 64))
        return DenseModel(encoder, DenseConfig(**parts["dense"])), (z, y, x), parts
    except (KeyError, TypeError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else one_line(error)
        raise InputError(
            f"{folder / 'config.json'}: no model can be built from it ({what}); copy it again"
        ) from error


def _voxel_range(config: Mapping[str, Any], folder: Path) -> tuple[VoxelSize, VoxelSize] | None:
    """Smallest and largest (z, y, x) in um that weights were trained on."""
    stated = config.get("voxel_size_range_um")
    if stated is None:
        return None
    try:
        (a, b, c), (d, e, f) = stated
        return (float(a), float(b), float(c)), (float(d), float(e), float(f))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{folder / 'config.json'}: voxel_size_range_um is {stated!r}, expected two sizes "
            "[z, y, x] in micrometres, or null; copy it again"
        ) from error


def _task_of(parts: Mapping[str, Any], folder: Path) -> TaskConfig:
    try:
        return TaskConfig.model_validate(parts["task"])
    except ValidationError as error:
        raise InputError(
            f"{folder / 'config.json'}: architecture.task is no task ({one_line(error)}); "
            "copy it again"
        ) from error


def _same(known: TaskConfig, task: str | None, structure: str | None, name: str | Path) -> None:
    """Refuse to use fine-tuned weights for anything but what they learnt."""
    named = None if known.structures else structure  # of several, `asked` finds the one
    for what, asked, own in (("task", task, known.task), ("structure", named, known.structure)):
        if asked is not None and asked != own:
            raise InputError(
                f"{name}: fine-tuned for {what} {own!r}, asked for {asked!r}; leave --{what} out, "
                "or take weights that fit"
            )


def _new_task(weights: DenseWeights, task: Task | None, structure: str | None) -> TaskConfig:
    """The task that a user gives pretrained weights."""
    heads = {head: config.task for head, config in weights.model.config.heads.items()}
    there = ", ".join(dict.fromkeys(heads.values()))
    if task is None:
        raise InputError(
            f"{weights.where}: pretrained weights, which know no task of their own; "
            f"give --task, one of {there}"
        )
    fitting = [head for head, its in heads.items() if its == task]
    if not fitting:
        raise InputError(
            f"{weights.where}: no head for task {task!r} in these weights (there are {there}); "
            f"fine-tune them: luxvox finetune {task}"
        )
    head = task if task in fitting else fitting[0]
    return TaskConfig(task=task, head=head, structure=structure, tile=weights.tile)
