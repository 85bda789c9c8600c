"""The recipe of a fine-tuning run: what stands in RUN/recipe.yaml, and what it comes to.

Numbers depend on where a run starts: what pretraining taught is kept by small steps, a net that
knows nothing must take large ones. `plan` settles that, so that a run from scratch is held back by
nothing.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..configs.precision import AutoPrecision
from ..models.adapt import How
from ..models.sizes import SIZES
from ..predict.image import bf16_or_no
from .blend import step_share
from .examples import Task
from .sub_crops import CropAugment, Triple

Begins = Literal["scratch", "encoder", "dense"]
"""What the weights bring: nothing, an encoder (stage A), or decoder and heads too (stage B)."""


class Plan(NamedTuple):
    """What a run does, all choices made.

    how: which parts learn. steps: at most. lr: of decoder and head. encoder_lr: of the last block.
    layer_decay: factor from each block to the one before. new_head_lr: of a head without
    pretraining. blend: share of the fine-tuned weights in the final ones.
    """

    how: How
    steps: int
    lr: float
    encoder_lr: float
    layer_decay: float
    new_head_lr: float
    blend: float


class ClassifyRecipe(BaseModel):
    """How volumes are classified."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["linear", "knn", "attentive", "full"] = "linear"
    """linear, knn: on frozen features. attentive: a pool learns too. full: everything does."""
    views: int = Field(default=16, ge=1)
    """linear, knn: crops of each volume whose features are learnt from."""
    penalty: float = Field(default=1.0, gt=0)
    """linear: weight of half the squared norm beside the sum of losses."""


