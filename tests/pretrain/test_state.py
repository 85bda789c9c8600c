"""Checkpoints come back to the bit, are whole or absent, and say what is wrong with them."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from luxvox.configs.errors import InputError
from luxvox.pretrain.ema import Ema
from luxvox.pretrain.history import read_history
from luxvox.pretrain.state import (
    Position,
    find_latest,
    folder_name,
    gather_state,
    prune,
    read_state,
    restore_state,
    tidy,
    write_checkpoint,
)

ARCHITECTURE = {"width": 4}


def _learner(seed: int, steps: int) -> tuple[nn.Module, torch.optim.Optimizer, Ema]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    ema = Ema(model, 0.9)
    _learn(model, optimizer, ema, 0, steps)
    return model, optimizer, ema


def _learn(
    model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema, start: int, stop: int
) -> None:
    for step in range(start, stop):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (model(x).squeeze() - x.sum(1)).square().mean().backward()
        optimizer.step()
        ema.update(model, step)


def _write(folder: Path, step: int = 5, steps: int = 9, decay_start: int = 8) -> Path:
    model, optimizer, ema = _learner(0, 5)
    target = folder / folder_name(step)
    write_checkpoint(
        target,
        gather_state(model, optimizer, ema),
        Position(step, steps, decay_start),
        ARCHITECTURE,
    )
    return target


def test_going_on_from_a_checkpoint_gives_the_same_bits(tmp_path: Path) -> None:
    straight, _, straight_ema = _learner(0, 9)
    state, position = read_state(_write(tmp_path), ARCHITECTURE)
    model, optimizer, ema = _learner(1, 2)  # another start: all must come from the checkpoint
    restore_state(model, optimizer, ema, state)
    _learn(model, optimizer, ema, position.step, 9)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
        assert torch.equal(straight_ema.shadows[name], ema.shadows[name]), name


def test_a_cut_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    folder = _write(tmp_path)
    file = folder / "state.pt"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"state\.pt.*cut short"):
        read_state(folder, ARCHITECTURE)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    folder = _write(tmp_path)
    file = folder / "state.pt"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"state\.pt"):
        read_state(folder, ARCHITECTURE)


def test_another_architecture_is_refused_with_both_values(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="width is 4, the recipe says 6"):
        read_state(_write(tmp_path), {"width": 6})


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    folder = _write(tmp_path)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"format": 99}))
    with pytest.raises(InputError, match="format 99"):
        read_state(folder, ARCHITECTURE)


def test_a_full_disk_leaves_the_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _write(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left"):
        write_checkpoint(folder, {}, Position(6, 9, 8), ARCHITECTURE)
    monkeypatch.undo()
    assert read_state(folder, ARCHITECTURE)[1].step == 5
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_the_newest_is_found_unless_an_earlier_plan_was_already_decaying(tmp_path: Path) -> None:
    _write(tmp_path, step=8)
    _write(tmp_path, step=9)
    newest = find_latest(tmp_path, steps=9)
    assert newest is not None
    assert newest.name == folder_name(9)
    lengthened = find_latest(tmp_path, steps=20)
    assert lengthened is not None
    assert lengthened.name == folder_name(8)
    assert find_latest(tmp_path / "none", steps=9) is None


def test_pruning_keeps_the_newest_and_the_one_before_the_decay(tmp_path: Path) -> None:
    for step in (4, 6, 8, 9):
        _write(tmp_path, step=step, decay_start=6)
    prune(tmp_path, keep=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == [folder_name(6), folder_name(9)]


def test_what_a_killed_run_left_half_done_is_cleared_or_put_back(tmp_path: Path) -> None:
    kept = _write(tmp_path, step=8)
    gone = _write(tmp_path, step=4)
    gone.rename(tmp_path / f".{gone.name}.old")  # killed while pruning
    best = _write(tmp_path, step=5)
    best.rename(tmp_path / ".best.old")  # killed between two renames
    (tmp_path / ".step_00000009.partial").mkdir()  # killed while writing
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", kept.name]
    assert read_state(tmp_path / "best", ARCHITECTURE)[1].step == 5


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"}, {"position": {"nope": 1}}, {"position": None}, {"architecture": 3},
        {"position": {"step": "a", "steps": 9, "decay_start": 8}}, {"bytes": None},
    ],
)  # fmt: skip
def test_a_bent_description_is_named(tmp_path: Path, change: dict) -> None:
    path = _write(tmp_path) / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"meta\.json: not a readable checkpoint"):
        find_latest(tmp_path, steps=9)


@pytest.mark.parametrize("content", [pickle.dumps(print), b"", b"words"])
def test_what_is_no_checkpoint_is_refused_though_its_hash_is_right(
    tmp_path: Path, content: bytes
) -> None:
    folder = _write(tmp_path)
    (folder / "state.pt").write_bytes(content)
    meta = json.loads((folder / "meta.json").read_text())
    meta |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=r"state\.pt: not the tensors"):
        read_state(folder, ARCHITECTURE)


def test_another_architecture_names_only_what_differs(tmp_path: Path) -> None:
    model, optimizer, ema = _learner(0, 1)
    state = gather_state(model, optimizer, ema)
    write_checkpoint(
        tmp_path / "c", state, Position(1, 9, 8), {"decoder": {"width": 4, "depth": 2}}
    )
    with pytest.raises(InputError, match=r"decoder is \{'depth': 2\}, the recipe says .*: 3\}"):
        read_state(tmp_path / "c", {"decoder": {"width": 4, "depth": 3}})


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=f"{folder_name(5)}: checkpoint not written .*space"):
        _write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_history_of_another_program_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"step": 1}\n[1]\n\xff\n')
    assert read_history(path) == [{"step": 1}]
