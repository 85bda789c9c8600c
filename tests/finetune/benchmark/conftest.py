"""Nano weights and small lists for the benchmark's tests."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from luxvox.finetune.benchmark.plan import BenchmarkPlan
from luxvox.models.checkpoint import save_weights
from luxvox.models.dense import DenseConfig, DenseModel
from luxvox.models.sizes import SIZES

QUICK = (
    "device=cpu", "encoder=nano", "crop=[24,32,32]", "structure=none", "threads=1", "steps=2",
    "one_shot_steps=2", "batch_size=1",
)  # fmt: skip


def save_dense(folder: Path, backbone: str = "vit", groups: Sequence[str] | None = None) -> Path:
    """Weights of a dense model that has learnt nothing, as stage B writes them."""
    torch.manual_seed(5)
    encoder = SIZES["nano"]
    dense = DenseConfig(channels=(4, 8, 16), backbone=backbone)  # type: ignore[arg-type]
    model = DenseModel(encoder, dense)
    tensors = {f"dense.{name}": tensor for name, tensor in model.state_dict().items()}
    config: dict[str, Any] = dict.fromkeys(
        ("normalisation", "stains", "structures", "recipe", "licence")
    )
    config |= {"voxel_size_range_um": None, "data": {}}
    if groups is not None:
        config["data"] = {"groups": list(groups)}
    config["architecture"] = {
        "encoder_name": "vit",
        "encoder": encoder.model_dump(mode="json"),
        "dense": dense.model_dump(mode="json"),
    }
    return save_weights(folder, tensors, config, "card")


def results(folder: Path) -> list[dict[str, str]]:
    """Lines of results.csv."""
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def balls_list(labelled_row: Callable[..., Any], write_list: Callable[..., Path]) -> Path:
    """Six rows of four animals."""
    return write_list([labelled_row(n, group=f"g{min(n, 3)}") for n in range(6)])


@pytest.fixture
def dense_weights(tmp_path: Path) -> Path:
    return save_dense(tmp_path / "stage_b", groups=["elsewhere"])


@pytest.fixture
def plan_for(tmp_path: Path, dense_weights: Path) -> Callable[..., BenchmarkPlan]:
    """A plan of two steps, with whatever is said otherwise."""

    def made(dataset: Path, **changes: Any) -> BenchmarkPlan:
        known: dict[str, Any] = {
            "datasets": (str(dataset),),
            "out": str(tmp_path / "table"),
            "shots": (1,),
            "draws": 2,
            "weights": str(dense_weights),
            "overrides": QUICK,
        }
        return BenchmarkPlan(**{**known, **changes})

    return made
