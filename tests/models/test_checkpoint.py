"""Weights folders: written whole, read strictly, and nothing else is ever opened."""

import json
import os
import pickle

import pytest
import torch
from safetensors import SafetensorError

from luxvox.configs.errors import InputError
from luxvox.models.checkpoint import CONFIG_KEYS, load_strict, load_weights, save_weights
from luxvox.models.encoder import Encoder
from luxvox.models.sizes import SIZES

CONFIG = {key: key for key in CONFIG_KEYS}


@pytest.fixture
def saved(tmp_path):
    encoder = Encoder(SIZES["nano"])
    config = {**CONFIG, "architecture": SIZES["nano"].model_dump()}
    folder = save_weights(tmp_path / "weights", encoder.state_dict(), config, "# card\n")
    return folder, encoder


def test_round_trip(saved):
    folder, encoder = saved
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]
    tensors, config = load_weights(folder)
    assert config["format_version"] == 1
    assert config["stains"] == "stains"
    again = Encoder(SIZES["nano"].model_validate(config["architecture"]))
    load_strict(again, tensors, str(folder))
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert (folder / "README.md").read_text() == "# card\n"


def test_bfloat16_file_is_half_as_large_and_loads_into_float32(saved, tmp_path):
    folder, encoder = saved
    half = {name: tensor.bfloat16() for name, tensor in encoder.state_dict().items()}
    small = save_weights(tmp_path / "bf16", half, CONFIG, "")
    sizes = [(f / "model.safetensors").stat().st_size for f in (folder, small)]
    assert sizes[1] < 0.52 * sizes[0]
    again = Encoder(SIZES["nano"])
    load_strict(again, load_weights(small)[0], str(small))
    weight = again.patch_embed.proj.weight
    assert weight.dtype == torch.float32
    assert torch.allclose(weight, encoder.patch_embed.proj.weight, rtol=0.01)


def test_a_config_key_may_not_be_forgotten(tmp_path):
    with pytest.raises(ValueError, match="licence"):
        save_weights(tmp_path / "w", {}, {k: 1 for k in CONFIG_KEYS if k != "licence"}, "")


def test_shared_tensors_and_views_are_saved(tmp_path):
    x = torch.arange(6.0).reshape(2, 3)
    save_weights(tmp_path / "w", {"a": x, "b": x, "c": x.T}, CONFIG, "")
    assert torch.equal(load_weights(tmp_path / "w")[0]["c"], x.T)


def test_other_architecture_names_the_first_differences(saved):
    tensors, _ = load_weights(saved[0])
    wider = Encoder(SIZES["nano"].model_copy(update={"width": 120, "depth": 5}))
    before = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_strict(wider, tensors, "some/folder")
    message = str(error.value)
    assert message.startswith("some/folder: ")
    assert "lacks blocks.4." in message
    assert "extra_tokens [5, 96] instead of [5, 120]" in message
    assert "\n" not in message
    assert all(torch.equal(before[name], t) for name, t in wider.state_dict().items())
    shallow = Encoder(SIZES["nano"].model_copy(update={"depth": 2}))
    with pytest.raises(InputError, match=r"has unknown blocks\.2\.attention.* and \d+ more"):
        load_strict(shallow, tensors, "some/folder")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_cut_short(saved, share):
    path = saved[0] / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"model\.safetensors: cut short"):
        load_weights(saved[0])


def test_a_pickle_in_disguise_is_not_opened(saved, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    path = saved[0] / "model.safetensors"
    for content in (pickle.dumps(Bomb()), pickle.dumps(Bomb()) + bytes(10_000)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="no safetensors file"):
            load_weights(saved[0])
    torch.save({"a": torch.ones(3)}, path)
    with pytest.raises(InputError, match="no safetensors file"):
        load_weights(saved[0])
    assert not (tmp_path / "exploded").exists()


def test_later_format_unreadable_config_missing_files(saved):
    folder = saved[0]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format_version": 99}))
    with pytest.raises(InputError, match="format_version 99"):
        load_weights(folder)
    for broken in ("{", "[1]", "{}"):
        (folder / "config.json").write_text(broken)
        with pytest.raises(InputError, match=r"config\.json"):
            load_weights(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json"):
        load_weights(folder)
    with pytest.raises(InputError, match="no model"):
        load_weights(folder / "nowhere")


def test_a_failed_write_leaves_the_old_weights(saved, monkeypatch):
    folder, _ = saved
    before = load_weights(folder)[0]

    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", no_space)
    with pytest.raises(InputError, match=r"No space left.*unchanged"):
        save_weights(folder, {"a": torch.ones(1)}, CONFIG, "")
    monkeypatch.undo()
    assert load_weights(folder)[0].keys() == before.keys()
    save_weights(folder, {"a": torch.ones(1)}, CONFIG, "")
    assert list(load_weights(folder)[0]) == ["a"]
    assert os.listdir(folder.parent) == ["weights"]


def test_a_crash_between_the_two_renames_is_healed(saved):
    folder, _ = saved
    folder.rename(folder.parent / ".weights.old")
    assert load_weights(folder)[1]["format_version"] == 1
    assert folder.is_dir()


def test_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the weights"):
        save_weights(tmp_path / "file" / "weights", {}, CONFIG, "")


def test_a_full_disk_is_one_line_and_leaves_the_old_weights(saved, monkeypatch):
    folder, _ = saved

    def full(*_args, **_more):
        raise SafetensorError("Error while serializing: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(InputError, match="No space left"):
        save_weights(folder, {"a": torch.ones(2)}, CONFIG, "")
    assert "a" not in load_weights(folder)[0]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_weights_can_be_read_by_whoever_can_read_their_config(saved):
    folder, _ = saved
    modes = {name: (folder / name).stat().st_mode for name in os.listdir(folder)}
    assert len(set(modes.values())) == 1
