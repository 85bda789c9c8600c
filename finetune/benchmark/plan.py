"""What a benchmark compares: lists, methods, shots, draws and seeds; checked before any work."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ...configs.errors import InputError
from ..examples import Task

METHODS: dict[Task, tuple[str, ...]] = {
    "segment": (
        "untouched", "pretrained", "stage_a", "scratch", "unet", "unet_stage_b", "swinunetr",
        "top_hat", "forest",
    ),
    "restore": (
        "identity", "wiener", "richardson_lucy", "untouched", "pretrained", "stage_a", "scratch",
        "unet", "unet_stage_b", "swinunetr",
    ),
    "classify": ("linear", "knn", "texture", "attentive", "full"),
}  # fmt: skip
"""Of each task, in the order of the tables."""

ON_REQUEST = ("swinunetr", "full")
"""Too slow to be run unasked on a CPU."""

UNLABELLED = ("untouched", "identity")
"""They look at no label: the same answer whatever is drawn."""

SEEDLESS = (*UNLABELLED, "top_hat", "wiener", "richardson_lucy")
"""No chance in them: one seed is all."""

SCRATCH = {"scratch": "vit", "unet": "unet", "swinunetr": "swinunetr"}
"""Nets that start from random numbers, and which net that is."""

REFERENCE: dict[Task, str] = {
    "segment": "pretrained",
    "restore": "pretrained",
    "classify": "linear",
}
"""The method that the others are compared with."""

METRIC: dict[Task, str] = {"segment": "dice", "restore": "psnr", "classify": "correct"}
"""The one that tables and plots show; `correct` as balanced accuracy."""

LABELS = {"dice": "Dice", "psnr": "PSNR (dB)", "correct": "Balanced accuracy"}
"""What these are called."""


class BenchmarkPlan(BaseModel):
    """A whole benchmark, as it stands in DIR/recipe.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    datasets: tuple[str, ...] = Field(min_length=1)
    out: str
    tasks: tuple[Task, ...] = ("segment",)
    shots: tuple[int, ...] = (1, 3, 5)
    draws: int = Field(default=3, ge=1)
    seeds: int = Field(default=1, ge=1)
    methods: tuple[str, ...] | None = None
    """None = all of the task whose weights are given, but for those in `ON_REQUEST`."""
    weights: str | None = None
    """Ours, pretrained (A + B); None = luxvox-tiny, where it ships."""
    weights_a: str | None = None
    """Ours after stage A only."""
    weights_unet: str | None = None
    """The U-Net after our stage B."""
    recipe: str | None = None
    """Of the fine-tuned methods; None = configs/finetune/TASK.yaml, without its limit in minutes:
    a budget of steps is the same on a busy machine."""
    overrides: tuple[str, ...] = ()
    """key=value, of that recipe."""
    rates: Mapping[str, float] = {}
    """Method -> rate, where one was tuned for a net that starts from scratch."""
    draw_seed: int = Field(default=0, ge=0, lt=2**32)
    noise: float = Field(default=0.0, ge=0, le=1)
    """restore: standard deviation added to every degraded image, as a share of the target's range
    (1st to 99.9th percentile)."""
    gap: int = Field(default=8, ge=0)
    """Lists of one group: planes between the part that is learnt from and the one that judges."""
    keep_weights: bool = False
    """Of every cell; they are large."""

    @field_validator("tasks", "shots", "methods", "datasets")
    @classmethod
    def _each_once(cls, value: tuple[object, ...] | None) -> tuple[object, ...] | None:
        return None if value is None else tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _holds_together(self) -> BenchmarkPlan:
        if not self.shots or min(self.shots) < 1:
            raise ValueError(f"shots are {self.shots}, expected whole numbers of 1 or more")
        known = {name for task in self.tasks for name in METHODS[task]}
        for name in self.methods or ():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"no method {name!r} of {', '.join(self.tasks)}, expected some of "
                    f"{', '.join(sorted(known))}{hint}"
                )
        for name in self.rates:
            if name not in SCRATCH:
                raise ValueError(f"rates: {name!r}, expected some of {', '.join(SCRATCH)}")
        for method, weights, option in (
            ("stage_a", self.weights_a, "weights-a"),
            ("unet_stage_b", self.weights_unet, "weights-unet"),
        ):
            if weights is None and method in (self.methods or ()):
                raise ValueError(f"method {method!r} needs weights; give --{option} RUN")
        return self

    def methods_of(self, task: Task) -> tuple[str, ...]:
        """Which methods of a task are compared, in the order of the tables."""
        if self.methods is not None:
            return tuple(name for name in METHODS[task] if name in self.methods)
        without = {"stage_a": self.weights_a is None, "unet_stage_b": self.weights_unet is None}
        return tuple(
            name for name in METHODS[task] if name not in ON_REQUEST and not without.get(name)
        )


@dataclass(frozen=True)
class Cell:
    """One number of a table, before it is averaged: a method, a draw, a seed."""

    dataset: str
    task: Task
    method: str
    shots: int
    draw: int
    seed: int

    @property
    def name(self) -> str:
        """Of its file, and what `--only` takes."""
        numbers = f"k{self.shots}_draw{self.draw}_seed{self.seed}"
        return f"{self.dataset}__{self.task}__{self.method}__{numbers}"


def seeds_of(method: str, seeds: int) -> range:
    """Seeds that a method is run with."""
    return range(1 if method in SEEDLESS else seeds)


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Read "1,3,5".

    Raises:
        InputError: no such list.
    """
    try:
        return tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise InputError(f"{option} is {text!r}, expected whole numbers such as 1,3,5") from None


def words(text: str) -> tuple[str, ...]:
    """Read "a,b,c"."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def slug(text: str) -> str:
    """Words as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", text).strip("_") or "list"
