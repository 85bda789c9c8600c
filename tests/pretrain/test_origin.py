"""Where weights come from: groups by name, and no folder of the machine that trained them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from luxvox.configs.load import load_recipe
from luxvox.data.manifest import read_dataset
from luxvox.finetune.benchmark.methods import groups_behind
from luxvox.models.checkpoint import CONFIG_KEYS, fingerprint, load_weights, save_weights
from luxvox.models.shards import write_shards
from luxvox.pretrain.dense.outcome import seen_groups, write_dense_weights
from luxvox.pretrain.dense.recipe import DenseRecipe
from luxvox.pretrain.dense.run import build_dense
from luxvox.pretrain.origin import name_of, without_folders
from luxvox.pretrain.outcome import write_weights
from luxvox.pretrain.recipe import PretrainRecipe


def begun(folder: Path, data: object) -> Path:
    """Weights of an earlier run that say `data`."""
    config = {**dict.fromkeys(CONFIG_KEYS), "data": data}
    return save_weights(folder / "weights", {"a": torch.ones(1)}, config, "").parent


def test_paths_become_names() -> None:
    assert name_of("/lab/runs/first") == "first"
    assert name_of("/lab/runs/first/weights") == "first"
    assert name_of("lists/dataset.csv") == "dataset.csv"
    recipe = {"out": "/a/b", "init": None, "data": {"source": "/a/c.csv", "n": 1}, "r": ["/x/y"]}
    cut = without_folders(recipe, ("out", "init", "data.source", "r"))
    assert cut == {"out": "b", "init": None, "data": {"source": "c.csv", "n": 1}, "r": ["y"]}
    assert recipe["data"] == {"source": "/a/c.csv", "n": 1}


def test_groups_of_real_volumes_join_those_that_init_has_seen(
    simulated: Path, tmp_path: Path
) -> None:
    def seen(*words: str) -> list[str] | None:
        return seen_groups(load_recipe("dense_cpu", DenseRecipe, [f"out={tmp_path}", *words]))

    own = {row.group for row in read_dataset(simulated).rows if row.split == "train"}
    held_back = {row.group for row in read_dataset(simulated).rows} - own
    assert held_back
    assert seen() == []
    assert seen(f"real={simulated}") == sorted(own)
    before = begun(tmp_path / "a", {"groups": ["mouse 7", *sorted(own)[:1]]})
    assert seen(f"init={before}") == sorted({"mouse 7", *sorted(own)[:1]})
    assert seen(f"init={before}", f"real={simulated}") == sorted({"mouse 7", *own})
    for silent in ({"groups": 5}, {}, None):  # as older runs wrote it
        assert seen(f"init={begun(tmp_path / 'b', silent)}", f"real={simulated}") is None


def test_the_benchmark_reads_what_both_stages_write(simulated: Path, tmp_path: Path) -> None:
    words = [f"data={simulated}", f"out={tmp_path / 'a'}"]
    recipe = load_recipe("demo", PretrainRecipe, words)
    corpus = {
        "source": str(simulated), "volumes": 3, "groups": ["g1", "g2"], "stains": [],
        "structures": [], "captions": [], "voxel_size_range_um": None,
    }  # fmt: skip
    write_weights(tmp_path / "a", {"a": torch.ones(1)}, recipe, {}, corpus, {})
    assert groups_behind(str(tmp_path / "a")) == ["g1", "g2"]
    words = ["encoder=nano", f"out={tmp_path / 'b'}", f"real={simulated}", "text_folder=null"]
    dense = load_recipe("dense_cpu", DenseRecipe, words)
    model, architecture = build_dense(dense, 8)
    write_dense_weights(tmp_path / "b", dense, model, architecture, ["g2", "g3"], {"val/dice": 0.5})
    assert groups_behind(str(tmp_path / "b")) == ["g2", "g3"]
    write_dense_weights(tmp_path / "c", dense, model, architecture, None, {})
    assert groups_behind(str(tmp_path / "c")) is None
    for run in ("a", "b", "c"):
        folder = tmp_path / run / "weights"
        assert str(tmp_path) not in (folder / "config.json").read_text()
        for file in ("config.json", "README.md"):
            assert str(simulated.parent) not in (folder / file).read_text()
    assert load_weights(tmp_path / "a" / "weights")[1]["data"]["group_count"] == 2
    shards = write_shards(tmp_path / "b" / "weights", tmp_path / "shards")
    assert groups_behind(str(shards)) == ["g2", "g3"]
    known = {fingerprint(tmp_path / run / "weights") for run in "bc"}
    assert fingerprint(shards) not in known


@pytest.mark.parametrize("key", ["data.nothing", "nothing"])
def test_a_key_that_is_not_there_is_a_mistake_of_the_programme(key: str) -> None:
    with pytest.raises(KeyError):
        without_folders({"data": {}}, [key])
