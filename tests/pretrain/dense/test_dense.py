"""Stage B: what is asked, what is learnt, and that a stopped run goes on as if it had not been."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.configs.load import load_recipe
from luxvox.data.manifest import read_dataset
from luxvox.data.optics import Optics, OpticsRanges, sharp_optics
from luxvox.data.synthetic.stock import STRUCTURES, SimulatedBatch
from luxvox.models.checkpoint import load_weights
from luxvox.predict.image import predict_image
from luxvox.predict.task_weights import load_task
from luxvox.pretrain.dense.evaluate import heads_of, segment_row
from luxvox.pretrain.dense.objective import _restore_loss, well_imaged
from luxvox.pretrain.dense.real import open_real, real_batch
from luxvox.pretrain.dense.recipe import DenseObjectiveRecipe, DenseRecipe
from luxvox.pretrain.dense.run import build_dense, pretrain_dense
from luxvox.pretrain.dense.targets import ask, condition_of, optics_targets
from luxvox.pretrain.recipe import PretrainRecipe
from luxvox.pretrain.run import pretrain

NUCLEI, VESSELS, AXONS = (STRUCTURES.index(name) for name in ("nuclei", "vessels", "axons"))
SMALL = (
    "threads=1", "batch_size=2", "stock.scene_size=[16,32,32]", "stock.crop=[16,32,32]",
    "stock.scenes=3", "stock.voxel_sizes_um=[[1.5,1.5,1.5]]", "evaluate.batches=1", "device=cpu",
    "stock.scene.structures=[nuclei,vessels]", "encoder=nano", "precision=no",
)  # fmt: skip


def plan(out: Path, *words: str) -> DenseRecipe:
    return load_recipe("dense_cpu", DenseRecipe, [*SMALL, f"out={out}", *words])


def batch_of(count: int = 64) -> SimulatedBatch:
    """Crops with nuclei (main, stained), vessels (stained) and axons that are there but dark."""
    labels = torch.zeros(count, 4, 4, 4, dtype=torch.uint8)
    labels[:, 0] |= 1 << NUCLEI
    labels[:, 1] |= 1 << VESSELS
    labels[:, 2] |= 1 << AXONS
    middle = torch.zeros_like(labels)
    middle[:, 1, 2] |= 1 << VESSELS
    image = torch.zeros(count, 1, 4, 4, 4)
    optics = Optics.stack([sharp_optics(na=0.2 + 0.005 * i) for i in range(count)])
    return SimulatedBatch(
        image, image, labels, middle, torch.full((count,), NUCLEI),
        torch.full((count,), (1 << NUCLEI) | (1 << VESSELS), dtype=torch.uint8),
        torch.ones(count, 3), optics,
    )  # fmt: skip


def test_the_right_answer_is_that_of_the_structure_that_was_named() -> None:
    batch = batch_of()
    recipe = DenseObjectiveRecipe(
        absent=0.2, unnamed=0.2, dim_left_out=0.0, as_seen=0.0, thin_as_seen=0.0
    )
    asked = ask(batch, recipe, seed=1, step=2)
    rows = {NUCLEI: 0, VESSELS: 1}
    seen = set()
    for number, bit in enumerate(asked.structure.tolist()):
        seen.add(bit)
        assert bit != AXONS  # there, but dark: never asked for
        expected = torch.zeros(4, 4, 4, dtype=torch.uint8)
        if bit == -1 or bit in rows:
            expected[rows.get(bit, 0)] = 1
        assert torch.equal(asked.labels[number], expected)
        assert bool(asked.tube[number]) is (bit == VESSELS)
        assert bool(asked.centreline[number].any()) is (bit == VESSELS)
    assert {-1, NUCLEI, VESSELS} < seen
    assert len(seen) > 4  # and some that are not there
    again, other = ask(batch, recipe, seed=1, step=2), ask(batch, recipe, seed=1, step=3)
    assert torch.equal(asked.structure, again.structure)
    assert not torch.equal(asked.structure, other.structure)


def test_labels_are_drawn_as_annotators_do() -> None:
    """The shares of the recipe reach the samples, thin structures having their own."""
    batch = batch_of()
    batch.image[:, 0, 1] = 4.0
    batch.image[:, 0, 0] = 4.0
    none = {"dim_left_out": 0.0, "as_seen": 0.0, "thin_as_seen": 0.0, "absent": 0.0}
    exact = ask(batch, DenseObjectiveRecipe(**none), 1, 2)
    wide = ask(batch, DenseObjectiveRecipe(**(none | {"thin_as_seen": 1.0})), 1, 2)
    less = ask(batch, DenseObjectiveRecipe(**(none | {"dim_left_out": 1.0})), 1, 2)
    vessels = exact.structure == VESSELS
    assert bool(vessels.any())
    assert torch.equal(wide.labels[~vessels], exact.labels[~vessels])
    assert bool(wide.labels[vessels].sum() > exact.labels[vessels].sum())
    assert bool((less.labels <= exact.labels).all())


def test_names_become_vectors_and_no_name_becomes_zeros() -> None:
    words = torch.randn(len(STRUCTURES), 6, 5)
    structure, wording = torch.tensor([2, -1, 0]), torch.tensor([3, 1, 0])
    said = condition_of(structure, words, wording)
    assert torch.equal(said[0], words[2, 3])
    assert torch.equal(said[1], torch.zeros(5))
    assert torch.equal(condition_of(structure, words)[0], words[2, 0])


def test_optics_targets_follow_the_optics() -> None:
    targets = optics_targets(batch_of())
    assert targets.shape == (64, 4)
    assert bool((targets[1:, 0] > targets[:-1, 0]).all())  # NA grows from sample to sample
    assert float(targets[:, 2].std()) < 1e-5  # the sheet does not


def test_a_run_writes_and_goes_on_to_the_bit(tmp_path: Path) -> None:
    words = ("steps=6", "checkpoint.every_steps=3", "checkpoint.keep=3")
    run = tmp_path / "run"
    metrics = pretrain_dense(plan(run, *words))
    assert metrics["steps"] == 6
    assert {"val/dice", "val/restore_error", "val/identity_error"} <= set(metrics)
    history = [json.loads(line) for line in (run / "history.jsonl").open()]
    assert {"segment", "centreline", "restore", "optics", "masked", "loss"} < set(history[0])
    one, _ = load_weights(run / "weights")
    # The same, as if killed after its third step, and resumed.
    shutil.rmtree(run / "weights")
    for later in (5, 6):  # 5: from where the rate falls
        shutil.rmtree(run / "checkpoints" / f"step_{later:08}")
    resumed = pretrain_dense(plan(run, *words), resume=True)
    assert resumed["resumed_from_step"] == 3
    lines = [json.loads(line) for line in (run / "history.jsonl").open()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    two, _ = load_weights(run / "weights")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(InputError, match="--resume"):
        pretrain_dense(plan(run, *words))


@pytest.mark.slow
def test_two_ranks_write_one_history_and_one_set_of_weights(tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    words = ["dense_cpu", *SMALL, f"out={tmp_path / 'two'}", "steps=3"]
    subprocess.run(
        [sys.executable, *launcher, "-m", "luxvox.pretrain", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        check=True,
        timeout=240,
    )
    history = [json.loads(line) for line in (tmp_path / "two" / "history.jsonl").open()]
    assert [line["step"] for line in history] == [1, 2, 3]
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert metrics["num_processes"] == 2
    assert "val/dice" in metrics
    load_weights(tmp_path / "two" / "weights")


@pytest.mark.slow
def test_a_longer_plan_goes_on_from_before_the_decay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("optim.decay_share=0.5", "checkpoint.every_minutes=60")
    pretrain_dense(plan(tmp_path / "run", "steps=4", *words))
    metrics = pretrain_dense(plan(tmp_path / "run", "steps=5", *words), resume=True)
    assert metrics["resumed_from_step"] == 2
    assert "cannot go on from step_00000004 (of 4 steps)" in capsys.readouterr().err


def test_stage_b_starts_from_stage_a(simulated: Path, tmp_path: Path) -> None:
    words = [f"data={simulated}", f"out={tmp_path / 'a'}", "steps=2", "batch_size=4", "threads=1",
             "data.crop.shape=[32,32,32]", "evaluate.crops_per_volume=1", "device=cpu",
             "objective.text=0"]  # fmt: skip
    pretrain(load_recipe("pretrain/demo", PretrainRecipe, words))
    model, _ = build_dense(plan(tmp_path / "b", f"init={tmp_path / 'a'}"), 384)
    tensors, _ = load_weights(tmp_path / "a" / "weights")
    own = model.dense.encoder.state_dict()
    assert all(torch.equal(own[name], tensors[f"encoder.{name}"]) for name in own)
    kept = model.decoder.state_dict()
    assert all(torch.equal(kept[name], tensors[f"decoder.{name}"]) for name in kept)
    with pytest.raises(InputError, match="no model"):
        build_dense(plan(tmp_path / "c", f"init={tmp_path / 'nowhere'}"), 384)


def test_stage_b_goes_on_from_stage_b(simulated: Path, tmp_path: Path) -> None:
    words = [f"real={simulated}", "real_every=2", "steps=2"]
    metrics = pretrain_dense(plan(tmp_path / "b", *words))
    assert metrics["steps"] == 2
    first, second = (json.loads(line) for line in (tmp_path / "b" / "history.jsonl").open())
    assert "segment" in first
    assert "segment" not in second  # real volumes have no labels here
    assert second["restore"] > 0
    model, _ = build_dense(plan(tmp_path / "c", f"init={tmp_path / 'b'}"), 384)
    tensors, config = load_weights(tmp_path / "b" / "weights")
    trained = {row.group for row in read_dataset(simulated).rows if row.split == "train"}
    assert config["data"]["groups"] == sorted(trained)
    assert config["recipe"]["real"] == simulated.name
    own = model.state_dict()
    assert own.keys() == tensors.keys()
    assert all(torch.equal(own[name], tensors[name]) for name in own)


def test_real_volumes_are_degraded_again_and_held_back_ones_left_alone(
    simulated: Path, tmp_path: Path
) -> None:
    source = open_real(str(simulated), (16, 48, 32))  # a volume is 32 wide: 16 rows of padding
    assert {row.split for row in source.rows} == {"train"}
    optics = OpticsRanges()
    batch = real_batch(source, optics, 4, 2, seed=3, device="cpu")
    again = real_batch(source, optics, 4, 2, seed=3, device="cpu")
    other = real_batch(source, optics, 5, 2, seed=3, device="cpu")
    assert torch.equal(batch.image, again.image)
    assert not torch.equal(batch.image, other.image)
    assert batch.counts[:, :, :32].all()
    assert not batch.counts[:, :, 32:].any()
    inside = batch.counts[:, None]
    for image, clean, counts in zip(batch.image, batch.clean, inside, strict=True):
        pair = torch.stack([image[counts], clean[counts]])
        assert 0.1 < float(torch.corrcoef(pair)[0, 1]) < 0.999  # the same place, not as sharp
    changed = batch.clean.clone()
    changed[~inside] += 100.0
    loss = _restore_loss(batch.image, batch)
    assert float(loss) > 0
    assert torch.equal(loss, _restore_loss(batch.image, replace(batch, clean=changed)))
    held_back = tmp_path / "dataset.csv"
    held_back.write_text(f"image,split\n{source.rows[0].image},val\n")
    with pytest.raises(InputError, match="no row to train on"):
        open_real(str(held_back), (16, 32, 32))


def test_no_more_is_to_be_undone_than_an_instrument_can() -> None:
    """A point becomes three voxels wide along every axis, and keeps its light."""
    point = torch.zeros(1, 1, 9, 9, 9)
    point[..., 4, 4, 4] = 64.0
    seen = well_imaged(point.asinh()).sinh()[0, 0]
    assert seen.sum().item() == pytest.approx(64, rel=1e-4)
    assert seen[4, 4, 3:6].tolist() == pytest.approx([4, 8, 4], rel=1e-4)
    assert seen[3, 3, 3].item() == pytest.approx(1, rel=1e-4)
    flat = torch.full((1, 1, 4, 4, 4), 2.0)
    assert torch.allclose(well_imaged(flat), flat)


def test_whole_volumes_are_segmented_also_thin_ones(simulated: Path, tmp_path: Path) -> None:
    from luxvox.data.save import save_volume

    model, _ = build_dense(plan(tmp_path), 384)
    model.dense.eval()
    assert heads_of(model.dense)
    row = read_dataset(simulated).rows[0]
    named = torch.randn(1, 384)
    found = segment_row(model.dense, row, named, (16, 24, 24))
    assert found.shape == (32, 32, 32)
    assert 0 <= found.min() <= found.max() <= 1
    thin = save_volume(np.random.default_rng(0).poisson(50.0, (5, 20, 30)).astype(np.uint16),
                       tmp_path / "thin.ome.zarr", voxel_size_um=(4.0, 1.0, 1.0))  # fmt: skip
    flat = read_dataset(thin).rows[0]
    assert segment_row(model.dense, flat, named, (16, 16, 16)).shape == (5, 20, 30)


def test_a_control_is_taught_the_same_and_started_from(tmp_path: Path) -> None:
    """MONAI's U-Net goes through stage B, and its weights segment by name and are fine-tuned."""
    with pytest.raises(InputError, match="has no tokens"):
        plan(tmp_path / "a", "backbone=unet")
    recipe = plan(
        tmp_path / "unet", "backbone=unet", "objective.masked=0", "objective.optics=0", "steps=2"
    )
    metrics = pretrain_dense(recipe)
    assert metrics["steps"] == 2
    lines = [json.loads(line) for line in (tmp_path / "unet/history.jsonl").open()]
    assert {"segment", "centreline", "restore"} <= set(lines[-1])
    assert not {"masked", "optics"} & set(lines[-1])
    weights = load_task(tmp_path / "unet", "segment", "vessels")
    assert weights.model.config.backbone == "unet"
    found = predict_image(weights, np.random.default_rng(0).random((16, 32, 32), "float32"), None)
    assert found.shape[-3:] == (16, 32, 32)
    assert 0 < float(found.std())
