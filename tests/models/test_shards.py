"""Shards: small files that hold the same weights, and nothing damaged is ever taken for them."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from luxvox.configs.errors import InputError
from luxvox.models.checkpoint import CONFIG_KEYS, load_strict, load_weights, save_weights
from luxvox.models.encoder import Encoder
from luxvox.models.shards import join_shards, write_shards
from luxvox.models.sizes import SIZES

CONFIG = {key: key for key in CONFIG_KEYS}
MOST = 200_000
INDEX = "model.safetensors.index.json"


@pytest.fixture
def whole(tmp_path):
    torch.manual_seed(1)
    tensors = {**Encoder(SIZES["nano"]).state_dict(), "count": torch.arange(5)}
    return save_weights(tmp_path / "whole", tensors, CONFIG, "# card\n")


@pytest.fixture
def cut(whole, tmp_path):
    return write_shards(whole, tmp_path / "cut", MOST)


def shards_of(folder):
    return sorted(path for path in folder.iterdir() if path.suffix == ".safetensors")


def change_index(folder, change):
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index))


def test_round_trip(whole, cut):
    files = shards_of(cut)
    assert len(files) > 3
    assert all(file.stat().st_size <= MOST for file in files)
    assert (cut / "README.md").read_text() == "# card\n"
    before, config = load_weights(whole)
    tensors, again = load_weights(cut)
    assert again == config
    assert tensors.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(tensors[name].float(), tensor.bfloat16().float()), name
    assert tensors["patch_embed.proj.weight"].dtype == torch.bfloat16
    assert torch.equal(tensors.pop("count"), torch.arange(5))
    load_strict(Encoder(SIZES["nano"]), tensors, "here")


def test_joined_they_are_an_ordinary_folder(whole, cut):
    tensors, _ = load_weights(cut)
    assert join_shards(cut) == cut
    assert sorted(os.listdir(cut)) == ["README.md", "config.json", "model.safetensors"]
    joined, config = load_weights(cut)
    assert config == load_weights(whole)[1]
    assert joined.keys() == tensors.keys()
    assert all(torch.equal(joined[name], tensors[name]) for name in tensors)


def test_a_folder_can_be_cut_in_place_at_full_precision(whole):
    before, _ = load_weights(whole)
    write_shards(whole, whole, MOST, torch.float32)
    assert not (whole / "model.safetensors").exists()
    after, _ = load_weights(whole)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert os.listdir(whole.parent) == ["whole"]


def test_one_shard_is_enough_for_little(whole, tmp_path):
    assert len(shards_of(write_shards(whole, tmp_path / "one"))) == 1
    modes = {path.stat().st_mode for path in (tmp_path / "one").iterdir()}
    assert len(modes) == 1


def test_a_missing_shard_is_named(cut):
    gone = shards_of(cut)[1]
    gone.unlink()
    for read in (load_weights, join_shards):
        with pytest.raises(InputError, match=rf"{gone.name}: no such file"):
            read(cut)


def test_a_shard_cut_short_is_refused(cut):
    path = shards_of(cut)[2]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=rf"{path.name}: \d+ bytes with sha256.*cut short"):
        load_weights(cut)
    assert shards_of(cut)  # a failed joining changes nothing
    with pytest.raises(InputError, match="cut short"):
        join_shards(cut)
    assert (cut / INDEX).exists()


def test_a_shard_of_other_weights_is_refused(cut):
    first, second = shards_of(cut)[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(InputError, match=rf"{first.name}.*another file"):
        load_weights(cut)


def test_an_index_that_does_not_fit_its_shards_is_refused(cut):
    def forget_one(index):
        index["weight_map"].pop("count")

    change_index(cut, forget_one)
    with pytest.raises(InputError, match=r"other tensors than.*count"):
        load_weights(cut)


@pytest.mark.parametrize("name", ["../model.safetensors", "sub/a.safetensors", "model.bin"])
def test_an_index_may_only_name_files_beside_it(cut, tmp_path, name):
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")

    def point(index):
        index["weight_map"] = {"a": name}
        index["metadata"]["sha256"] = {name: "0"}

    change_index(cut, point)
    with pytest.raises(InputError, match="not opened"):
        load_weights(cut)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"weight_map": {}, "metadata": {}}',
             '{"weight_map": {"a": "x.safetensors"}, "metadata": {"sha256": {}}}',
             '{"weight_map": {"a": 1}, "metadata": {"sha256": {"b": 2}}}'],
)  # fmt: skip
def test_an_index_without_what_is_needed_is_named(cut, text):
    (cut / INDEX).write_text(text)
    with pytest.raises(InputError, match=r"index\.json.*copy it again"):
        load_weights(cut)


def test_a_tensor_larger_than_a_shard_is_named(whole, tmp_path):
    with pytest.raises(InputError, match=r"alone takes \d+ bytes, a shard may take 1000"):
        write_shards(whole, tmp_path / "cut", 1000)
    assert not (tmp_path / "cut").exists()


def test_a_failed_write_leaves_what_was_there(whole, cut, monkeypatch):
    before = {path.name: path.read_bytes() for path in cut.iterdir()}

    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", no_space)
    with pytest.raises(InputError, match=r"No space left.*unchanged"):
        write_shards(whole, cut, MOST)
    assert {path.name: path.read_bytes() for path in cut.iterdir()} == before
