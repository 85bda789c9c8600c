"""`luxvox pretrain`, and the same under a launcher: `accelerate launch -m luxvox.pretrain`."""

from __future__ import annotations

import sys

from ..configs.explain import launched
from ..configs.load import find_recipe, load_recipe, read_yaml
from ..configs.threads import let_threads_sleep


def pretrain_command(recipe: str, overrides: list[str], resume: bool = False) -> None:
    """Run a recipe; prints where the report lies.

    Args:
        recipe: path or name of a recipe.
        overrides: `key=value` pairs, dotted keys allowed.
        resume: go on from the newest checkpoint in `out`; without one the run starts afresh.

    Raises:
        InputError: anything that the user can mend.
    """
    from .align.recipe import AlignRecipe
    from .align.run import align
    from .dense.recipe import DenseRecipe
    from .dense.run import pretrain_dense
    from .recipe import PretrainRecipe
    from .run import pretrain

    stage = read_yaml(find_recipe(recipe)).get("stage")
    kinds = {"dense": DenseRecipe, "align": AlignRecipe}
    plan = load_recipe(recipe, kinds.get(str(stage), PretrainRecipe), overrides)
    try:
        if isinstance(plan, AlignRecipe):
            metrics = align(plan)  # minutes: begun again rather than resumed
        elif isinstance(plan, DenseRecipe):
            metrics = pretrain_dense(plan, resume)
        else:
            metrics = pretrain(plan, resume)
    except OSError as error:
        if error.filename is None:  # as a full disk leaves it when an open file is written
            error.filename = plan.out
        raise
    if is_main_process():
        stopped = metrics["steps"] < plan.steps
        state = f"stopped at step {metrics['steps']}, go on with --resume" if stopped else "done"
        page = "report.html" if isinstance(plan, PretrainRecipe) else "metrics.json"
        print(f"{state}: {plan.out}/{page}")
        if isinstance(plan, DenseRecipe):
            print(f"curves and pictures: luxvox report {plan.out}")


def is_main_process() -> bool:
    """True on the one process that may print and write."""
    from accelerate import PartialState

    return PartialState().is_main_process


def main(arguments: list[str] | None = None) -> int:
    """Entry for launchers; returns the exit code (2 for mistakes of the user)."""
    let_threads_sleep()
    words = list(sys.argv[1:] if arguments is None else arguments)
    resume, debug = "--resume" in words, "--debug" in words
    words = [word for word in words if word not in ("--resume", "--debug")]
    usage = "usage: python -m luxvox.pretrain RECIPE [--resume] [--debug] [key=value ...]"
    if "--help" in words or "-h" in words:
        print(usage)
        return 0
    unknown = [word for word in words if word.startswith("-")]
    if not words or unknown:
        problem = f"unknown option {unknown[0]}; " if unknown else ""
        print(f"error: {problem}{usage}", file=sys.stderr)
        return 2
    return launched(
        lambda: pretrain_command(words[0], words[1:], resume),
        "go on with the same command and --resume", debug,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
