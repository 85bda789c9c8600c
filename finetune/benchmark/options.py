"""KEY=VALUE words among the lists of a benchmark."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml

from ...configs.errors import InputError


def is_option(word: str) -> bool:
    """Whether a word is KEY=VALUE and no file of that name."""
    return "=" in word and not Path(word).exists()


def split_options(
    options: Iterable[str], known: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Options of the benchmark itself, values read as YAML, and those of somebody else.

    Args:
        options: KEY=VALUE or KEY.SUB=VALUE.
        known: keys of the benchmark.

    Raises:
        InputError: a key has a value of its own and others below it.
    """
    own: dict[str, Any] = {}
    others: list[str] = []
    for option in options:
        key, _, text = option.partition("=")
        first, _, second = key.partition(".")
        if first not in known:
            others.append(option)
        elif bool(second) != isinstance(own.get(first, {} if second else None), dict):
            raise InputError(f"{option}: {first}= and {first}.KEY= are both given; leave one out")
        elif second:
            own.setdefault(first, {})[second] = _value(text)
        else:
            own[first] = _value(text)
    return own, others


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
