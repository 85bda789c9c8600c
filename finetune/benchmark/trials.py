"""Trials: one draw of K shots and what judges it, the same for every method.

No group is ever in both, but in lists of a single group: those are cut along z, with a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...configs.errors import InputError
from ...data.draws import keyed_rng
from ...data.row import Row
from ..examples import Example
from ..few_shot import group_draws, within_volume_draw
from .lists import BenchmarkList

_SPARE = 4  # draws tried for one that is wanted: a shot without any foreground teaches nothing


@dataclass(frozen=True)
class Trial:
    """One draw.

    Attributes:
        rows: learnt from. support: the same, read.
        judged: (id, group) of what judges.
        load_test: reads that.
        digests: of all that is learnt from, and of all that judges; see `Example.digest`.
        within_volume: support and test are parts of the same volumes.
    """

    rows: tuple[Row, ...]
    support: tuple[Example, ...]
    judged: tuple[tuple[str, str], ...]
    load_test: Callable[[], Sequence[Example]]
    digests: tuple[tuple[str, ...], tuple[str, ...]]
    within_volume: bool = False


def trials_of(
    given: BenchmarkList, shots: int, draws: int, seed: int, gap: int, say: Callable[[str], None]
) -> list[Trial]:
    """Draw trials; the first ones are the same however many are wanted.

    Args:
        given: the list.
        shots: K (classification: of each class).
        draws: how many; fewer are given where there are not so many different ones.
        seed: of the table.
        gap: planes left out within a volume.
        say: told what is left out.

    Returns:
        None at all, where the list cannot give K shots.
    """
    try:
        if len(given.groups) == 1 and given.task != "classify":
            found = _within(given, shots, draws, seed, gap)
        else:
            found = _between(given, shots, draws, seed)
    except InputError as error:
        say(f"{given.name}, {given.task}: K = {shots} left out: {error}")
        return []
    if len(found) < draws:
        say(
            f"{given.name}, {given.task}: K = {shots} has {len(found)} different draws, not {draws}"
        )
    return found


def _between(given: BenchmarkList, shots: int, draws: int, seed: int) -> list[Trial]:
    found: list[Trial] = []
    per_class = given.task == "classify"
    for draw in group_draws(given.rows, shots, _SPARE * draws, seed, per_class):
        if len(found) == draws:
            break
        support = tuple(given.example(row) for row in draw.support)
        if _teaches(given.task, support):
            judged = tuple((row.id, row.group) for row in draw.test)
            digests = tuple(map(given.digest, draw.support)), tuple(map(given.digest, draw.test))
            reader = _reader(given, draw.test)
            found.append(Trial(draw.support, support, judged, reader, digests))
    if not found:
        raise InputError("no draw has labels with foreground and background; label some")
    return found


def _within(given: BenchmarkList, shots: int, draws: int, seed: int, gap: int) -> list[Trial]:
    if shots > len(given.rows):
        raise InputError(
            f"{len(given.rows)} rows of one group, cut in two each; fill the column 'group' "
            "(animal or parent volume), or lower the shots"
        )
    found: dict[tuple[str, ...], Trial] = {}  # by what is learnt from: the same ends are one draw
    for attempt in range(_SPARE * draws * 2):
        if len(found) == draws:
            break
        order = keyed_rng("benchmark within", seed, attempt).permutation(len(given.rows))
        rows = tuple(given.rows[place] for place in sorted(order[:shots]))
        pairs = [
            within_volume_draw(given.example(row), 1000 * seed + attempt, gap=gap) for row in rows
        ]
        support = tuple(pair[0] for pair in pairs)
        test = tuple(pair[1] for pair in pairs)
        if not _teaches(given.task, support) or not _teaches(given.task, test):
            continue
        judged = tuple((part.id, part.group) for part in test)
        digests = tuple(p.digest() for p in support), tuple(p.digest() for p in test)
        trial = Trial(rows, support, judged, lambda parts=test: parts, digests, True)
        found.setdefault(digests[0], trial)
    if not found:
        raise InputError("no part of the volume has labels with foreground and background")
    return list(found.values())


def _teaches(task: str, support: Sequence[Example]) -> bool:
    """Whether labels hold foreground and background among what counts."""
    if task != "segment":
        return True
    values: set[bool] = set()
    for example in support:
        assert example.labels is not None
        assert example.counts is not None
        values |= {bool(value) for value in np.unique(example.labels[example.counts] > 0)}
    return len(values) == 2


def _reader(given: BenchmarkList, rows: Sequence[Row]) -> Callable[[], Sequence[Example]]:
    return lambda: [given.example(row) for row in rows]
