"""The same plan in parts, in ranks, on dask: the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.data.open import open_volume
from luxvox.predict.block_marks import BlockMarks
from luxvox.predict.volume import predict_volume

from .small_model import save_segmenter, toy_weights


def done_blocks(out: Path) -> int:
    return len(BlockMarks(out.with_name(f"{out.name}.run") / "done").all())


def test_four_parts_in_any_order_are_the_whole(blocks, image, expected, tmp_path):
    request = blocks.request_of(image, tmp_path / "out.ome.zarr")
    given = []
    for part in (2, 0, 3, 1):
        metrics = blocks.predict_blocks(request, parts=4, part=part)
        assert metrics["finished"] == (part == 1)  # by whoever is the last
        given.append(metrics["given_blocks"])
    assert given == [3, 3, 3, 3]
    assert blocks.voxels(request.out).tobytes() == expected
    assert len(open_volume(request.out).levels) > 1
    again = blocks.predict_blocks(request, parts=4, part=3)
    assert again["skipped_blocks"] == 3
    assert again["finished"]


@pytest.mark.slow
def test_two_parts_at_once_share_a_plan(blocks, image, expected, tmp_path):
    out = tmp_path / "out.ome.zarr"
    parts = [blocks.start(image, out, parts=2, part=part) for part in (0, 1)]
    for program in parts:
        shown = program.communicate()
        assert program.returncode == 0, shown
    assert blocks.voxels(out).tobytes() == expected
    assert (tmp_path / "out.ome.zarr.run" / "finished").exists()


@pytest.mark.slow
def test_ranks_of_torchrun_are_parts(blocks, image, expected, tmp_path):
    out = tmp_path / "out.ome.zarr"
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
            blocks.__file__, str(image), str(out), "0",
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert blocks.voxels(out).tobytes() == expected


def test_a_dask_cluster_that_is_there_writes_the_same(blocks, image, expected, tmp_path):
    distributed = pytest.importorskip("distributed")
    from luxvox.predict.dask_blocks import on_dask

    request = blocks.request_of(image, tmp_path / "out.ome.zarr")
    with distributed.LocalCluster(
        1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        metrics = blocks.predict_blocks(
            request, execute=on_dask(scheduler=cluster.scheduler_address)
        )
    assert metrics["done_blocks"] == 12
    assert blocks.voxels(request.out).tobytes() == expected


@pytest.mark.slow
def test_dask_workers_write_the_same_and_one_may_die(blocks, image, expected, tmp_path):
    distributed = pytest.importorskip("distributed")
    from luxvox.predict.dask_blocks import on_dask

    request = blocks.request_of(image, tmp_path / "out.ome.zarr")
    metrics = blocks.predict_blocks(request, execute=on_dask(workers=2))
    assert metrics["done_blocks"] == 12
    assert blocks.voxels(request.out).tobytes() == expected
    request = replace(request, out=tmp_path / "killed.ome.zarr")
    with (
        distributed.LocalCluster(
            2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        killer = threading.Thread(target=kill_when, args=(request.out, 2, pids[0]))
        killer.start()
        blocks.predict_blocks(request, execute=on_dask(scheduler=cluster.scheduler_address))
        killer.join()
    assert blocks.voxels(request.out).tobytes() == expected


def kill_when(out: Path, count: int, pid: int) -> None:
    began = time.monotonic()
    while done_blocks(out) < count and time.monotonic() - began < 60:
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A fine-tuned run, tiny."""
    return save_segmenter(tmp_path / "run", 32)


@pytest.fixture
def small(blocks, tmp_path: Path) -> Path:
    """Two blocks: sides up to 96 voxels are one."""
    return blocks.smooth_volume(tmp_path / "small.ome.zarr", (12, 20, 300))