class FinetuneRecipe(BaseModel):
    """A whole run."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: Task
    data: str
    out: str
    weights: str | None = None
    """A RUN, a weights folder, a shipped name; "none" = from scratch; None = luxvox-tiny."""
    encoder: str = "tiny"
    """Size, where there are no weights that say it."""
    backbone: Literal["vit", "unet", "swinunetr"] = "vit"
    """From scratch: our own net, or a control of `models.dense_control`."""
    shots: int | None = Field(default=None, ge=1)
    """Rows to learn from (classification: of each class); None = all of split train."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    structure: str | None = None
    """What the foreground is called; None = as the list says; "none" = not said."""
    labels: Literal["binary", "classes"] = "binary"
    """Whether every value of the labels is a class of its own."""
    objects: bool = False
    """The labels number objects; a channel learns to tell touching ones apart (`--instances`)."""
    tubes: Literal["auto"] | bool = "auto"
    """Whether centrelines count extra; auto: where the structure's name is that of tubes."""

    adapt: Literal["auto", "head", "decoder", "lora", "full"] = "auto"
    steps: int = Field(default=300, gt=0)
    one_shot_steps: int | None = Field(default=None, gt=0)
    """In place of `steps` where one row is learnt from, with pretrained weights."""
    minutes: float | None = Field(default=None, gt=0)
    """Of the wall clock, at most; the rates fall with whichever budget is used up faster."""
    batch_size: int = Field(default=2, gt=0)
    crop: Triple = (32, 64, 64)
    lr: float = Field(default=3e-4, gt=0)
    encoder_lr: float = Field(default=1e-4, gt=0)
    new_head_lr: float = Field(default=1e-3, gt=0)
    scratch_lr: float = Field(default=1e-3, gt=0)
    """Of whatever starts from random numbers, head apart; from scratch of everything."""
    layer_decay: float = Field(default=0.75, gt=0, le=1)
    lora_rank: int = Field(default=8, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the budget in which the rate rises; then it falls along a cosine to 0."""
    clip: float = Field(default=1.0, gt=0)
    average: bool = True
    """The mean of the weights over the last half of the budget, in place of the last ones."""
    blend: float | Literal["auto"] = "auto"
    """Share of fine-tuned weights in the final ones, the rest as they were before; auto: see
    `finetune.blend`."""
    calibrate: bool = True
    """Binary segmentation: choose the threshold on the support."""
    first_guess: bool = True
    """Restoration: what is learnt is added to the image behind Richardson-Lucy
    deconvolution, tuned on the support; false adds it to the image as it is."""
    replay: float = Field(default=0.0, ge=0, lt=1)
    """Share of batches that are simulated."""
    cached_batches: int = Field(default=24, ge=1)
    """Head only: so many batches have their features computed once, and are gone through again."""
    augment: CropAugment = CropAugment()
    classify: ClassifyRecipe = ClassifyRecipe()

    precision: AutoPrecision = "auto"
    """auto: bf16 where the device is fast at it, else float32 ("no"). bf16 is not repeatable to the
    last bit, not even on a CPU."""
    device: Literal["auto", "cpu"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    tracker: Literal["tensorboard", "none"] = "tensorboard"
    text_folder: str | None = None

    @field_validator("blend")
    @classmethod
    def _is_a_share(cls, value: Any) -> Any:
        if value != "auto" and not 0 <= value <= 1:
            raise ValueError("expected auto, or a share from 0 (untouched) to 1 (fine-tuned)")
        return value

    @model_validator(mode="after")
    def _holds_together(self) -> FinetuneRecipe:
        if self.encoder not in SIZES:
            raise ValueError(f"encoder is {self.encoder!r}, expected one of {', '.join(SIZES)}")
        if min(self.crop) < 1:
            raise ValueError(f"crop is {self.crop}, expected three sides of 1 voxel or more")
        if self.weights == "none" and self.adapt not in ("auto", "full"):
            raise ValueError(
                f"adapt is {self.adapt!r} with weights=none: parts of random numbers would stay "
                "frozen; leave adapt out, or give weights"
            )
        if self.weights == "none" and self.task == "classify" and self.classify.method != "full":
            raise ValueError(
                f"classify.method is {self.classify.method!r} with weights=none: features of a "
                "random encoder; set classify.method=full, or give weights"
            )
        if self.backbone != "vit" and (self.weights != "none" or self.task == "classify"):
            raise ValueError(
                f"backbone is {self.backbone!r} with weights={self.weights} and task={self.task}: "
                "controls start from scratch and give no tokens to classify; set weights=none and "
                "another task, or leave backbone out (weights know their own)"
            )
        if self.objects and (self.task != "segment" or self.labels == "classes"):
            raise ValueError(
                f"objects=true with task={self.task} and labels={self.labels}: objects are told "
                "apart in a binary segmentation; leave objects out"
            )
        if self.replay and self.task == "classify":
            raise ValueError("replay is for segment and restore; set replay=0")
        if self.labels == "classes" and self.replay:
            raise ValueError("replay knows one structure at a time; set replay=0 or labels=binary")
        return self

    def chosen_precision(self) -> Literal["bf16", "no"]:
        """What `precision` comes to on the device that a run would take here."""
        cuda = self.device == "auto" and torch.cuda.is_available()
        return bf16_or_no(self.precision, torch.device("cuda" if cuda else "cpu"))

    def plan(self, begins: Begins, shots: int, new_head: bool = False) -> Plan:
        """Settle what is left open.

        Args:
            begins: what the weights bring.
            shots: rows that are learnt from.
            new_head: the task's head starts from random numbers, whatever else is pretrained.
        """
        if begins == "scratch":
            rate = self.scratch_lr
            return Plan("full", self.steps, rate, rate, 1.0, rate, blend=1.0)
        steps = self.steps
        if shots == 1 and self.one_shot_steps is not None:
            steps = self.one_shot_steps
        blend = 1.0
        # A new head of restoration adds nothing yet: the way back leads to the deconvolved image.
        if begins == "dense" and (not new_head or self.task == "restore"):
            blend = step_share(shots) if self.blend == "auto" else self.blend
        return Plan(
            how=self._how(begins, shots),
            steps=steps,
            lr=self.scratch_lr if begins == "encoder" else self.lr,
            encoder_lr=self.encoder_lr,
            layer_decay=self.layer_decay,
            new_head_lr=self.new_head_lr,
            blend=blend,
        )

    def _how(self, begins: Begins, shots: int) -> How:
        if self.task == "classify" and self.adapt == "auto":
            return "full" if self.classify.method == "full" else "head"
        if self.adapt != "auto":
            return self.adapt
        return "decoder" if shots == 1 and begins == "dense" else "full"
