"""The burst on a borrowed GPU: its arithmetic, and all of it rehearsed on the CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from luxvox.models.checkpoint import load_weights

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPT = BENCHMARKS / "gpu_burst.sh"


@pytest.fixture
def gpu_rate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # it imports its neighbour, as a script does
    spec = importlib.util.spec_from_file_location("gpu_rate", BENCHMARKS / "gpu_rate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def burst(bank: Path, out: Path, *more: str, minutes: str = "0.1") -> subprocess.CompletedProcess:
    environment = os.environ | {"DEVICE": "cpu", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    words = [str(SCRIPT), str(bank), str(out), *(more or ("tiny",)), minutes]
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=False)


def test_steps_fill_the_time_that_is_left(gpu_rate: ModuleType) -> None:
    a = {"crops_per_second": 2000.0, "batch_size": 100, "start_seconds": 20.0}
    b = {"crops_per_second": 300.0, "batch_size": 30, "start_seconds": 60.0}
    steps = gpu_rate.planned_steps(1000.0, a, b)
    assert steps == {"a": int(0.4 * 770 * 20), "b": int(0.6 * 770 * 10)}
    assert gpu_rate.planned_steps(1000.0, a | {"crops_per_second": 4000.0}, b)["a"] == 12320
    assert gpu_rate.planned_steps(30.0, a, b) == {"a": 10, "b": 10}


def test_utilisation_is_said_of_known_devices_only(gpu_rate: ModuleType) -> None:
    assert gpu_rate.peak_of("NVIDIA H100 80GB HBM3", "bf16") == 989e12
    assert gpu_rate.peak_of("NVIDIA H100 80GB HBM3", "no") is None
    assert gpu_rate.peak_of("NVIDIA H100 PCIe", "bf16") is None
    assert gpu_rate.peak_of("x86_64", "bf16") is None


def test_operations_are_those_of_forward_and_backward(gpu_rate: ModuleType) -> None:
    from accelerate import Accelerator

    layer = torch.nn.Linear(8, 16, bias=False)
    x, q = torch.randn(4, 8, requires_grad=True), torch.randn(1, 2, 6, 8, requires_grad=True)
    accelerator = Accelerator(cpu=True)
    count = gpu_rate.counted_flops(lambda: layer(x).sum().backward(), accelerator)
    assert count == 3 * 2 * 4 * 8 * 16
    attend = torch.nn.functional.scaled_dot_product_attention
    count = gpu_rate.counted_flops(lambda: attend(q, q, q).sum().backward(), accelerator)
    assert count == 3 * 2 * (2 * 2 * 6 * 6 * 8)


def test_a_window_leaves_the_warm_up_out(
    gpu_rate: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((5.0, 100.0, 101.0, 102.0, 104.0))
    monkeypatch.setattr(gpu_rate.time, "perf_counter", lambda: next(clock))
    window = gpu_rate.Window(warm_up=2, seconds=3.5)
    assert [window.step(10) for _ in range(5)] == [False, False, False, False, True]
    assert window.rate() == pytest.approx(30 / 4)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [((), "no such file"), (("huge",), "expected tiny or small")],
)
def test_what_is_asked_wrongly_is_said(tmp_path: Path, words: tuple[str, ...], complaint) -> None:
    bank = tmp_path / "bank.safetensors"
    if words:
        bank.write_text("")
    done = burst(bank, tmp_path / "out", *words)
    assert done.returncode == 2
    assert complaint in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rehearsed_on_the_cpu_and_started_again(simulated: Path, tmp_path: Path) -> None:
    from luxvox.data.bank_pack import bank_command

    bank, out = tmp_path / "bank.safetensors", tmp_path / "a folder"
    bank_command(str(simulated), str(bank), shape=(32, 32, 32))
    done = burst(bank, out)
    assert done.returncode == 0, done.stderr
    rate = json.loads((out / "rate.json").read_text())
    for stage in ("stage_a", "stage_b"):
        assert rate[stage]["crops_per_second"] > 0
        assert rate[stage]["flops_per_crop"] > 1e7
        assert "mfu" not in rate[stage]
    assert rate["steps"] == {"a": 10, "b": 10}  # six seconds are no time
    groups = []
    for stage in "ab":
        assert json.loads((out / stage / "metrics.json").read_text())["steps"] == 10
        shards = out / f"shards_{stage}"
        assert all(path.stat().st_size <= 16_000_000 for path in shards.iterdir())
        tensors, config = load_weights(shards)
        assert any(tensor.dtype == torch.bfloat16 for tensor in tensors.values())
        assert str(tmp_path) not in json.dumps(config)
        groups.append(set(config["data"]["groups"]))
    assert groups[0]
    assert groups[0] <= groups[1]  # stage B has seen what stage A has, and all rows to train on
    # Cut off after the last checkpoint of stage B, and started again with the same words.
    (out / "b" / "metrics.json").unlink()
    written = (out / "a" / "weights" / "config.json").stat().st_mtime_ns
    again = burst(bank, out)
    assert again.returncode == 0, again.stderr
    assert "stage a is done already" in again.stdout
    assert (out / "a" / "weights" / "config.json").stat().st_mtime_ns == written
    assert json.loads((out / "b" / "metrics.json").read_text())["resumed_from_step"] == 10
