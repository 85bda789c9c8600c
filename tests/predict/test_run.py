"""Blocks predicted: equal to the whole, to the bit; stopped, killed, damaged, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaozarrs
import zarr

from luxvox.configs.errors import InputError
from luxvox.data.normalize import measure_intensity, normalize
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.predict.block_marks import BlockMarks
from luxvox.predict.block_output import BlockOutput
from luxvox.predict.tile_cache import TileCache


def normal(path: Path) -> torch.Tensor:
    volume = open_volume(path)
    image = normalize(volume.read()[0], measure_intensity(volume))
    return torch.from_numpy(image.astype(np.float32))


def done_blocks(out: Path) -> int:
    return len(BlockMarks(out.with_name(f"{out.name}.run") / "done").all())


def wait_for_blocks(out: Path, count: int, program) -> None:
    began = time.monotonic()
    while done_blocks(out) < count and program.poll() is None and time.monotonic() - began < 60:
        time.sleep(0.02)


def test_equal_to_monai_and_to_the_whole_volume(blocks, image, expected, tmp_path):
    from monai.inferers import sliding_window_inference

    net, volume = blocks.stand_in(), normal(image)
    found = np.frombuffer(expected, np.float32).reshape(volume.shape)
    theirs = sliding_window_inference(
        volume[None, None], blocks.TILE, 1, net, overlap=0.25, mode="gaussian"
    )
    assert isinstance(theirs, torch.Tensor)
    assert np.abs(found - theirs[0, 0].numpy()).max() < 1e-5
    assert found.std() > 0.005
    # One tile over all agrees with the whole everywhere.
    whole = net(volume[None, None])[0, 0].numpy()
    assert np.abs(found - whole).max() > 1e-4
    request = blocks.request_of(image, tmp_path / "o.ome.zarr", tile=(100, 100, 130))
    blocks.predict_blocks(request)
    assert np.abs(blocks.voxels(request.out)[0] - whole).max() < 1e-5


def test_equal_to_the_whole_wherever_tiles_reach_far_enough(blocks, image, expected, tmp_path):
    """The network sees 2 voxels far: only next to the edges of tiles does it miss something."""
    volume = normal(image)
    whole = blocks.stand_in()(volume[None, None])[0, 0].numpy()
    errors = []
    for overlap in (None, (16, 16, 16)):
        request = blocks.request_of(image, tmp_path / "out.ome.zarr", overlap=overlap)
        if overlap is None:
            found = np.frombuffer(expected, np.float32).reshape(volume.shape)
        else:
            blocks.predict_blocks(request)
            found = blocks.voxels(request.out)[0]
        grid = request.plan().grid
        blind = np.zeros(whole.shape, bool)
        for axis, starts in enumerate(grid.starts):
            planes = np.zeros(whole.shape[axis], bool)
            for start in starts:
                if start > 0:
                    planes[start : start + 2] = True
                if start + 32 < len(planes):
                    planes[start + 30 : start + 32] = True
            blind |= planes.reshape([-1 if other == axis else 1 for other in range(3)])
        error = np.abs(found - whole)
        assert 0.2 < blind.mean() < 0.9
        assert error[~blind].max() < 1e-5
        errors.append(float(error[blind].mean()))
    assert errors[1] < 0.7 * errors[0]  # more overlap: what tiles miss at their edges weighs less


def test_interrupt_ends_between_blocks(blocks, image, expected, tmp_path):
    request = blocks.request_of(image, tmp_path / "out.ome.zarr")

    def interrupt(tally):
        if tally.done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        blocks.predict_blocks(request, progress=interrupt)
    assert done_blocks(request.out) == 3
    stopped = json.loads((tmp_path / "metrics.json").read_text())
    assert stopped["done_blocks"] == 3
    assert not stopped["finished"]
    assert blocks.predict_blocks(request, resume=True)["skipped_blocks"] == 3
    assert blocks.voxels(request.out).tobytes() == expected


def test_a_second_writer_is_refused(blocks, image, tmp_path):
    request = blocks.request_of(image, tmp_path / "out.ome.zarr")
    request.run.mkdir()
    # Another process that holds the lock of the run, as `hold` does.
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'a+'); fcntl.lockf(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(request.run / ".lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for options in ({"resume": True}, {"overwrite": True}, {"parts": 2, "part": 0}):
            with pytest.raises(InputError, match="another prediction is writing this output"):
                blocks.predict_blocks(request, **options)
        assert not request.out.exists()
        other.communicate("")
    assert blocks.predict_blocks(request)["finished"]


def test_blocks_decide_nothing(blocks, image, expected, tmp_path, monkeypatch):
    for sides in ((128, 128, 128), (96, 96, 96), (64, 192, 32)):
        out = tmp_path / f"{sides[1]}.ome.zarr"
        blocks.predict_blocks(blocks.request_of(image, out, block=sides))
        assert blocks.voxels(out).tobytes() == expected
    # Nor does it matter whether tiles wait in memory, on disk, or are computed again.
    monkeypatch.setattr("luxvox.predict.run.CACHE_BYTES", 2**18)
    out = tmp_path / "disk.ome.zarr"
    blocks.predict_blocks(blocks.request_of(image, out))
    assert blocks.voxels(out).tobytes() == expected
    monkeypatch.setattr(TileCache, "wanted", lambda *_: False)
    out = tmp_path / "again.ome.zarr"
    blocks.predict_blocks(blocks.request_of(image, out))
    assert blocks.voxels(out).tobytes() == expected
    assert not list(tmp_path.rglob("scratch"))


def test_no_tile_is_computed_twice(blocks, image, tmp_path):
    calls = []

    def counting(tiles):
        calls.append(len(tiles))
        return net(tiles)

    net = blocks.stand_in()
    request = blocks.request_of(image, tmp_path / "o.ome.zarr", network=counting)
    plan = request.plan()
    tiles = np.prod([len(starts) for starts in plan.grid.starts])
    tried = len(calls)
    blocks.predict_blocks(request)
    assert len(calls) == tiles + 2 * tried


def test_batches_are_always_full(blocks, image, tmp_path, monkeypatch):
    sizes = set()

    def counting(tiles):
        sizes.add(len(tiles))
        return net(tiles)

    net = blocks.stand_in()
    from luxvox.predict.plan_estimate import Trial

    monkeypatch.setattr("luxvox.predict.plan.try_network", lambda *_: Trial(3, 1, 0.1))
    request = blocks.request_of(image, tmp_path / "o.ome.zarr", network=counting)
    blocks.predict_blocks(request)
    assert sizes == {3}
    single = blocks.request_of(image, tmp_path / "one.ome.zarr")
    monkeypatch.undo()
    blocks.predict_blocks(single)
    assert np.allclose(blocks.voxels(request.out), blocks.voxels(single.out), atol=1e-6)


def test_killed_and_resumed_is_the_same(blocks, image, expected, tmp_path):
    out, before = tmp_path / "out.ome.zarr", 0
    for resume in (0, 1):
        program = blocks.start(image, out, pause=0.03, resume=resume)
        wait_for_blocks(out, before + 2, program)
        program.send_signal(signal.SIGKILL)
        program.wait()
        assert before < done_blocks(out) < 12
        before = done_blocks(out)
    metrics = blocks.predict_blocks(
        replace(blocks.request_of(image, out), network=blocks.stand_in()), resume=True
    )
    assert metrics["skipped_blocks"] == metrics["resumed_blocks"] == before
    assert blocks.voxels(out).tobytes() == expected
    beside = json.loads((tmp_path / "metrics.json").read_text())
    assert beside["skipped_blocks"] == before
    assert beside["voxels_per_second"] > 0
    assert beside["done_blocks"] == 12


@pytest.mark.slow
def test_killed_at_ten_moments(blocks, image, expected, tmp_path):
    rng = np.random.default_rng(0)
    for trial in range(10):
        out = tmp_path / f"{trial}.ome.zarr"
        program = blocks.start(image, out, pause=0.02)
        wait_for_blocks(out, 1, program)
        time.sleep(float(rng.uniform(0, 3)))
        program.send_signal(signal.SIGKILL)
        program.wait()
        metrics = blocks.predict_blocks(blocks.request_of(image, out), resume=True)
        assert metrics["skipped_blocks"] > 0
        assert blocks.voxels(out).tobytes() == expected


@pytest.mark.slow
def test_two_at_once_are_refused_and_interrupt_ends_between_blocks(
    blocks, image, expected, tmp_path
):
    out = tmp_path / "out.ome.zarr"
    program = blocks.start(image, out, pause=0.03)
    wait_for_blocks(out, 1, program)
    request = blocks.request_of(image, out)
    for options in ({"resume": True}, {"overwrite": True}, {"parts": 2, "part": 0}):
        with pytest.raises(InputError, match="another prediction is writing this output"):
            blocks.predict_blocks(request, **options)
    program.send_signal(signal.SIGINT)
    _, shown = program.communicate()
    assert program.returncode not in (0, None)
    assert "KeyboardInterrupt" in shown
    assert 1 <= done_blocks(out) < 12
    stopped = json.loads((tmp_path / "metrics.json").read_text())
    assert stopped["done_blocks"] == done_blocks(out)
    blocks.predict_blocks(request, resume=True)
    assert blocks.voxels(out).tobytes() == expected


def test_half_written_blocks_are_done_again(blocks, image, expected, tmp_path):
    out = tmp_path / "out.ome.zarr"
    request = blocks.request_of(image, out)
    blocks.predict_blocks(request)
    for block, name in ((4, "0/c/0/1/1"), (11, "0/c/1/1/2")):
        (out / name).write_bytes((out / name).read_bytes()[:999])
        BlockMarks(request.run / "done").unset(block)
    assert blocks.predict_blocks(request, resume=True)["skipped_blocks"] == 10
    assert blocks.voxels(out).tobytes() == expected


def test_what_stands_there_is_not_mixed_with_another_plan(blocks, image, tmp_path):
    out = tmp_path / "out.ome.zarr"
    request = blocks.request_of(image, out)
    blocks.predict_blocks(request)
    with pytest.raises(InputError, match="exists already"):
        blocks.predict_blocks(request)
    other = replace(request, recipe={"weights": "others"})
    with pytest.raises(InputError, match="made for other weights, options or input"):
        blocks.predict_blocks(other, resume=True)
    with pytest.raises(InputError, match="choose one"):
        blocks.predict_blocks(other, resume=True, overwrite=True)
    assert blocks.predict_blocks(other, overwrite=True)["skipped_blocks"] == 0
    shutil.rmtree(other.run)
    with pytest.raises(InputError, match="not made block by block"):
        blocks.predict_blocks(other, resume=True)
    assert not other.run.exists()
    shutil.rmtree(out)
    assert blocks.predict_blocks(other, resume=True)["skipped_blocks"] == 0  # afresh
    with pytest.raises(InputError, match="over its own source"):
        blocks.predict_blocks(replace(other, out=image), overwrite=True)
    with pytest.raises(InputError, match=r"only OME-Zarr and OME-TIFF can be written"):
        blocks.predict_blocks(replace(other, out=tmp_path / "o.nii.gz"))
    with pytest.raises(InputError, match="a part from 0 to 1"):
        blocks.predict_blocks(other, parts=2, part=2)


def test_a_damaged_chunk_costs_its_blocks_and_is_retried(blocks, tmp_path):
    path = blocks.smooth_volume(
        tmp_path / "in.ome.zarr", (64, 64, 320), chunks=(64, 64, 64), shards=(64, 64, 64)
    )
    chunk = path / "0/c/0/0/0"
    whole = chunk.read_bytes()
    chunk.write_bytes(b"rubbish" * 10)
    request = blocks.request_of(path, tmp_path / "out.ome.zarr")
    metrics = blocks.predict_blocks(request)
    assert set(metrics["failed"]) == {0, 1}  # the tiles of block 1 reach into the chunk
    assert "0/c/0/0/0" in metrics["failed"][0]
    assert metrics["failed_blocks"] == 2
    assert metrics["finished"]
    values = zarr.open_array(tmp_path / "out.ome.zarr/0", mode="r")[...]
    assert not values[:, :, :128].any()
    assert values[:, :, 128:].all()
    chunk.write_bytes(whole)
    metrics = blocks.predict_blocks(request, resume=True)
    assert metrics["failed_blocks"] == 0
    assert metrics["skipped_blocks"] == 3
    assert blocks.voxels(request.out).all()
    assert open_volume(request.out).read(level=1).all()


def test_a_full_disk_loses_no_finished_block(blocks, image, expected, tmp_path, monkeypatch):
    from luxvox.data.block_store import BlockStore

    write, written = BlockStore.write, []

    def full(self, box, values):
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        written.append(box)
        write(self, box, values)

    monkeypatch.setattr(BlockStore, "write", full)
    request = blocks.request_of(image, tmp_path / "out.ome.zarr")
    with pytest.raises(OSError, match="No space"):
        blocks.predict_blocks(request)
    monkeypatch.undo()
    assert blocks.predict_blocks(request, resume=True)["skipped_blocks"] == 5
    assert blocks.voxels(request.out).tobytes() == expected


@pytest.mark.parametrize("what", ["labels", "probabilities", "restored"])
def test_empty_blocks_are_skipped_and_hold_what_nothing_means(blocks, tmp_path, what):
    rng = np.random.default_rng(0)
    voxels = rng.poisson(1000, (64, 64, 192)).astype(np.uint16)
    voxels[:, :, 64:] = 7
    path = save_volume(voxels, tmp_path / "in.ome.zarr", voxel_size_um=None)
    several = what == "labels"
    output = BlockOutput(what=what, label_values=(9, 300, 4) if several else ())
    request = blocks.request_of(
        path, tmp_path / "o.ome.zarr", output=output, skip_empty=True,
        network=blocks.stand_in(3 if several else 1),
    )  # fmt: skip
    metrics = blocks.predict_blocks(request)
    assert metrics["skipped_blocks"] == metrics["empty_blocks"] == 2
    found = blocks.voxels(request.out)[0]
    assert (found[:, :, 64:] == {"labels": 9, "probabilities": 0, "restored": 7}[what]).all()
    assert found.dtype == (np.uint16 if several else np.float32)
    assert found[:, :, :64].any()


def test_several_classes_and_the_original_grid(blocks, image, tmp_path):
    path = tmp_path / "in.ome.zarr"
    save_volume(
        open_volume(image).read()[0], path, voxel_size_um=(4, 2, 2), translation_um=(9, 0, 3)
    )
    request = blocks.request_of(path, tmp_path / "o.ome.zarr", network=blocks.stand_in(3))
    blocks.predict_blocks(request)
    volume = open_volume(request.out)
    assert volume.num_channels == 3
    assert np.allclose(volume.read().sum(0), 1, atol=1e-5)
    assert volume.voxel_size_um == (4, 2, 2)
    assert volume.levels[0].translation_um == (9, 0, 3)
    assert len(volume.levels) > 1
    yaozarrs.validate_zarr_store(request.out)
    assert np.allclose(
        volume.read(level=1).mean((1, 2, 3)), volume.read().mean((1, 2, 3)), atol=0.02
    )


def test_labels_go_into_the_store_of_their_image(blocks, image, tmp_path):
    path = tmp_path / "in.ome.zarr"
    shutil.copytree(image, path)
    request = blocks.request_of(path, path / "labels" / "dots", output=blocks.LABELS)
    blocks.predict_blocks(request)
    labels = open_volume(path / "labels" / "dots")
    assert labels.dtype == np.uint8
    assert 0 < labels.read().mean() < 1
    attributes = zarr.open_group(path / "labels", mode="r").attrs["ome"]
    assert isinstance(attributes, dict)
    assert attributes["labels"] == ["dots"]
    assert set(np.unique(labels.read(level=1))) <= {0, 1}
    assert (tmp_path / "in.ome.zarr.dots.run" / "plan.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_512_voxels_a_side(blocks, tmp_path):
    """One process, four parts in any order, killed and resumed: all the same, objects too."""
    path = blocks.smooth_volume(tmp_path / "in.ome.zarr", (512, 512, 512))
    asked = {"tile": (64, 64, 64), "block": None}
    request = blocks.request_of(path, tmp_path / "one.ome.zarr", **asked)
    assert blocks.predict_blocks(request)["blocks"] == 8
    whole = blocks.voxels(request.out).tobytes()
    parts = replace(request, out=tmp_path / "parts.ome.zarr")
    for part in (3, 1, 0, 2):
        blocks.predict_blocks(parts, parts=4, part=part)
    assert blocks.voxels(parts.out).tobytes() == whole
    smaller = replace(request, out=tmp_path / "smaller.ome.zarr", block=(128, 128, 128))
    blocks.predict_blocks(smaller)
    assert blocks.voxels(smaller.out).tobytes() == whole


def test_metrics_of_a_training_run_are_left_alone(blocks, image, tmp_path):
    (tmp_path / "metrics.json").write_text('{"val/dice": 0.5}')
    request = blocks.request_of(image, tmp_path / "o.ome.zarr")
    blocks.predict_blocks(request)
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"val/dice": 0.5}
    assert json.loads((request.run / "metrics.json").read_text())["blocks"] == 12


def test_where_no_block_can_be_read_each_says_why(blocks, tmp_path):
    path = blocks.smooth_volume(
        tmp_path / "in.ome.zarr", (64, 64, 320), chunks=(64, 64, 64), shards=(64, 64, 64)
    )
    chunk = path / "0/c/0/0/2"
    whole = chunk.read_bytes()
    chunk.write_bytes(b"rubbish" * 10)
    request = blocks.request_of(path, tmp_path / "out.ome.zarr", tile=(32, 32, 320))
    metrics = blocks.predict_blocks(request)
    assert metrics["failed_blocks"] == metrics["blocks"] == 5
    chunk.write_bytes(whole)
    assert blocks.predict_blocks(request, resume=True)["failed_blocks"] == 0
    assert blocks.voxels(request.out).all()
