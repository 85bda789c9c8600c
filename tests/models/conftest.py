"""A server on loopback, and small weights to serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from luxvox.models import hub_file
from luxvox.models.checkpoint import CONFIG_KEYS, save_weights

from .loopback import Loopback, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, online: None) -> Iterator[Loopback]:
    """A server without files yet; a cache of its own; no waiting between tries, no proxy."""
    monkeypatch.setattr(hub_file, "_PAUSE", 0.0)
    monkeypatch.setattr(hub_file, "_PIECE", 500)
    monkeypatch.setenv("LUXVOX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as state:
        yield state


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder of weights: two tensors, a config, a card."""
    tensors = {"a": torch.arange(600.0).reshape(20, 30), "b": torch.ones(3)}
    config = dict.fromkeys(CONFIG_KEYS, "x") | {"structures": ["vessels"]}
    return save_weights(tmp_path / "toy", tensors, config, "# toy\n")


@pytest.fixture
def with_head(weights: Path) -> Path:
    """The same weights with a focus head inside, as luxvox-tiny ships."""
    config = dict.fromkeys(CONFIG_KEYS, "x") | {"structures": []}
    save_weights(weights / "focus", {"c": torch.ones(5)}, config, "# head\n")
    return weights
