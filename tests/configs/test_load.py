"""The strict loader: every mistake is named, nothing passes silently."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from luxvox.configs.errors import InputError
from luxvox.configs.load import find_recipe, load_recipe, validate


class _Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    shorthand: ClassVar[str] = "source"
    source: str = ""
    depth: int = 3
    rate: float = 1.0


class _Outer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    inner: _Inner = _Inner()
    steps: int = 1


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("inner:\n  rate: 1e-4\nsteps: 7\n")
    return path


def test_overrides_reach_nested_keys_and_text_floats_become_numbers(recipe: Path) -> None:
    loaded = load_recipe(recipe, _Outer, ["inner.depth=5", "steps=9"])
    assert (loaded.inner.depth, loaded.inner.rate, loaded.steps) == (5, 1e-4, 9)


def test_shorthand_and_dotted_keys_go_together_in_any_order(recipe: Path) -> None:
    for overrides in (["inner=/a/b.csv", "inner.depth=4"], ["inner.depth=4", "inner=/a/b.csv"]):
        loaded = load_recipe(recipe, _Outer, overrides)
        assert (loaded.inner.source, loaded.inner.depth) == ("/a/b.csv", 4)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("inner.dpeth=4", ["inner.dpeth", "depth"]),
        ("inner.depth=deep", ["inner.depth", "deep", "integer"]),
        ("steps.more=1", ["steps", "more"]),
        ("steps", ["key=value"]),
        ("=3", ["key=value"]),
    ],
)
def test_a_wrong_override_names_key_and_remedy(
    recipe: Path, override: str, words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(recipe, _Outer, [override])
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [("steps: 1\nsteps: 2\n", "twice"), ("- 1\n", "mapping"), ("steps: [1\n", "YAML")],
)
def test_a_broken_file_is_one_line_with_its_name(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_recipe(path, _Outer)
    assert word in str(caught.value)
    assert "broken.yaml" in str(caught.value)


def test_yaml_cannot_build_objects(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("steps: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError):
        load_recipe(path, _Outer)


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="cpu_real") as caught:
        find_recipe("no_such_recipe")
    assert "ddp" not in str(caught.value)
    with pytest.raises(InputError, match="did you mean 'cpu_real'"):
        find_recipe("cpu_rael")


def test_a_missing_key_is_named_as_it_is_written() -> None:
    class Inner(BaseModel):
        shorthand: ClassVar[str] = "source"
        source: str
        depth: int = 3

    class Outer(BaseModel):
        inner: Inner

    with pytest.raises(InputError, match=r"inner is missing; .* inner=VALUE"):
        validate({"inner": {"depth": 4}}, Outer, where="recipe")


def test_shipped_recipes_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("configs/pretrain/cpu_real.yaml", "pretrain/cpu_real.yaml", "cpu_real"):
        assert find_recipe(name).name == "cpu_real.yaml"


@pytest.mark.parametrize(
    "text", ["? [1, 2]\n: 3\n", "? {a: 1}\n: 3\n", "[" * 3000, "steps: " + "9" * 5000]
)
def test_odd_yaml_is_a_mistake_and_no_defect(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"odd\.yaml"):
        load_recipe(path, _Outer)


def test_no_recipe_at_all_is_a_mistake_and_no_defect() -> None:
    with pytest.raises(InputError, match="no recipe"):
        find_recipe("")
