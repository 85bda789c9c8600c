"""`luxvox finetune`, and the same under a launcher: `accelerate launch -m luxvox.finetune`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..configs.errors import InputError
from ..configs.explain import launched
from ..configs.load import load_recipe
from ..configs.threads import let_threads_sleep

TASKS = {"segment": "segment", "restore": "restore", "deblur": "restore", "classify": "classify"}
"""What a user may say, and which task that is; `focus` is apart, see `finetune.focus.train`."""
FOCUS = "focus"

_USAGE = (
    "usage: python -m luxvox.finetune TASK DATASET --out RUN [--weights W] [--shots K] "
    "[--recipe RECIPE] [--debug] [key=value ...]"
)
_OPTIONS = ("--out", "--weights", "--shots", "--recipe")


def finetune_command(
    task: str,
    dataset: str,
    out: str,
    weights: str | None = None,
    shots: int | None = None,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Fine-tune on a list; prints where the report lies.

    Args:
        task: one of `TASKS`, or "focus".
        dataset: a list with labels, targets or classes.
        out: folder of the run.
        weights: a RUN, a weights folder, a shipped name, "none"; None = as the recipe says.
        shots: rows to learn from; None = as the recipe says.
        recipe: path or name; None = configs/finetune/TASK.yaml.
        overrides: `key=value` pairs, dotted keys allowed.

    Returns:
        What stands in metrics.json.

    Raises:
        InputError: anything that the user can mend.
    """
    if task == FOCUS:
        return _focus(dataset, out, weights, shots, recipe, overrides)
    from accelerate import PartialState

    from ..report.finetune import write_finetune_report
    from .override_words import as_meant
    from .recipe import FinetuneRecipe
    from .run import finetune

    if task not in TASKS:
        raise InputError(f"no task {task!r}, expected one of {', '.join((*TASKS, FOCUS))}")
    chosen = {"task": TASKS[task], "data": dataset, "out": out, "weights": weights, "shots": shots}
    # Quoted: a path may look like a number or a list to YAML.
    words = [f"{key}={json.dumps(value)}" for key, value in chosen.items() if value is not None]
    name = recipe or f"finetune/{TASKS[task]}.yaml"
    plan = load_recipe(name, FinetuneRecipe, [*words, *as_meant(overrides)])
    metrics = finetune(plan)
    if PartialState().is_main_process:
        print(f"done: {write_finetune_report(Path(plan.out))}")
    return metrics


def _focus(
    dataset: str,
    out: str,
    weights: str | None,
    shots: int | None,
    recipe: str | None,
    overrides: Sequence[str],
) -> dict[str, Any]:
    """The focus head; weights are those of the frozen encoder."""
    from .focus.train import train_focus_command

    if shots is not None:
        raise InputError(
            f"--shots is {shots}, but focus learns from all stacks of the list; leave it out"
        )
    words = [] if weights is None else [f"encoder={json.dumps(weights)}"]
    return train_focus_command(dataset, out, recipe, [*words, *overrides])


def main(arguments: list[str] | None = None) -> int:
    """Entry for launchers; returns the exit code (2 for mistakes of the user)."""
    let_threads_sleep()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in words or "-h" in words:
        print(_USAGE)
        return 0
    given = [word for word in words if word != "--debug"]
    return launched(
        lambda: finetune_command(**_read(given)), "run the same command again", "--debug" in words
    )


def _read(words: list[str]) -> dict[str, Any]:
    """Arguments of `finetune_command` from words."""
    found: dict[str, Any] = {}
    plain: list[str] = []
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option in _OPTIONS:
            found[option[2:]] = value if equals else next(rest, None)
            if found[option[2:]] is None:
                raise InputError(f"{option} without a value; {_USAGE}")
        elif word.startswith("-"):
            raise InputError(f"unknown option {word}; {_USAGE}")
        else:
            plain.append(word)
    if len(plain) < 2 or "out" not in found:
        raise InputError(_USAGE)
    if "shots" in found:
        if not str(found["shots"]).isdigit():
            raise InputError(f"--shots is {found['shots']!r}, expected a whole number")
        found["shots"] = int(found["shots"])
    return {"task": plain[0], "dataset": plain[1], "overrides": plain[2:], **found}


if __name__ == "__main__":
    sys.exit(main())
