"""The recipe of a dense run: what stands in RUN/recipe.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ...configs.precision import Precision
from ...data.synthetic.stock import StockRecipe
from ...models.sizes import SIZES, DecoderConfig
from ..recipe import CheckpointRecipe, MaskingRecipe, OptimRecipe, RecipePart


class DenseObjectiveRecipe(RecipePart):
    """Weights of the terms; 0 leaves one out."""

    segment: float = Field(default=1.0, ge=0)
    centreline: float = Field(default=0.3, ge=0)
    restore: float = Field(default=0.5, ge=0)
    optics: float = Field(default=0.05, ge=0)
    masked: float = Field(default=0.2, ge=0)
    """Of masked reconstruction, so that what stage A taught is not forgotten."""
    absent: float = Field(default=0.1, ge=0, lt=1)
    """Share of samples that are asked for a structure that is not there: nothing is right."""
    unnamed: float = Field(default=0.15, ge=0, lt=1)
    """Share of samples that are not told what to look for: the main structure is meant."""
    dim_left_out: float = Field(default=0.35, ge=0, le=1)
    """Share of samples whose labels leave out what is dim beside the rest, as annotators do who
    cut at a brightness of their own."""
    as_seen: float = Field(default=0.6, ge=0, le=1)
    """Share of samples whose labels are as wide as the blurred structure looks, not as it is."""
    thin_as_seen: float = Field(default=0.85, ge=0, le=1)
    """The same for structures with thin parts: tubes, and cells with processes."""
    hide_spacing: float = Field(default=0.3, ge=0, le=1)
    """Share of samples that are told no voxel size."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> DenseObjectiveRecipe:
        if not (self.segment or self.restore):
            raise ValueError("objective.segment and objective.restore are both 0: nothing to learn")
        if self.absent + self.unnamed >= 1:
            raise ValueError("objective.absent and objective.unnamed leave nothing to be named")
        return self


class DenseEvaluateRecipe(RecipePart):
    """What is measured at the end: simulated volumes apart, and real labelled lists."""

    batches: int = Field(default=12, ge=1)
    """Simulated batches of scenes that training never draws."""
    real: tuple[str, ...] = ()
    """Labelled lists; every row is segmented by the name of its structure, without its labels."""


class DenseRecipe(RecipePart):
    """A whole run of stage B."""

    stage: Literal["dense"]
    """What tells this recipe from one of stage A."""
    out: str
    init: str | None = None
    """A run or weights folder, of stage A or of an earlier stage B; None starts from nothing."""
    encoder: str = "nano"
    """Size, where `init` does not say it."""
    backbone: Literal["vit", "unet", "swinunetr"] = "vit"
    """Our own net, or a control of `models.dense_control` taught the same; that one has no tokens,
    and so no rehearsal and no optics."""
    steps: int = Field(gt=0)
    batch_size: int = Field(default=4, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Precision = "no"
    device: Literal["auto", "cpu"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    workers: int = Field(default=1, ge=1)
    """Processes that draw scenes."""
    text_folder: str | None = None
    stock: StockRecipe = Field(default_factory=StockRecipe)
    real: str | None = None
    """A list or a bank of real volumes, to be degraded again; its held-back rows are not used."""
    real_every: int = Field(default=4, ge=2)
    """Every so many steps the batch is one of real volumes."""
    decoder: DecoderConfig = DecoderConfig()
    masking: MaskingRecipe = MaskingRecipe()
    objective: DenseObjectiveRecipe = DenseObjectiveRecipe()
    optim: OptimRecipe = OptimRecipe(lr=1e-3)
    checkpoint: CheckpointRecipe = CheckpointRecipe()
    evaluate: DenseEvaluateRecipe = DenseEvaluateRecipe()

    @model_validator(mode="after")
    def _size_is_known(self) -> DenseRecipe:
        if self.encoder not in SIZES:
            raise ValueError(f"encoder is {self.encoder!r}, expected one of {', '.join(SIZES)}")
        return self

    @model_validator(mode="after")
    def _controls_have_no_tokens(self) -> DenseRecipe:
        if self.backbone != "vit" and (
            self.init is not None or self.objective.masked or self.objective.optics
        ):
            raise ValueError(
                f"backbone is {self.backbone!r}, which has no tokens: leave init out and set "
                "objective.masked=0 objective.optics=0"
            )
        return self

    def learning_rate(self, step: int) -> float:
        """Rate at `step` (0-based): linear warm-up, constant, then linear decay to zero."""
        return self.optim.rate(step, self.steps)
