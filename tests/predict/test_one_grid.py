"""A prediction lies on the grid of the finest level, in memory and by blocks, whatever was read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import zarr

from luxvox.configs.errors import InputError
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.data.volume import Level, Volume
from luxvox.models.dense import DenseConfig, DenseModel, RestoreConfig, SegmentConfig
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.block_output import BlockOutput
from luxvox.predict.blockwise_request import request_task
from luxvox.predict.frame import choose_frame, native_frame, spanned_by
from luxvox.predict.plan_file import read_plan, write_plan
from luxvox.predict.plan_table import plan_rows
from luxvox.predict.task_weights import TaskConfig, TaskWeights
from luxvox.predict.volume import predict_volume

SHAPE = (21, 37, 101)
PLACE = (9.0, 1.0, -3.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("one_grid")


@pytest.fixture(scope="module")
def brain(folder, blocks) -> Path:
    """Voxels of 0.5 um, odd sides, and a level of 1 um."""
    image = open_volume(blocks.smooth_volume(folder / "made.ome.zarr", SHAPE)).read()[0]
    path = save_volume(
        image, folder / "in.ome.zarr", voxel_size_um=(0.5, 0.5, 0.5), translation_um=PLACE
    )
    assert [level.shape for level in open_volume(path).levels] == [SHAPE, (11, 19, 51)]
    return path


@pytest.fixture(scope="module")
def weights() -> TaskWeights:
    torch.manual_seed(0)
    heads = {"segment": SegmentConfig(distance=True), "restore": RestoreConfig()}
    config = DenseConfig(channels=(4, 8, 16), depths=2, text_dim=8, condition_width=4, heads=heads)
    model = DenseModel(EncoderConfig(width=24, depth=2, heads=2), config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    task = TaskConfig(task="segment", head="segment", structure="dots", tile=(16, 16, 16))
    return TaskWeights(model, task, "toy")


def trained(weights: TaskWeights, task: str, size: tuple[float, float, float]) -> TaskWeights:
    told = {"task": task, "head": task, "voxel_size_um": size}
    return replace(weights, task=weights.task.model_copy(update=told))


AS_IT_IS, ANISOTROPIC, RESAMPLED = (2.0, 2.0, 2.0), (2.0, 4.0, 0.5), (2.5, 2.5, 2.5)
"""Level 1 is read as it is; level 0 is resampled; level 1 is, to sides below a patch."""


@pytest.mark.parametrize(
    ("what", "size"),
    [
        ("labels", AS_IT_IS), ("restored", AS_IT_IS), ("probabilities", ANISOTROPIC),
        ("restored", RESAMPLED), ("labels", RESAMPLED),
    ],
)  # fmt: skip
def test_blocks_and_memory_agree(weights, brain, tmp_path, blocks, what, size):
    own = trained(weights, "restore" if what == "restored" else "segment", size)
    volume, shares = open_volume(brain), what == "probabilities"
    whole = predict_volume(own, volume, probabilities=shares, precision="no")
    assert whole.shape == SHAPE
    stored = []
    for block in ((64, 64, 64), (32, 32, 96)):
        out = tmp_path / f"{block[1]}.ome.zarr"
        request = request_task(own, volume, out, probabilities=shares)
        exact = request.network._replace(precision="no")  # type: ignore[attr-defined]
        blocks.predict_blocks(replace(request, network=exact, block=block, skip_empty=False))
        found = open_volume(out)
        assert found.shape == SHAPE
        assert found.voxel_size_um == (0.5, 0.5, 0.5)
        assert found.levels[0].translation_um == PLACE
        stored.append(found.read()[0])
    assert stored[0].dtype == whole.dtype
    if what == "labels":
        assert 0.01 < whole.mean() < 0.99
        assert (stored[0] != whole).mean() < 1e-4  # a last bit may cross the threshold
    else:
        assert whole.std() > 1e-3
        assert np.allclose(stored[0], whole, rtol=1e-4, atol=1e-4)
    assert np.array_equal(*stored)


def test_objects_are_numbered_on_the_finest_grid(weights, brain, tmp_path, blocks):
    """Mask and learnt depth both come back from level 1."""
    own, volume = trained(weights, "segment", AS_IT_IS), open_volume(brain)
    whole = predict_volume(own, volume, instances=True, precision="no")
    request = request_task(own, volume, tmp_path / "o.ome.zarr", instances=True)
    exact = request.network._replace(precision="no")  # type: ignore[attr-defined]
    assert request.output.depth
    blocks.predict_blocks(replace(request, network=exact, skip_empty=False))
    found = open_volume(request.out)
    assert found.shape == SHAPE
    assert found.voxel_size_um == (0.5, 0.5, 0.5)
    numbers = found.read()[0]
    assert ((numbers > 0) != (whole > 0)).mean() < 1e-4
    assert abs(int(numbers.max()) - int(whole.max())) <= 0.02 * whole.max()


@pytest.mark.parametrize("count", [125, 126])
def test_a_coarser_level_moves_nothing_however_its_rest_was_treated(count):
    """1001 voxels halved three times are 126 where rests are kept, 125 where they are dropped."""
    fine = Level((8, 8, 1001), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), None)
    factor = (1.0, 1.0, 8.0)
    coarse = Level((8, 8, count), factor, (0.0, 0.0, 3.5), None, factor)
    volume = Volume(
        "ramp", "none", (fine, coarse), np.dtype("float32"), ("0",), 1, (), "zyx", cast(Any, None)
    )
    frame = choose_frame(volume, (factor, factor))
    assert (frame.level, frame.stored) == (1, (8, 8, 1001))
    assert frame.stored_um(volume) == (1, 1, 1)
    grid = frame.grid((64, 64, 128), (8, 8, 32), (2, 2, 8))
    centres = (np.arange(count) * 8 + 3.5).astype(np.float32)
    answer = np.broadcast_to(centres, (8, 8, count))
    for block in range(grid.num_blocks):
        core, box = grid.core(block), grid.box(block)
        x = np.arange(box[2].start, box[2].stop)
        wanted = np.clip(x, centres[0], centres[-1])
        assert np.allclose(frame.back(answer[core], core, box)[0, 0], wanted, atol=1e-3)
        nearest = frame.back(answer[core], core, box, "nearest")[0, 0]
        assert np.abs(nearest - x).max() <= (3.5 if count == 126 else 4.5)


def test_scales_that_contradict_the_shape_say_nothing(brain):
    volume = open_volume(brain)
    wrong = replace(volume.levels[1], factor=(8.0, 8.0, 8.0))
    assert spanned_by(volume, 1) == (22, 38, 102)
    assert spanned_by(replace(volume, levels=(volume.levels[0], wrong)), 1) == SHAPE


def test_what_lies_behind_a_coarser_level_is_not_empty(blocks, tmp_path):
    """Level 1 ends before the last plane of level 0, which is a block of its own."""
    rng = np.random.default_rng(0)
    image = rng.poisson(50, (64, 64, 129)).astype(np.uint16)
    image[:, :, 112:] = rng.poisson(1000, (64, 64, 17))
    path = save_volume(image, tmp_path / "in.ome.zarr", voxel_size_um=(1, 1, 1))
    halves = image[:, :, :128].reshape(32, 2, 32, 2, 64, 2).mean((1, 3, 5)).astype(np.uint16)
    group = zarr.open_group(path, mode="r+")
    group.create_array("1", data=halves, chunks=(32, 32, 32), overwrite=True)
    assert open_volume(path).levels[1].shape == (32, 32, 64)
    request = blocks.request_of(path, tmp_path / "o.ome.zarr", skip_empty=True)
    assert request.plan().empty == (0,)
    coarse = replace(request, frame=native_frame(request.volume, 1))
    assert coarse.plan().empty == (0,)


def test_blocks_that_hold_nothing_keep_the_voxels_of_level_0(blocks, tmp_path):
    image = np.full((32, 101, 131), 7, np.uint16)
    image[:, :, :64] = np.random.default_rng(0).poisson(1000, (32, 101, 64))
    path = save_volume(image, tmp_path / "in.ome.zarr", voxel_size_um=(1, 1, 1))
    volume = open_volume(path)
    request = blocks.request_of(
        path, tmp_path / "o.ome.zarr", output=BlockOutput(what="restored"), skip_empty=True,
        frame=native_frame(volume, 1),
    )  # fmt: skip
    assert blocks.predict_blocks(request)["empty_blocks"] == 4
    found = open_volume(request.out).read()[0]
    assert found.shape == image.shape
    assert (found[:, :, 64:] == 7).all()


def test_labels_go_into_the_store_of_their_pyramid(weights, brain, blocks):
    own = trained(weights, "segment", AS_IT_IS)
    request = request_task(own, open_volume(brain), brain / "labels" / "dots")
    rows = dict(plan_rows(request, request.plan()))
    assert "level 1: 11 x 19 x 51" in rows["input"]
    assert rows["stored"] == "21 x 37 x 101 voxels of 0.5 x 0.5 x 0.5 um, the grid of level 0"
    blocks.predict_blocks(replace(request, tables=True))
    labels, image = open_volume(request.out), open_volume(brain)
    assert [level.shape for level in labels.levels] == [level.shape for level in image.levels]
    assert labels.levels[1].translation_um == image.levels[1].translation_um
    assert request.outcome.page.exists()


def test_a_plan_of_an_older_version_is_refused_in_one_line(weights, brain, tmp_path):
    request = request_task(
        trained(weights, "segment", AS_IT_IS), open_volume(brain), tmp_path / "o.ome.zarr"
    )
    write_plan(tmp_path, request.plan())
    found = json.loads((tmp_path / "plan.json").read_text())
    del found["frame"]["finest"], found["frame"]["spanned"]
    (tmp_path / "plan.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match=r"no whole plan of this version.*--overwrite") as caught:
        read_plan(tmp_path)
    assert "\n" not in str(caught.value)
