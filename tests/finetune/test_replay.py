"""Simulated batches among the real ones: the structure that is meant, in the same form."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.data.synthetic.stock import STRUCTURES
from luxvox.finetune.replay import common_size, replay_stock, replayed, simulated_name

NUCLEI, VESSELS = STRUCTURES.index("nuclei"), STRUCTURES.index("vessels")


def test_the_structure_is_known_by_its_text() -> None:
    assert simulated_name("c-Fos positive nuclei") == "nuclei"
    assert simulated_name("blood vessels") == "vessels"
    with pytest.raises(InputError, match="nothing like 'bones' is simulated"):
        simulated_name("bones")
    with pytest.raises(InputError, match="set replay=0"):
        simulated_name(None)


def test_a_structure_that_is_dark_does_not_count() -> None:
    labels = torch.zeros(2, 4, 4, 4, dtype=torch.uint8)
    labels[:, 0] = 1 << NUCLEI
    labels[:, 1] = (1 << NUCLEI) | (1 << VESSELS)
    drawn = SimpleNamespace(
        image=torch.randn(2, 1, 4, 4, 4), clean=torch.randn(2, 1, 4, 4, 4), labels=labels,
        voxel_size_um=torch.ones(2, 3),
        stained=torch.tensor([1 << NUCLEI, 1 << VESSELS], dtype=torch.uint8),
    )  # fmt: skip
    stock: Any = SimpleNamespace(batch=lambda step, size: drawn)
    named = torch.randn(1, 6)
    batch = replayed(stock, 3, 2, "nuclei", named, restore=False)
    assert torch.equal(batch.labels, (labels & (1 << NUCLEI) > 0).long())
    assert batch.counts[0].all()
    assert torch.equal(batch.counts[1], labels[1] & (1 << NUCLEI) == 0)
    assert torch.equal(batch.condition, named.expand(2, 6))
    assert batch.example.tolist() == [-1, -1]
    restored = replayed(stock, 3, 2, "nuclei", None, restore=True)
    assert restored.labels is restored.condition is None
    assert torch.equal(restored.target, drawn.clean)
    assert restored.counts.all()


def test_the_voxel_size_is_that_of_the_support() -> None:
    assert common_size([None, (3.0, 1.0, 1.0), (2.0, 1.0, 1.0), (9.0, 2.0, 2.0)]) == (3.0, 1.0, 1.0)
    assert common_size([None]) is None
    with replay_stock("axons", (16, 24, 24), (6.0, 1.6, 1.6), 0, "cpu") as stock:
        assert stock.recipe.voxel_sizes_um == ((6.0, pytest.approx(1.6), pytest.approx(1.6)),)
        assert stock.recipe.scene.structures == ("axons",)


@pytest.mark.slow
def test_simulated_batches_take_part(tmp_path, labelled_row, run) -> None:
    words = ("steps=3", "replay=0.7", "calibrate=false")
    metrics = run("segment", "given", tmp_path / "a", *words, support=[labelled_row(1)])
    other = run("segment", "given", tmp_path / "b", *words[::2], support=[labelled_row(1)])
    assert metrics["train/loss"] != other["train/loss"]
