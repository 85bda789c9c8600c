"""Training batches from simulation: a function of seed and step, with labels on the structures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from luxvox.data.normalize import MAD_TO_SIGMA
from luxvox.data.optics import OpticsRanges
from luxvox.data.synthetic.photograph import tissue_level
from luxvox.data.synthetic.recipe import SceneRanges, SimulateRecipe
from luxvox.data.synthetic.stock import STRUCTURES, SceneStock, StockRecipe

RECIPE = StockRecipe(
    scene=SimulateRecipe(
        structures=("nuclei", "vessels"), scene=SceneRanges(second_stained=0.0, debris=0.0)
    ),
    scene_size=(16, 40, 40),
    crop=(12, 24, 24),
    voxel_sizes_um=((1.5, 1.5, 1.5), (4.0, 1.5, 1.5)),
    scenes=4,
    renew_every=2,
)


@pytest.fixture(scope="module")
def stock() -> Iterator[SceneStock]:
    with SceneStock(RECIPE, seed=5, workers=1) as stock:
        yield stock


def test_a_batch_is_a_function_of_seed_and_step(stock: SceneStock) -> None:
    with SceneStock(RECIPE, seed=5, workers=2) as other, SceneStock(RECIPE, seed=6) as foreign:
        other.batch(9, 2)  # came another way
        for step in (3, 8):
            ours, theirs, strange = (s.batch(step, 2) for s in (stock, other, foreign))
            assert torch.equal(ours.image, theirs.image)
            assert torch.equal(ours.labels, theirs.labels)
            assert not torch.equal(ours.image, strange.image)


def test_batches_have_the_shape_and_take_turns_of_voxel_size(stock: SceneStock) -> None:
    for step in (0, 1):
        batch = stock.batch(step, 3)
        assert batch.image.shape == batch.clean.shape == (3, 1, 12, 24, 24)
        assert batch.labels.shape == (3, 12, 24, 24)
        assert batch.voxel_size_um.tolist() == [list(RECIPE.voxel_sizes_um[step])] * 3
        assert len(batch.optics) == 3
        assert bool(batch.image.isfinite().all())


def test_labels_lie_where_the_structure_glows_also_after_turning(stock: SceneStock) -> None:
    brighter = []
    for step in range(8):
        batch = stock.batch(step, 4)
        for number in range(4):
            bit = int(batch.main[number])
            assert STRUCTURES[bit] in ("nuclei", "vessels")
            assert int(batch.stained[number]) == 1 << bit
            inside = (batch.labels[number] >> bit) & 1 == 1
            if 10 < int(inside.sum()) < inside.numel() / 2:
                clean = batch.clean[number, 0].sinh()
                brighter.append(bool(clean[inside].mean() > 2 * clean[~inside].mean()))
    assert len(brighter) > 8
    assert sum(brighter) > 0.9 * len(brighter)


def test_scenes_are_renewed_and_optics_differ_at_every_draw(stock: SceneStock) -> None:
    one, later = stock.batch(0, 2), stock.batch(2, 2)
    assert not torch.equal(one.optics.na, later.optics.na)
    stock.batch(40, 2)  # the tenth scene is the oldest by then
    assert min(number for kind, number in stock._kept if kind == 0) >= 10


def test_the_clean_volume_is_what_the_image_should_have_been(stock: SceneStock) -> None:
    scene = RECIPE.scene.model_copy(
        update={
            "optics": OpticsRanges(
                na=(1.2, 1.2), sheet_waist_um=(1.0, 1.0), photons=(1e5, 1e5),
                sheet_offset_um=(0.0, 0.0),
                counts_per_photon=(0.4, 0.4),
                defocus_um=(0.0, 0.0), haze=(0.0, 0.0), scatter_um_per_mm=(0.0, 0.0),
                stripes=(0.0, 0.0), resampled=0.0, bits_12=0.0,
            )
        }
    )  # fmt: skip
    good = RECIPE.model_copy(update={"scene": scene, "voxel_sizes_um": ((1.5, 1.5, 1.5),)})

    def share_of_error(stock: SceneStock) -> float:
        batch = stock.batch(0, 4)
        error = (batch.image - batch.clean).square().mean((1, 2, 3, 4))
        return float((error / batch.clean.var(dim=(1, 2, 3, 4))).median())

    with SceneStock(good, seed=5) as clear:
        assert share_of_error(clear) < 0.15
    assert share_of_error(stock) > 0.3


def test_level_and_spread_ignore_bright_structures() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = 300 + 20 * torch.randn(2, 1, 24, 40, 40, generator=generator)
    counts[1, :, :6] += 5000  # a quarter is foreground
    level, spread = tissue_level(counts)
    assert level.flatten().tolist() == pytest.approx([300, 300], abs=3)
    assert spread.flatten().tolist() == pytest.approx([20, 20], rel=0.05)
    assert MAD_TO_SIGMA == pytest.approx(1.4826)


def test_impossible_stocks_are_refused() -> None:
    with pytest.raises(ValueError, match="larger than scene_size"):
        StockRecipe(crop=(128, 64, 64))
    with pytest.raises(ValueError, match="square pixels"):
        StockRecipe(voxel_sizes_um=((1.0, 1.0, 2.0),))