def test_the_verb_writes_what_prediction_in_memory_gives(run, small, tmp_path, capsys):
    from luxvox.predict.task_weights import load_task

    out = tmp_path / "out.ome.zarr"
    words = ["predict", str(run), str(small), str(out)]
    assert run_command([*words, "--dry-run"]) == 0
    assert "2 of 12 x 20 x 256, 0 hold nothing" in capsys.readouterr().out
    assert not out.exists()
    assert run_command([*words, "--resume"]) == 0
    assert "2 of 2 blocks done, 0 skipped" in capsys.readouterr().out
    inside = predict_volume(load_task(run), open_volume(small))
    assert np.array_equal(open_volume(out).read()[0], inside)
    assert run_command([*words, "--resume"]) == 0
    assert "2 of 2 blocks done, 2 skipped" in capsys.readouterr().out
    assert run_command([*words, "--resume", "--threshold", "0.1"]) == 2
    assert "made for other weights, options or input" in capsys.readouterr().err
    assert run_command([*words, "--parts", "2"]) == 2
    assert "belong together" in capsys.readouterr().err


def test_parts_of_the_verb_and_the_file_for_slurm(run, small, tmp_path, capsys):
    out = tmp_path / "out.ome.zarr"
    words = ["predict", str(run), str(small), str(out), "--probabilities"]
    assert run_command([*words, "--sbatch", "--parts", "5"]) == 0
    text = (tmp_path / "out.ome.zarr.sbatch").read_text()
    assert "#SBATCH --array=0-4" in text
    line = text.splitlines()[-1]
    assert line.startswith(f"exec luxvox predict {run} {small} {out} --probabilities")
    assert line.endswith('--parts 5 --part "$SLURM_ARRAY_TASK_ID"')
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    for part in ("1", "0"):
        assert run_command([*words, "--parts", "2", "--part", part]) == 0
    shown = capsys.readouterr().out
    assert "the last part to end will finish it" in shown
    assert open_volume(out).dtype == np.float32


def test_a_chunk_that_cannot_be_read_is_exit_code_3(blocks, run, tmp_path, capsys):
    wide = blocks.smooth_volume(tmp_path / "wide.ome.zarr", (12, 20, 600))
    chunk = wide / "0" / "c" / "0" / "0" / "2"
    whole = chunk.read_bytes()
    chunk.write_bytes(b"rubbish")
    out = tmp_path / "out.ome.zarr"
    words = ["predict", str(run), str(wide), str(out), "--resume"]
    assert run_command(words) == 3
    shown = capsys.readouterr()
    assert "block 2 could not be read" in shown.err
    assert "block 1 could not be read" in shown.err  # its last tiles reach into the chunk
    assert "block 0" not in shown.err
    assert "2 blocks are missing; mend the input, then run it again with --resume" in shown.err
    assert "1 of 3 blocks done, 0 skipped" in shown.out
    assert run_command(words) == 3  # as long as it is damaged
    assert "1 of 3 blocks done, 1 skipped" in capsys.readouterr().out
    first = open_volume(out).read(shape=(12, 20, 256))[0]
    assert first.any()
    with pytest.raises(InputError, match="is missing from a store"):
        open_volume(out).read()
    chunk.write_bytes(whole)
    assert run_command(words) == 0
    assert "3 of 3 blocks done, 1 skipped" in capsys.readouterr().out
    mended = open_volume(out).read()[0]
    assert np.array_equal(mended[:, :, :256], first)
    assert mended[:, :, 512:].any()


def test_too_large_for_memory_goes_by_blocks(run, small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("luxvox.predict.predict_command.free_memory", lambda: 1000)
    out = tmp_path / "out.ome.zarr"
    assert run_command(["predict", str(run), str(small), str(out)]) == 0
    assert "2 of 2 blocks done" in capsys.readouterr().out
    assert (tmp_path / "metrics.json").exists()


def test_task_weights_are_called_as_in_memory():
    from luxvox.predict.image import predict_image
    from luxvox.predict.task_network import TaskNetwork, weights_hash

    weights = toy_weights()
    network = TaskNetwork(weights, (4.0, 1.0, 1.0), "no")
    for shape in ((16, 16, 16), (3, 16, 5)):
        image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        found = network(torch.from_numpy(image)[None, None])
        inside = predict_image(weights, image, (4.0, 1.0, 1.0), precision="no")
        assert np.allclose(found[0].numpy(), inside, atol=1e-6)
    before = weights_hash(weights)
    assert before == weights_hash(weights)
    with torch.no_grad():
        next(weights.model.parameters())[..., :1] += 1e-3
    assert weights_hash(weights) != before
