"""`luxvox weights ...` as a user meets it, and a pretrained model through from_pretrained."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import load_file, save_file

import luxvox
from luxvox.__main__ import run_command
from luxvox.models import hub_file
from luxvox.models.checkpoint import load_weights
from luxvox.predict.model import Model

from .small_model import save_small


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, online: None) -> Path:
    """Small weights, and an empty cache."""
    monkeypatch.setenv("LUXVOX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hub_file, "_PAUSE", 0.0)
    return save_small(tmp_path / "toy")


def test_imported_weights_are_listed_found_verified_and_copied(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["weights", "import", str(toy), "--name", "mine"]) == 0
    assert "load it as mine" in capsys.readouterr().out
    assert run_command(["weights", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["mine"]["state"] == "cached"
    assert "MB, none" in rows["mine"]["about"]
    assert rows["lsmfm-data"]["about"] == "doi:10.5281/zenodo.20149070"
    assert run_command(["weights", "list", "min*"]) == 0
    assert capsys.readouterr().out.startswith("mine  cached")
    assert run_command(["weights", "where", "mine"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder == tmp_path / "home" / "weights" / "mine"
    assert run_command(["weights", "download", "mine", "--to", str(tmp_path / "stick")]) == 0
    assert (tmp_path / "stick" / "model.safetensors").is_file()
    assert run_command(["weights", "verify"]) == 0
    shown = capsys.readouterr().out
    assert f"mine: weights: {len(load_weights(toy)[0])} tensors can be read" in shown
    assert "mine: model: all tensors fit" in shown
    assert "luxvox-tiny: model: all tensors fit" in shown
    (folder / "config.json").write_text("{}")
    assert run_command(["weights", "verify", "mine"]) == 1
    assert "config.json: WRONG" in capsys.readouterr().out


def test_a_run_is_imported_and_no_name_that_ships_is_taken(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "first"
    run.mkdir()
    toy.rename(run / "weights")
    for words in ([str(run / "weights"), "--name", "luxvox-tiny"], [str(tmp_path / "luxvox-tiny")]):
        assert run_command(["weights", "import", *words]) == 2
        assert "weights of that name ship" in capsys.readouterr().err
    assert run_command(["weights", "import", str(run)]) == 0
    assert "load it as first" in capsys.readouterr().out
    assert run_command(["weights", "where", "first"]) == 0


def test_a_head_without_its_encoder_is_found_out(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = load_file(toy / "model.safetensors")
    heads = {name: tensor for name, tensor in tensors.items() if not name.startswith("encoder.")}
    save_file(heads, toy / "model.safetensors")
    assert run_command(["weights", "verify", str(toy)]) == 1
    shown = capsys.readouterr().out
    assert "model: WRONG" in shown
    assert "lacks encoder." in shown


def test_an_archive_is_unpacked_in_a_place_of_the_users(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("in/x.txt", "one")
    (toy / "data.zip").write_bytes(held.getvalue())
    assert run_command(["weights", "import", str(toy)]) == 0
    (tmp_path / "home" / "weights" / "toy" / "data.zip").write_bytes(held.getvalue())
    assert run_command(["weights", "download", "toy", "--unpack"]) == 2
    assert "add --to DIR" in capsys.readouterr().err
    out = tmp_path / "stick"
    assert run_command(["weights", "download", "toy", "--unpack", "--to", str(out)]) == 0
    assert (out / "data" / "in" / "x.txt").read_text() == "one"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["weights", "download", "hf:nosuch"], "expected hf:owner/name"),
        (["weights", "download", "http://127.0.0.1:9/w/"], "check the network"),
        (["weights", "download", "http://127.0.0.1:9/w.zip", "--sha256", "12"], "64 hexadecimal"),
        (["weights", "download", "http://example.org/w/"], "use https, or give --sha256"),
        (["weights", "download", "https://example.org/w.pt"], "a pickle by its name"),
        (["weights", "download", "hf:a/b", "--file", "x"], "of a record"),
        (["weights", "download", "lsmfm-dat"], "did you mean lsmfm-data"),
        (["weights", "verify", "nosuch"], "nosuch: no such folder"),
        (["weights", "push", "nosuch", "lab/mine"], "nosuch: no such folder"),
    ],
)
def test_mistakes_are_one_line_and_the_cache_stays_empty(
    toy: Path, tmp_path: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(words) == 2
    shown = capsys.readouterr().err
    assert expected in shown
    assert shown.count("\n") == 1
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert {path.name for path in kept} <= {".lock"}


def test_without_a_network_a_push_and_a_download_say_so(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for words in (["download", "hf:lab/x@v1"], ["push", str(toy), "lab/x"]):
        assert run_command(["weights", *words]) == 2
        assert "the network is off" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["list", "download", "verify", "where", "import", "push"])
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["weights", verb, "--help"]) == 0
    assert f"Example: luxvox weights {verb}" in capsys.readouterr().out


class _HubModel(Model, PyTorchModelHubMixin):
    """What docs/weights.md shows: the mixin finds `config` in config.json, tensors beside it."""

    def __init__(self, config: dict) -> None:
        super().__init__(config, "from the hub")


def test_from_pretrained_reads_the_layout_of_weights(tmp_path: Path) -> None:
    folder = save_small(tmp_path / "small")
    noise = np.random.default_rng(0).normal(100, 10, (16, 16, 32)).astype(np.float32)
    luxvox.save_volume(noise, tmp_path / "v.ome.zarr", voxel_size_um=(2, 1, 1))
    model = _HubModel.from_pretrained(str(folder))
    ours = luxvox.load(folder)
    assert np.allclose(
        model.embed(tmp_path / "v.ome.zarr"), ours.embed(tmp_path / "v.ome.zarr"), atol=1e-6
    )
    assert np.allclose(model.embed_text("vessels"), ours.embed_text("vessels"), atol=1e-6)
