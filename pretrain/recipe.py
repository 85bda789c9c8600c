"""The recipe of a pretraining run: what stands in RUN/recipe.yaml, checked before anything starts.

Every group of keys is one frozen model; a YAML file says only what differs from the defaults here.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..configs.precision import Precision
from ..data.augment import AugmentConfig
from ..data.crop_plan import CropConfig
from ..models.sizes import SIZES, DecoderConfig

Beta = Annotated[float, Field(ge=0, lt=1)]


class RecipePart(BaseModel):
    """A group of keys: frozen, unknown keys and infinities refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataRecipe(RecipePart):
    """Which volumes, and how crops are cut from them."""

    shorthand: ClassVar[str] = "source"  # `data=LIST` means `data.source=LIST`

    source: str  # a list, a folder, a glob, one volume, or a bank file
    val_fraction: float = Field(default=0.15, ge=0, lt=1)  # of groups, where the list has no split
    skip_unreadable: bool = False
    missing_captions: Literal["error", "ignore"] = "error"
    workers: int = Field(default=0, ge=0)  # 0: a thread, best where training itself needs the CPU
    crop: CropConfig = CropConfig()
    augment: AugmentConfig = AugmentConfig()


class EncoderRecipe(RecipePart):
    """Which network learns: our ViT by size, or one of MONAI's as a control."""

    shorthand: ClassVar[str] = "size"

    name: Literal["vit", "unet", "swinunetr"] = "vit"
    size: str = "tiny"
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    checkpoint_activations: bool = False

    @model_validator(mode="after")
    def _size_is_known(self) -> EncoderRecipe:
        if self.size not in SIZES:
            raise ValueError(f"encoder.size is {self.size!r}, expected one of {', '.join(SIZES)}")
        if self.name != "vit" and (self.drop_path or self.checkpoint_activations):
            raise ValueError(
                f"encoder.name is {self.name!r}: drop_path and checkpoint_activations "
                "are of 'vit' only"
            )
        return self


class MaskingRecipe(RecipePart):
    """How tokens are hidden. The shares say how often each kind is drawn."""

    ratio: float = Field(default=0.75, gt=0, lt=1)
    queries: float = Field(
        default=0.25, gt=0, le=1
    )  # share of all tokens that the decoder rebuilds
    random: float = Field(default=0.5, ge=0)
    blocks: float = Field(default=0.35, ge=0)
    slabs: float = Field(default=0.15, ge=0)

    @model_validator(mode="after")
    def _some_kind(self) -> MaskingRecipe:
        if self.random + self.blocks + self.slabs <= 0:
            raise ValueError("masking: random, blocks and slabs are all 0; one must be above 0")
        if self.queries > self.ratio:
            raise ValueError(
                f"masking.queries {self.queries} is above masking.ratio {self.ratio}: "
                "only hidden tokens are rebuilt"
            )
        return self


class ObjectiveRecipe(RecipePart):
    """Weights of the terms; `masked` scales the three reconstruction terms together."""

    masked: float = Field(default=1.0, ge=0)
    text: float = Field(default=0.1, ge=0)
    intensity: float = Field(default=1.0, ge=0)  # error of rebuilt voxels in normalised intensity
    moments: float = Field(default=0.1, ge=0)  # each patch's mean and log standard deviation
    frequency: float = Field(default=0.05, ge=0)

    @model_validator(mode="after")
    def _something_to_learn(self) -> ObjectiveRecipe:
        if self.masked == 0 and self.text == 0:
            raise ValueError("objective.masked and objective.text are both 0: nothing to learn")
        return self


class TextRecipe(RecipePart):
    """The sentence encoder and the shared space of images and captions."""

    folder: str | None = None  # a transformers folder; None is the package of the [text] extra
    trainable_layers: int = Field(default=0, ge=0)
    dim: int = Field(default=256, gt=0)
    variants: int = Field(default=8, ge=1)  # truthful wordings per caption; 1 is the caption alone
    noise: float = Field(default=0.1, ge=0)  # relative to the norm of the frozen caption vector


class OptimRecipe(RecipePart):
    """AdamW with warm-up, a constant part and a decay at the end."""

    lr: float = Field(default=6e-4, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    clip: float = Field(default=1.0, gt=0)
    warmup_share: float = Field(default=0.05, ge=0, le=1)
    decay_share: float = Field(default=0.15, ge=0, le=1)
    ema: float = Field(default=0.999, ge=0, lt=1)

    def rate(self, step: int, steps: int) -> float:
        """Rate at `step` (0-based) of `steps`: linear warm-up, constant, linear decay to zero."""
        warmup = round(self.warmup_share * steps)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        start = self.decay_start(steps)
        if step >= start:
            return self.lr * (steps - step) / (steps - start + 1)
        return self.lr

    def decay_start(self, steps: int) -> int:
        """First step of the decay."""
        return steps - round(self.decay_share * steps)


class CheckpointRecipe(RecipePart):
    """When a run saves all that it needs to go on."""

    every_steps: int | None = Field(default=None, ge=1)
    every_minutes: float = Field(default=5.0, gt=0)
    keep: int = Field(default=2, ge=1)


class EvaluateRecipe(RecipePart):
    """What is measured on the held-back groups, and how often."""

    every_steps: int | None = Field(default=None, ge=1)  # None: at the end only
    crops_per_volume: int = Field(default=8, ge=1)
    ratio: float = Field(default=0.75, gt=0, lt=1)
    max_volumes: int = Field(default=64, ge=1)


class PretrainRecipe(RecipePart):
    """A whole pretraining run."""

    data: DataRecipe
    out: str
    steps: int = Field(gt=0)
    batch_size: int = Field(default=16, gt=0)  # crops per process and micro-batch
    accumulate: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)  # times a prime it must fit into 64 bits
    precision: Precision = "no"
    compile: bool = False
    device: Literal["auto", "cpu"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    encoder: EncoderRecipe = EncoderRecipe()
    decoder: DecoderConfig = DecoderConfig()
    masking: MaskingRecipe = MaskingRecipe()
    objective: ObjectiveRecipe = ObjectiveRecipe()
    text: TextRecipe = TextRecipe()
    optim: OptimRecipe = OptimRecipe()
    checkpoint: CheckpointRecipe = CheckpointRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()

    @model_validator(mode="after")
    def _crop_fits_patch(self) -> PretrainRecipe:
        crop, patch = self.data.crop.shape, self.data.crop.patch
        if any(side % edge for side, edge in zip(crop, patch, strict=True)):
            raise ValueError(f"data.crop.shape {crop} is no multiple of data.crop.patch {patch}")
        if crop == patch:
            raise ValueError(
                f"data.crop.shape {crop} is one single patch, so nothing can be hidden and "
                "something seen; enlarge the crop or lower data.crop.patch"
            )
        return self

    def learning_rate(self, step: int) -> float:
        """Rate at `step` (0-based): linear warm-up, constant, then linear decay to zero."""
        return self.optim.rate(step, self.steps)

    @property
    def decay_start(self) -> int:
        """First step of the decay; a checkpoint is kept there so that a run can be lengthened."""
        return self.optim.decay_start(self.steps)
