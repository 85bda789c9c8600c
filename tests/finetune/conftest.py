"""Small volumes with bright balls, on disk and in memory, for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

SHAPE = (20, 32, 32)


def draw_balls(seed: int, count: int = 6, shape: tuple[int, int, int] = SHAPE) -> tuple[Any, Any]:
    """An image of bright balls in noise, uint16, and their labels, uint8 numbers from 1."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    labels = np.zeros(shape, np.uint8)
    for number in range(count):
        centre = rng.uniform(3, np.array(shape) - 3)
        labels[((grid - centre) ** 2).sum(-1) < 9] = number + 1
    image = 200 + 20 * rng.standard_normal(shape) + 120 * (labels > 0)
    return image.astype(np.uint16), labels


@pytest.fixture
def balls() -> Callable[..., tuple[NDArray[Any], NDArray[Any]]]:
    return draw_balls


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write an array as OME-TIFF; a size of None says nothing."""
    from luxvox.data.save import save_volume

    def written(name: str, array: NDArray[Any], size: Any = (2.0, 1.0, 1.0)) -> Path:
        path = tmp_path / f"{name}.ome.tif"
        save_volume(array, path, voxel_size_um=size, overwrite=True)
        return path

    return written


@pytest.fixture
def labelled_row(write: Callable[..., Path]) -> Callable[..., Any]:
    """A row of balls, labelled, with whatever is said otherwise."""
    from luxvox.data.row import Row

    def made(seed: int, **changes: Any) -> Row:
        image, labels = draw_balls(seed)
        known = {
            "id": f"v{seed}",
            "image": write(f"image{seed}", image),
            "labels": write(f"labels{seed}", labels),
            "group": f"g{seed}",
            "structure": "nuclei",
            "list_row": seed + 2,
        }
        return Row(**{**known, **changes})

    return made


@pytest.fixture
def write_list(tmp_path: Path) -> Callable[..., Path]:
    """A dataset.csv of rows."""

    def written(rows: list[Any]) -> Path:
        lines = ["id,image,labels,target,class,group,structure"]
        for row in rows:
            cells = (row.id, row.image, row.labels, row.target, row.class_name, row.group)
            words = [str(cell) if cell is not None else "" for cell in (*cells, row.structure)]
            lines.append(",".join(words))
        path = tmp_path / "dataset.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return written


SMALL = (
    "device=cpu", "encoder=nano", "crop=[16,24,24]", "structure=none", "tracker=none",
    "minutes=null", "threads=1", "precision=no",
)  # fmt: skip


@pytest.fixture
def small() -> tuple[str, ...]:
    """Overrides that make a run small."""
    return SMALL


@pytest.fixture
def run() -> Callable[..., dict[str, Any]]:
    """A small run: task, list, folder and overrides -> metrics."""
    from luxvox.configs.load import load_recipe
    from luxvox.finetune.recipe import FinetuneRecipe
    from luxvox.finetune.run import finetune

    def done(
        task: str,
        data: Path | str,
        out: Path,
        *words: str,
        weights: Path | str = "none",
        support: Any = None,
    ) -> dict[str, Any]:
        given = [f"data={data}", f"out={out}", f"weights={weights}", *SMALL, *words]
        return finetune(load_recipe(f"finetune/{task}.yaml", FinetuneRecipe, given), support)

    return done


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """Weights of a dense model that has learnt nothing, as stage B writes them."""
    import torch

    from luxvox.models.checkpoint import CONFIG_KEYS, save_weights
    from luxvox.models.dense import DenseConfig, DenseModel
    from luxvox.models.sizes import SIZES

    torch.manual_seed(5)
    encoder, dense = SIZES["nano"], DenseConfig(channels=(4, 8, 16))
    model = DenseModel(encoder, dense)
    tensors = {f"dense.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors["decoder.other"] = torch.zeros(1)
    parts = {"encoder_name": "vit", "encoder": encoder.model_dump(mode="json")}
    parts |= {"dense": dense.model_dump(mode="json")}
    config = {**dict.fromkeys(CONFIG_KEYS), "architecture": parts}
    return save_weights(tmp_path / "stage_b", tensors, config, "card")
