"""Checkpoints in the layout of LSM-FM's files: whole nets load, anything else is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from luxvox.configs.errors import InputError
from luxvox.models.reference_checkpoints import load_reference

UNET = {
    "in_channels": 1, "out_channels": 12, "channels": (4, 8, 16, 20), "strides": (2, 2, 1),
    "num_res_units": 2,
}  # fmt: skip


def unet(norm: str = "BATCH", **changes: Any) -> nn.Module:
    from monai.networks.nets.unet import UNet

    return UNet(spatial_dims=3, norm=norm, **{**UNET, **changes})


def swinunetr() -> nn.Module:
    from monai.networks.nets.swin_unetr import SwinUNETR

    return SwinUNETR(in_channels=1, out_channels=8, feature_size=12)


def checkpoint(student: nn.Module, teacher: nn.Module, model: dict[str, Any]) -> dict[str, Any]:
    """As Lightning writes it: both nets, a text encoder, heads and single numbers."""
    nets = (("student", student), ("teacher", teacher))
    state = {f"{n}_encoder.{key}": t for n, net in nets for key, t in net.state_dict().items()}
    state |= {
        "logit_scale": torch.tensor(2.6),
        "ema_decay": torch.tensor(0.996),
        "reconstruction_head.decoder.0.weight": torch.randn(4, 12, 3, 3, 3),
        "text_encoder.embeddings.word_embeddings.weight": torch.randn(5, 4),
        "text_encoder.encoder.layer.0.output.dense.bias": torch.randn(4),
        "text_proj.0.weight": torch.randn(4, 4),
        "image_proj.2.weight": torch.randn(4, 4),
    }
    return {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "hyper_parameters": {"model": model},
        "optimizer_states": [{"state": {}, "param_groups": []}],
    }


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("norm", ["BATCH", "INSTANCE"])
def test_a_unet_loads_whole_and_says_what_it_left(tmp_path, norm) -> None:
    torch.manual_seed(0)
    student, teacher = unet(norm), unet(norm)
    said = {"unet": {"strides": [2, 2, 1]}}
    path = saved(tmp_path / "unet.ckpt", checkpoint(student, teacher, said))
    crop = torch.randn(2, 1, 16, 16, 16)
    for name, own in (("student", student), ("teacher", teacher)):
        net, report = load_reference(path, name)
        assert report.kind == "unet"
        assert report.settings == {**UNET, "norm": norm}
        assert set(report.loaded) == set(own.state_dict())
        with torch.no_grad():
            assert torch.equal(net(crop), own.eval()(crop))
    net, report = load_reference(path)
    assert report.left_out == {
        "teacher_encoder": len(teacher.state_dict()), "logit_scale": 1, "ema_decay": 1,
        "reconstruction_head": 1, "text_encoder": 2, "text_proj": 1, "image_proj": 1,
    }  # fmt: skip
    assert "text_encoder 2" in str(report)
    assert not torch.equal(
        next(net.parameters()), next(load_reference(path, "teacher")[0].parameters())
    )


def test_the_published_strides_are_taken_where_the_file_says_none(tmp_path) -> None:
    net = unet(channels=(4, 6, 8, 10, 12), strides=(2, 2, 2, 1))
    content = checkpoint(net, net, {})["state_dict"]  # a state_dict alone
    _, report = load_reference(saved(tmp_path / "bare.pt", content))
    assert report.settings["strides"] == (2, 2, 2, 1)
    assert report.settings["channels"] == (4, 6, 8, 10, 12)


def test_a_swinunetr_loads_whole(tmp_path) -> None:
    torch.manual_seed(0)
    own = swinunetr()
    path = saved(tmp_path / "swin.ckpt", checkpoint(own, own, {}))
    net, report = load_reference(path)
    assert report.settings == {"in_channels": 1, "out_channels": 8, "feature_size": 12}
    assert set(report.loaded) == set(own.state_dict())
    loaded = net.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in own.state_dict().items())


def test_what_is_missing_or_misshapen_is_named(tmp_path) -> None:
    net = unet()
    whole = checkpoint(net, net, {"unet": {"strides": [2, 2, 1]}})
    name = "student_encoder.model.0.conv.unit1.conv.bias"
    for change, expected in (
        ({name: None}, r"lacks model\.0\.conv\.unit1\.conv\.bias"),
        ({name: torch.zeros(5)}, r"other shapes: model\.0\.conv\.unit1\.conv\.bias \[5\]"),
        ({"student_encoder.model.9.weight": torch.zeros(1)}, r"unknown model\.9\.weight"),
    ):
        state = {k: t for k, t in {**whole["state_dict"], **change}.items() if t is not None}
        path = saved(tmp_path / "odd.ckpt", {**whole, "state_dict": state})
        with pytest.raises(InputError, match=expected) as caught:
            load_reference(path)
        assert "\n" not in str(caught.value)
    nothing = {"state_dict": {"text_proj.0.weight": torch.zeros(1)}}
    with pytest.raises(InputError, match=r"no MONAI UNet or SwinUNETR.*found text_proj"):
        load_reference(saved(tmp_path / "none.ckpt", nothing))
    with pytest.raises(InputError, match="no such file"):
        load_reference(tmp_path / "nowhere.ckpt")


class Bomb:
    """What an evil pickle would be."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_nothing_in_a_pickle_is_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    net = unet()
    content = checkpoint(net, net, {}) | {"callbacks": Bomb()}
    path = saved(tmp_path / "evil.ckpt", content)
    with pytest.raises(InputError, match=r"evil\.ckpt: holds more than tensors") as caught:
        load_reference(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()
    (tmp_path / "cut.ckpt").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="was not opened"):
        load_reference(tmp_path / "cut.ckpt")
