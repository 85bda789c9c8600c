"""Checkpoints: all that a run needs to go on to the bit, written whole or not at all.

`RUN/checkpoints/step_00000120/` holds `state.pt` (tensors only, opened with `weights_only=True`)
and `meta.json` (step, steps of the plan, architecture, size and sha256 of state.pt). A folder
appears under its name only when both files are complete and on disk. Data order, masks,
augmentation and dropout are functions of (seed, step), so no random state is kept.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import is_tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)
from torch.optim import Optimizer

from ..configs.errors import InputError
from ..models.shard_index import sha256_of
from .ema import Ema

FORMAT = 1
BEST = "best"  # name of the checkpoint with the lowest held-back error
_OLD = ".old"  # a folder on its way out
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass(frozen=True)
class Position:
    """Where in a run a checkpoint was taken."""

    step: int  # optimiser steps done
    steps: int  # of the plan at that time
    decay_start: int
    best_error: float | None = None
    skipped_steps: int = 0  # updates left out because a gradient was not finite
    seconds: float = 0.0  # of training so far, over all sessions

    def __post_init__(self) -> None:
        """Refuse what is no number: a damaged meta.json must not fail later, in a comparison."""
        counts = (self.step, self.steps, self.decay_start, self.skipped_steps)
        if not all(isinstance(count, int) for count in counts):
            raise TypeError(f"steps of a position are {counts}, expected whole numbers")

    @property
    def is_decaying(self) -> bool:
        """True once the learning rate has begun to fall towards the end of the plan."""
        return self.step > self.decay_start


def folder_name(step: int) -> str:
    """Name of a step's checkpoint; sorts by step."""
    return f"step_{step:08d}"


def gather_state(model: nn.Module, optimizer: Optimizer, ema: Ema) -> dict[str, Any]:
    """Collect whole tensors on the CPU; every rank must call this (FSDP gathers shards)."""
    weights, moments = get_state_dict(model, optimizer, options=_WHOLE)
    with ema.swapped(model):
        averaged, _ = get_state_dict(model, optimizer, options=_WHOLE)
        # Copies: after the block the model's own tensors hold its own weights again.
        averaged = {name: value.clone() for name, value in averaged.items() if is_tensor(value)}
    return {"model": weights, "optimizer": moments, "ema": averaged}


def restore_state(model: nn.Module, optimizer: Optimizer, ema: Ema, state: dict[str, Any]) -> None:
    """Put a gathered state back; every rank must call this."""
    set_model_state_dict(model, state["ema"], options=_WHOLE)
    ema.take(model)
    set_state_dict(
        model,
        optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
        options=_WHOLE,
    )


