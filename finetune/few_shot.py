"""Draws: which rows are learnt from, and which of them judge. No group is ever in both.

A draw depends on the seed and on the names of rows and groups, not on their order in the list; a
row that is added later does not reshuffle the others.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from ..configs.errors import InputError
from ..data.row import Row
from .examples import Example

_ATTEMPTS = 50  # for each draw that is wanted, before fewer are given


class Draw(NamedTuple):
    """Rows to learn from, and all rows of the other groups."""

    support: tuple[Row, ...]
    test: tuple[Row, ...]


def train_rows(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows of split "train"; all, where no row has a split.

    Raises:
        InputError: there are none.
    """
    kept = tuple(row for row in rows if (row.split or "train") == "train")
    if not kept:
        raise InputError(
            f"no row to learn from: all {len(rows)} are of split val or test; give some the split "
            "'train'"
        )
    return kept


def draw_shots(
    rows: Sequence[Row], shots: int | None, seed: int, per_class: bool = False
) -> tuple[Row, ...]:
    """Choose the rows to learn from, spread over groups: one of each before a second of any.

    Args:
        rows: of a list; those of split "train" are drawn from (all, where there is no split).
        shots: K; None, or more than there are, takes all.
        seed: of the draw.
        per_class: K rows of each class, as classification counts.

    Returns:
        The support. Where K is above what there is, a warning with both numbers goes to stderr.

    Raises:
        InputError: K below 1, or no row to learn from.
    """
    kept = train_rows(rows)
    if shots is not None and shots < 1:
        raise InputError(f"shots is {shots}, expected 1 or more; one shot is one row of the list")
    drawn: list[Row] = []
    for name, pool in _by_class(kept, per_class).items():
        ranked = _spread(pool, seed)
        if shots is not None and shots > len(ranked):
            of = f" of class {name!r}" if per_class else ""
            print(
                f"warning: {shots} shots wanted, only {len(ranked)} rows{of} there: all are used",
                file=sys.stderr,
            )
        drawn += ranked[:shots]
    return tuple(drawn)


def group_draws(
    rows: Sequence[Row], shots: int, draws: int, seed: int, per_class: bool = False
) -> list[Draw]:
    """Different supports, each with every row of every other group to judge it.

    Args:
        rows: of a list, whatever their split.
        shots: K, up to what leaves one group to judge.
        draws: how many; fewer are given where there are not so many different ones.
        seed: of the whole table.
        per_class: K rows of each class. A class of a single group is learnt from, and judged by
            no row; one that cannot give K gives what leaves one of its groups.

    Raises:
        InputError: K below 1, or no group would be left.
    """
    if shots < 1:
        raise InputError(f"shots is {shots}, expected 1 or more; one shot is one row of the list")
    found: dict[frozenset[str], Draw] = {}
    for attempt in range(_ATTEMPTS * draws):
        if len(found) == draws:
            break
        drawn_with = _number(f"{seed}/{attempt}")
        support: list[Row] = []
        for name, pool in _by_class(rows, per_class).items():
            support += _one_support(pool, shots, drawn_with, name if per_class else None)
        groups = {row.group for row in support}
        test = tuple(row for row in rows if row.group not in groups)
        if not test:
            raise InputError(
                f"{shots} shots leave no group to judge them ({_count(rows)}); lower the shots, or "
                "fill the column 'group' (animal or parent volume)"
            )
        found.setdefault(frozenset(row.id for row in support), Draw(tuple(support), test))
    return list(found.values())


def within_volume_draw(
    example: Example, seed: int, share: float = 0.5, gap: int = 8
) -> tuple[Example, Example]:
    """Cut one volume along z into a slab to learn from and one that judges, with a gap between.

    For lists of a single group. What it measures is within one volume: neighbours look alike, and
    results must be marked so.

    Args:
        example: the volume.
        seed: chooses which end is learnt from.
        share: of the planes that is learnt from.
        gap: planes in between that neither has.

    Raises:
        InputError: too few planes.
    """
    depth = len(example.image)
    learnt = round(share * (depth - gap))
    if min(learnt, depth - gap - learnt) < 1:
        raise InputError(
            f"{example.id}: {depth} planes cannot be cut into two parts with {gap} between them; "
            "lower the gap"
        )
    if _number(f"{seed}/{example.id}") % 2:
        own, rest = slice(depth - learnt, None), slice(depth - learnt - gap)
    else:
        own, rest = slice(learnt), slice(learnt + gap, None)
    return example.cut((own,)), example.cut((rest,))


def _one_support(pool: list[Row], shots: int, seed: int, class_name: str | None) -> list[Row]:
    """K rows spread over groups, so that at least one whole group is left over."""
    sizes: dict[str, int] = defaultdict(int)
    for row in pool:
        sizes[row.group] += 1
    if class_name is not None:
        if len(sizes) == 1:
            return _spread(pool, seed)[:shots]
        shots = min(shots, len(pool) - min(sizes.values()))
    # The last of the shuffled groups stays out; if the others are too small, an earlier one.
    for left in sorted(sizes, key=lambda group: _number(f"{seed}/{group}"), reverse=True):
        if len(pool) - sizes[left] >= shots and len(sizes) > 1:
            return _spread([row for row in pool if row.group != left], seed)[:shots]
    raise InputError(
        f"{shots} shots leave no group to judge them ({_count(pool)}): at most "
        f"{len(pool) - min(sizes.values()) if len(sizes) > 1 else 0} do; lower the shots, or fill "
        "the column 'group' (animal or parent volume)"
    )


def _spread(rows: Sequence[Row], seed: int) -> list[Row]:
    """All rows: the first of each group, then the second of each; shuffled by the seed."""
    by_group: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (_number(f"{seed}//{row.id}"), row.id)):
        by_group[row.group].append(row)
    ranks = {group: _number(f"{seed}/{group}") for group in by_group}
    placed = [
        (turn, ranks[group], group, row)
        for group, members in by_group.items()
        for turn, row in enumerate(members)
    ]
    return [row for *_, row in sorted(placed, key=lambda place: place[:3])]


def _by_class(rows: Sequence[Row], per_class: bool) -> dict[str, list[Row]]:
    if not per_class:
        return {"": list(rows)}
    pools: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.class_name is None:
            raise InputError(
                f"{row.where}: no class, which shots of each class need; fill the column 'class'"
            )
        pools[row.class_name].append(row)
    return {name: pools[name] for name in sorted(pools)}


def _count(rows: Sequence[Row]) -> str:
    return f"{len(rows)} rows of {len({row.group for row in rows})} groups"


def _number(text: str) -> int:
    """A hash that is the same everywhere, as a number of 64 bits."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
