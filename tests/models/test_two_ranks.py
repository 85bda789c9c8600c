"""One rank with 2B samples equals two ranks with B: every loss term and every gradient."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("two_ranks_worker.py")


def run_worker(out: Path, *launcher: str) -> dict[str, dict[str, torch.Tensor]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, *launcher, str(WORKER), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out, weights_only=True)


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path):
    one = run_worker(tmp_path / "one.pt")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    two = run_worker(tmp_path / "two.pt", *launcher)
    assert list(one) == ["patch", "intensity", "mean", "log_std", "frequency", "text"]
    for term, expected in one.items():
        for name, tensor in expected.items():
            difference = (tensor - two[term][name]).abs().max()
            scale = max(tensor.abs().max().item(), 1e-3)
            assert difference < 1e-5 * scale, f"{term}: {name}"
    moved = {name for name, gradient in one["text"].items() if gradient.any()}
    for part in ("encoder", "pool", "project_image", "project_text", "log_scale"):
        assert any(name.startswith(part) for name in moved), part