def write_checkpoint(
    folder: Path, state: dict[str, Any], position: Position, architecture: dict[str, Any]
) -> None:
    """Write one checkpoint atomically; on the main process only.

    Raises:
        InputError: the disk is full or not writable; what was there before stays as it was.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        torch.save(state, partial / "state.pt")
        meta = {
            "format": FORMAT,
            "position": asdict(position),
            "architecture": architecture,
            "bytes": (partial / "state.pt").stat().st_size,
            "sha256": sha256_of(partial / "state.pt"),
        }
        (partial / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
        for name in ("state.pt", "meta.json"):
            _sync(partial / name)
        # A folder cannot be replaced in one step: the old one leaves under another name first.
        _remove(folder, after=lambda: partial.rename(folder))
        _sync(folder.parent)
    except (OSError, RuntimeError) as error:  # torch.save says RuntimeError where a disk is full
        shutil.rmtree(partial, ignore_errors=True)
        why = getattr(error, "strerror", None) or "no space left on the device?"
        raise InputError(
            f"{folder}: checkpoint not written ({why}); "
            "free space or fix permissions, then go on with --resume"
        ) from None


def read_meta(folder: Path) -> dict[str, Any]:
    """Read and check a checkpoint's meta.json; `position` comes back as a Position.

    Raises:
        InputError: missing, not readable, or of a later format.
    """
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        found = int(meta["format"])
        if found <= FORMAT:
            meta["position"] = Position(**meta["position"])
            meta["architecture"] = dict(meta["architecture"])
            meta["bytes"], meta["sha256"] = int(meta["bytes"]), str(meta["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(
            f"{path}: not a readable checkpoint description ({what}); "
            "delete the folder to resume from an earlier one"
        ) from None
    if found > FORMAT:
        raise InputError(f"{path}: format {found}, this luxvox reads up to {FORMAT}; update luxvox")
    return meta


def read_state(folder: Path, architecture: dict[str, Any]) -> tuple[dict[str, Any], Position]:
    """Read a checkpoint, refusing one of another architecture or one that was cut short.

    Raises:
        InputError: names the file, what was found and what was expected.
    """
    meta = read_meta(folder)
    for key, expected in architecture.items():
        found = meta["architecture"].get(key)
        if found != expected:
            found, expected = _differing(found, expected)
            raise InputError(
                f"{folder}: a checkpoint of another architecture: {key} is {found}, the recipe "
                f"says {expected}; use the recipe of that run or another out folder"
            )
    path = folder / "state.pt"
    size = path.stat().st_size if path.exists() else 0
    if size != meta["bytes"] or sha256_of(path) != meta["sha256"]:
        raise InputError(
            f"{path}: {size} bytes, expected {meta['bytes']} with sha256 {meta['sha256'][:12]}...: "
            "cut short or changed; delete its folder to resume from an earlier one"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's thoughts about foreign pickles
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError):
        state = None
    if not isinstance(state, dict) or not {"model", "optimizer", "ema"} <= state.keys():
        raise InputError(
            f"{path}: not the tensors of a luxvox checkpoint, so it was not used; "
            "delete its folder to resume from an earlier one"
        )
    return state, meta["position"]


def _differing(found: Any, expected: Any) -> tuple[Any, Any]:
    """Of two mappings only the entries that differ."""
    if not isinstance(found, dict) or not isinstance(expected, dict):
        return found, expected
    keys = [key for key in {**expected, **found} if found.get(key) != expected.get(key)]
    return {key: found.get(key) for key in keys}, {key: expected.get(key) for key in keys}


def find_latest(checkpoints: Path, steps: int) -> Path | None:
    """The newest checkpoint from which a plan of `steps` steps can go on, or None.

    One that was taken while an earlier, shorter plan was already decaying is passed over, because
    its learning rate had fallen; a checkpoint is always kept from before the decay. Says so where
    one is passed over: steps are lost.
    """
    passed: list[str] = []
    found = None
    for folder in sorted(checkpoints.glob("step_*"), reverse=True):
        position = read_meta(folder)["position"]
        if position.steps == steps or not position.is_decaying:
            found = folder
            break
        passed.append(f"{folder.name} (of {position.steps} steps)")
    if passed:
        print(
            f"warning: steps={steps} cannot go on from {', '.join(passed)}, whose learning rate "
            f"was falling already; going on from {found.name if found else 'the start'}",
            file=sys.stderr,
        )
    return found


def prune(checkpoints: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints and those kept from before a decay."""
    for folder in sorted(checkpoints.glob("step_*"))[:-keep]:
        position = read_meta(folder)["position"]
        if position.step != position.decay_start:
            _remove(folder)


def tidy(checkpoints: Path) -> None:
    """Clear away what a killed run left half-done: put back, or finish deleting."""
    for partial in checkpoints.glob(".*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
    for old in checkpoints.glob(f".*{_OLD}"):
        replaced = old.with_name(old.name.removeprefix(".").removesuffix(_OLD))
        if replaced.name == BEST and not replaced.exists():
            old.rename(replaced)  # killed between the two renames
        shutil.rmtree(old, ignore_errors=True)


def _remove(folder: Path, after: Callable[[], object] = lambda: None) -> None:
    """Take a folder away under its name at once, do what follows, then delete it."""
    if not folder.exists():
        after()
        return
    old = folder.with_name(f".{folder.name}{_OLD}")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    after()
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Ask the system to put a file or folder on disk, so that a power cut cannot leave half of
    it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
