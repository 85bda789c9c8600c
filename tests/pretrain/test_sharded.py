"""FSDP2: a sharded model trains, averages, saves, restores and is judged like a whole one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("sharded_worker.py")


@pytest.mark.slow
def test_two_sharded_ranks_equal_one_whole_model(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("sharded_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    whole = worker.train(worker.build(), slice(0, 4), range(4))

    out = tmp_path / "sharded.pt"
    command = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    subprocess.run(
        [sys.executable, *command, str(WORKER), str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        timeout=240,
    )
    sharded = torch.load(out, weights_only=True)
    for part in ("model", "ema"):
        assert sharded[part].keys() == whole[part].keys()
        for name, tensor in whole[part].items():
            assert torch.allclose(tensor, sharded[part][name], atol=1e-5), (part, name)
    for name in ("rebuilt", "words"):
        assert torch.allclose(whole[name], sharded[name], atol=1e-4), name
