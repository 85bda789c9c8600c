"""Whole runs, small: killed and resumed, stopped by a signal, refused, and one rank against two."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from luxvox.configs.errors import InputError
from luxvox.configs.load import load_recipe
from luxvox.data.manifest import read_dataset
from luxvox.pretrain.__main__ import main
from luxvox.pretrain.claim import claim_run
from luxvox.pretrain.recipe import PretrainRecipe
from luxvox.pretrain.run import pretrain

SMALL = [
    "data.crop.shape=[16,16,16]", "data.workers=0", "steps=8", "batch_size=4", "threads=1",
    "decoder.width=24", "decoder.depth=1", "decoder.heads=2", "checkpoint.every_steps=1",
    "evaluate.crops_per_volume=2", "evaluate.every_steps=null", "tracker=none", "optim.ema=0.9",
]  # fmt: skip


def _plan(listing: Path, out: Path, *more: str) -> PretrainRecipe:
    words = [f"data={listing}", f"out={out}", *SMALL, *more]
    return load_recipe("pretrain/demo.yaml", PretrainRecipe, words)


def _command(listing: Path, out: Path, *more: str) -> list[str]:
    words = [f"data={listing}", f"out={out}", *SMALL, *more]
    return ["-m", "luxvox.pretrain", "pretrain/demo.yaml", *words]


def _weights(run: Path) -> dict[str, bytes]:
    tensors = load_file(run / "weights" / "model.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def straight(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("straight") / "run"
    pretrain(_plan(simulated, out))
    return out


def test_a_run_leaves_what_the_contract_says(simulated: Path, straight: Path) -> None:
    metrics = json.loads((straight / "metrics.json").read_text())
    for key in (
        "val/masked_error", "val/visible_mean_error", "val/interpolation_error",
        "val/retrieval_r1_macro", "val/retrieval_r1_macro_no_spacing", "val/retrieval_chance",
        "crops_per_second", "data_wait_fraction", "resumed_from_step", "num_processes",
    ):  # fmt: skip
        assert isinstance(metrics[key], int | float), key
    assert metrics["steps"] == 8
    assert metrics["resumed_from_step"] == 0
    for name in ("recipe.yaml", "report.html", "history.jsonl", "weights/config.json"):
        assert (straight / name).stat().st_size > 100, name
    steps = [json.loads(line)["step"] for line in (straight / "history.jsonl").open()]
    assert steps[:8] == list(range(1, 9))
    config = json.loads((straight / "weights/config.json").read_text())
    trained = {row.group for row in read_dataset(simulated).rows if row.split == "train"}
    assert config["data"]["groups"] == sorted(trained)
    assert config["data"]["group_count"] == len(trained)
    assert config["recipe"]["out"] == "run"
    assert config["recipe"]["data"]["source"] == simulated.name


@pytest.mark.slow
def test_killed_at_any_step_and_resumed_is_the_same_to_the_bit(
    simulated: Path, straight: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, *_command(simulated, out)], cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list((out / "checkpoints").glob("step_0000000[3-7]")):
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "metrics.json").exists()
    metrics = pretrain(_plan(simulated, out), resume=True)
    assert 3 <= metrics["resumed_from_step"] < 8
    assert _weights(out) == _weights(straight)


def test_resuming_with_nothing_to_resume_starts_afresh(
    simulated: Path, straight: Path, tmp_path: Path
) -> None:
    metrics = pretrain(_plan(simulated, tmp_path / "fresh"), resume=True)
    assert metrics["resumed_from_step"] == 0
    assert _weights(tmp_path / "fresh") == _weights(straight)


@pytest.mark.slow
def test_a_run_is_lengthened_from_before_its_decay(simulated: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    pretrain(_plan(simulated, out, "optim.decay_share=0.5"))
    metrics = pretrain(_plan(simulated, out, "optim.decay_share=0.5", "steps=12"), resume=True)
    assert metrics["resumed_from_step"] == 4
    straight = tmp_path / "straight"
    pretrain(
        _plan(simulated, straight, "optim.decay_share=0.5", "steps=12", "optim.warmup_share=0")
    )
    assert json.loads((out / "metrics.json").read_text())["steps"] == 12


@pytest.mark.slow
def test_sigterm_saves_and_stops(simulated: Path, straight: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    words = _command(simulated, out, "checkpoint.every_steps=null", "steps=100000")
    process = subprocess.Popen(
        [sys.executable, *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (out / "history.jsonl").exists() or not (out / "history.jsonl").stat().st_size:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "--resume" in output
    done = json.loads((out / "metrics.json").read_text())["steps"]
    assert (out / "checkpoints" / f"step_{done:08d}").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("text", ["0.1", "0"])
def test_two_ranks_learn_what_one_does(simulated: Path, tmp_path: Path, text: str) -> None:
    from torch import allclose

    more = [f"objective.text={text}", "steps=3", "data.augment.noise_share=0"]
    pretrain(_plan(simulated, tmp_path / "one", *more, "batch_size=8"))
    words = _command(simulated, tmp_path / "two", *more, "batch_size=4", "device=cpu")
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *launcher, *words], cwd=tmp_path, env=environment, check=True, timeout=240
    )
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert metrics["num_processes"] == 2
    one = load_file(tmp_path / "one" / "weights" / "model.safetensors")
    two = load_file(tmp_path / "two" / "weights" / "model.safetensors")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert allclose(tensor, two[name], atol=2e-5), name
    alone = json.loads((tmp_path / "one" / "metrics.json").read_text())
    for key in ("val/masked_error", "val/retrieval_chance", "val/crops"):
        if key in alone:
            assert metrics[key] == pytest.approx(alone[key], rel=1e-3), key


def test_an_earlier_run_is_not_overwritten(simulated: Path, straight: Path) -> None:
    with pytest.raises(InputError, match="--resume"):
        pretrain(_plan(simulated, straight))


def test_a_checkpoint_of_another_architecture_is_refused(simulated: Path, straight: Path) -> None:
    with pytest.raises(InputError, match="another architecture"):
        pretrain(_plan(simulated, straight, "decoder.depth=2"), resume=True)


def test_an_unwritable_output_folder_is_named(simulated: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="out=FOLDER"):
        pretrain(_plan(simulated, tmp_path / "file" / "run"))


def test_two_runs_cannot_write_into_one_folder(simulated: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from luxvox.pretrain.claim import claim_run;"
        "lock = claim_run(Path(sys.argv[1]), False); print('claimed', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"claimed\n"
        with pytest.raises(InputError, match="another run is writing there"):
            pretrain(_plan(simulated, tmp_path / "run"), resume=True)
        other.kill()  # a lock that outlived its run would forbid to resume it
    claim_run(tmp_path / "run", resume=True).close()


def test_interrupting_the_module_is_130_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("luxvox.pretrain.__main__.pretrain_command", interrupted)
    assert main(["demo"]) == 130
    assert "--resume" in capsys.readouterr().err
    assert main(["--help"]) == 0


def test_a_disk_that_fills_up_is_named_by_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as an open file raises it

    monkeypatch.setattr("luxvox.pretrain.run.pretrain", full)
    assert main(["demo", "data=list.csv", "out=somewhere"]) == 2
    assert capsys.readouterr().err.startswith("error: somewhere: no space left")
