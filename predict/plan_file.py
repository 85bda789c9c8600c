"""plan.json: the plan of a run as it lies on disk, and whether it is still what was written.

A plan that was changed in between would be gone on with under other numbers than those of the
blocks that are done.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..configs.errors import InputError
from ..configs.whole_file import write_whole
from .plan import BlockPlan


def write_plan(run: Path, plan: BlockPlan) -> None:
    """Write RUN/plan.json in one step, with a checksum of its own."""
    written = {**plan.model_dump(mode="json"), "checksum": _checksum(plan)}
    write_whole(run / "plan.json", json.dumps(written, indent=1) + "\n")


def read_plan(run: Path) -> BlockPlan | None:
    """The plan of a run; None where there is none.

    Raises:
        InputError: a file that is no plan, or one that was changed by hand: done blocks would not
            fit those to come.
    """
    path = run / "plan.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        checksum = found.pop("checksum")
        plan = BlockPlan.model_validate(found)
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError, TypeError, KeyError):
        raise InputError(
            f"{path}: no whole plan of this version of luxvox; start anew with --overwrite"
        ) from None
    if checksum != _checksum(plan):
        raise InputError(
            f"{path}: was changed after it was made; put it back as it was, or start anew with "
            "--overwrite"
        )
    return plan


def _checksum(plan: BlockPlan) -> str:
    return hashlib.sha256(plan.model_dump_json().encode()).hexdigest()
