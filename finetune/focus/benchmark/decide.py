"""Which score is the default: the simplest one that nothing more complicated has beaten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .paired import Row, difference
from .plan import REFERENCE

CANDIDATES = ("stem", "measures", "encoder", "mixer")
"""Our heads, the simplest first."""
MOST_EMPTY = 0.01
"""Share of empty slices that a default may give a score."""
_LOWER, _HIGHER = "best_error", "srcc"


class Decision(NamedTuple):
    """What comes of a comparison.

    Attributes:
        default: "dcts" or the name of a head.
        reasons: one sentence for each head that was looked at.
    """

    default: str
    reasons: tuple[str, ...]

    @property
    def words(self) -> str:
        """All of it in one paragraph."""
        name = (
            "the gated DCT measure" if self.default == REFERENCE else f"the head {self.default!r}"
        )
        return f"Default by the decision rule: {name}. {' '.join(self.reasons)}"


def decide(rows: Sequence[Row]) -> Decision:
    """Apply the rule to all sweeps but those of the seen PSF family.

    A head becomes the default where it beats the gated DCT measure, the stem alone (which has the
    first only to beat) and the default so far: in best-slice error and in SRCC the 95 % interval of
    the paired difference over specimens leaves zero out; and where at most one empty slice in a
    hundred gets a score from it.

    Args:
        rows: of results.csv.
    """
    unseen = [row for row in rows if row["condition"].startswith("sweep") and not _seen(row)]
    there = {row["method"] for row in unseen}
    default, reasons = REFERENCE, []
    for head in CANDIDATES:
        if head not in there:
            reasons.append(f"{head}: not compared.")
            continue
        others = dict.fromkeys((REFERENCE, *(("stem",) if "stem" in there else ()), default))
        lost = [
            failure
            for other in others
            if other != head and (failure := _not_beaten(unseen, head, other)) is not None
        ]
        share = _empty_share(rows, head)
        if share is None:
            lost.append("no empty slices were looked at")
        elif share > MOST_EMPTY:
            lost.append(f"{share:.1%} of empty slices have a score")
        if lost:
            reasons.append(f"{head}: {'; '.join(lost)}.")
        else:
            reasons.append(f"{head}: better than {', '.join(o for o in others if o != head)}.")
            default = head
    return Decision(default, tuple(reasons))


def _seen(row: Row) -> bool:
    return "seen PSF" in row["condition"]


def _not_beaten(rows: Sequence[Row], head: str, other: str) -> str | None:
    """Why a head does not beat another method; None where it does."""
    error = difference(rows, _LOWER, head, other)
    order = difference(rows, _HIGHER, head, other)
    if error is None or order is None or error["low"] is None or order["low"] is None:
        return f"too few specimens shared with {other}"
    failures = []
    if not error["high"] < 0:
        failures.append(f"best-slice error {_told(error)}")
    if not order["low"] > 0:
        failures.append(f"SRCC {_told(order)}")
    return f"not better than {other} ({', '.join(failures)})" if failures else None


def _told(line: Row) -> str:
    return f"{line['difference']:+.3f} [{line['low']:+.3f}, {line['high']:+.3f}]"


def _empty_share(rows: Sequence[Row], method: str) -> float | None:
    """Empty slices with a score, of all that a method was shown; None where there were none."""
    mine = [row for row in rows if row["method"] == method and row["empty_slices"]]
    count = sum(row["empty_slices"] for row in mine)
    return sum(row["empty_scored"] * row["empty_slices"] for row in mine) / count if count else None
