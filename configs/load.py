"""Strict recipes: YAML -> overrides -> frozen pydantic model, with errors that name file, key and
remedy.

pydantic already refuses unknown keys and wrong types. This file adds what it does not do: the
nearest right key, duplicate YAML keys (PyYAML keeps the last one silently), `1e-4` (PyYAML reads a
string), and overrides through a scalar.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .errors import InputError

Recipe = TypeVar("Recipe", bound=BaseModel)

CONFIGS = Path(__file__).parent


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise InputError(f"line {line}: {key!r:.60} is no key; keys are single words")
            if key in seen:
                raise InputError(
                    f"line {line}: the key {key!r} stands twice in one mapping; keep one of them"
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def find_recipe(name: str | Path) -> Path:
    """Find a recipe file.

    Args:
        name: a path that exists, or the end of the path of a recipe that ships with luxvox, such as
            `configs/pretrain/cpu_real.yaml`, `pretrain/cpu_real.yaml` or `cpu_real`.

    Returns:
        The path of the YAML file.

    Raises:
        InputError: nothing fits; the message lists the shipped recipes.
    """
    path = Path(name)
    if path.is_file():
        return path
    if not path.name:
        raise InputError(f"{str(name)!r}: no recipe; give a YAML file or the name of a shipped one")
    # Settings for accelerate lie beside the recipes; they are none.
    shipped = sorted(p for p in CONFIGS.rglob("*.yaml") if p.parent.name != "accelerate")
    wanted = path.with_suffix(".yaml").parts
    wanted = wanted[1:] if wanted[0] == "configs" else wanted
    for candidate in shipped:
        if candidate.relative_to(CONFIGS).parts[-len(wanted) :] == wanted:
            return candidate
    names = [p.stem for p in shipped]
    near = difflib.get_close_matches(path.stem, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(
        f"{name}: no such recipe file, and none of that name is shipped ({', '.join(names)}){hint}"
    )


def load_recipe(
    name: str | Path, model: type[Recipe], overrides: list[str] | None = None
) -> Recipe:
    """Read a recipe strictly and apply dotted overrides.

    Args:
        name: see `find_recipe`.
        model: the pydantic model that the recipe must fit.
        overrides: `key.sub=value` strings; values are read as YAML.

    Returns:
        The validated, frozen recipe.

    Raises:
        InputError: the file or key, what was found, what was expected.
    """
    path = find_recipe(name)
    values = read_yaml(path)
    _expand_shorthands(values, model)
    for override in overrides or []:
        _apply_override(values, override, model)
    return validate(values, model, where=str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping, refusing keys that stand twice."""
    try:
        # A subclass of SafeLoader: builds plain values only, no objects.
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not readable as YAML: {reason}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; not a recipe") from None
    except (OSError, ValueError) as error:  # not UTF-8, or a number of thousands of digits
        raise InputError(f"{path}: not readable: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(
            f"{path}: holds a {type(values).__name__}, expected a mapping of recipe keys"
        )
    return values


def validate(values: dict[str, Any], model: type[Recipe], where: str) -> Recipe:
    """Check plain values against a recipe model; every problem is named in one line."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_describe(problem, model) for problem in error.errors())
        raise InputError(f"{where}: {problems}") from None


def _expand_shorthands(values: dict[str, Any], model: type[BaseModel]) -> None:
    """Write `data: LIST` as `data: {source: LIST}`, where the nested model names a `shorthand`."""
    for key, field in model.model_fields.items():
        nested = _nested_model(field.annotation)
        shorthand = getattr(nested, "shorthand", None)
        if shorthand and key in values and not isinstance(values[key], dict):
            values[key] = {shorthand: values[key]}


def _apply_override(values: dict[str, Any], override: str, model: type[BaseModel]) -> None:
    """Set one dotted key in place, making sub-mappings on the way."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"{override!r}: expected key=value, such as steps=30 or data=LIST")
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        value = text  # a path or a sentence that YAML has its own ideas about
    field = model.model_fields.get(key)
    nested = _nested_model(field.annotation) if field else None
    shorthand = getattr(nested, "shorthand", None)
    if shorthand and not isinstance(value, dict):
        key = f"{key}.{shorthand}"  # data=LIST means data.source=LIST
    *parents, last = key.split(".")
    target = values
    for depth, part in enumerate(parents):
        child = target.setdefault(part, {})
        if not isinstance(child, dict):
            path = ".".join(parents[: depth + 1])
            raise InputError(
                f"{override!r}: {path} is the single value {child!r}, so it has no key {last!r}"
            )
        target = child
    target[last] = value


def _describe(problem: Any, model: type[BaseModel]) -> str:
    """One pydantic problem in words: key path, found, expected."""
    location = problem["loc"]
    path = ".".join(str(part) for part in location) or "the recipe"
    if problem["type"] == "extra_forbidden":
        known = sorted(_fields_at(model, location[:-1]))
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {path!r}, {hint}"
    if problem["type"] == "missing":
        parent = model.model_fields.get(str(location[0])) if len(location) == 2 else None
        nested = _nested_model(parent.annotation) if parent else None
        if location[-1] == getattr(nested, "shorthand", None):
            path = str(location[0])  # as a user would write it: data=LIST
        return f"{path} is missing; give it in the recipe or as {path}=VALUE"
    message = problem["msg"].removeprefix("Value error, ")
    if not location:
        return message
    return f"{path}: found {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> Iterator[str]:
    """Names of the keys that the (nested) model at `location` knows."""
    for part in location:
        field = model.model_fields.get(str(part))
        nested = _nested_model(field.annotation) if field else None
        if nested is None:
            return iter(())
        model = nested
    return iter(model.model_fields)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model inside an annotation such as `EncoderRecipe | None`."""
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
