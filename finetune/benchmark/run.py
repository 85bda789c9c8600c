"""Runs a benchmark cell by cell: what is done is not done again, what is stopped goes on."""

from __future__ import annotations

import difflib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...configs.errors import InputError
from ...configs.run_folder import lock_run, write_recipe
from ..cell_file import hash_of, is_done
from .cells import KEYS, cell_path, settings_of, write_cell
from .lists import BenchmarkList, read_lists
from .methods import groups_behind, learn, weights_of
from .pictures import keep_planes
from .plan import METRIC, UNLABELLED, BenchmarkPlan, Cell, seeds_of
from .scoring import Answer, score
from .tables import write_tables
from .trials import Trial, trials_of


@dataclass
class _Course:
    """What is known while cells are run."""

    plan: BenchmarkPlan
    out: Path
    only: str | None
    overwrite: bool
    notes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    unlabelled: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    def say(self, note: str) -> None:
        """Told once, and kept for the tables."""
        if note not in self.notes:
            self.notes.append(note)
            print(f"note: {note}", flush=True)


def benchmark(plan: BenchmarkPlan, only: str | None = None, overwrite: bool = False) -> Path:
    """Run all cells of a plan that are not there yet, and write the tables.

    Args:
        plan: what is compared; `out` receives cells/, runs/, pictures/, results.csv, summary.csv,
            paired.csv, summary.md and recipe.yaml. Cells of earlier plans in that folder stay, and
            stand in the tables too.
        only: name of a single cell, which is run again.
        overwrite: run again what stands there with other settings.

    Returns:
        The folder.

    Raises:
        InputError: lists, weights or settings are not as needed; cells stand there that were made
            with other settings; or there is no cell of that name.
    """
    out = Path(plan.out)
    for method in (m for task in plan.tasks for m in plan.methods_of(task)):
        weights_of(plan, method)  # what is missing is told before the work
    course = _Course(plan, out, only, overwrite)
    with lock_run(out):
        lists = read_lists(plan, course.say)
        write_recipe(out, plan)
        for given in lists:
            _run_list(course, given)
            given.forget()
        _check_names(course)
        write_tables(out, course.notes)
    return out


def _check_names(course: _Course) -> None:
    """Refuse to end as if all were well where nothing was run."""
    if not course.names:
        raise InputError("no cell is left to run: " + "; ".join(course.notes))
    if course.only is not None and course.only not in course.names:
        near = difflib.get_close_matches(course.only, course.names, n=2, cutoff=0.4)
        raise InputError(
            f"--only {course.only}: no such cell among {len(course.names)} of this plan"
            + (f"; near: {', '.join(near)}" if near else "")
        )


def _run_list(course: _Course, given: BenchmarkList) -> None:
    plan = course.plan
    cells = list(_cells(course, given))
    course.names += [cell.name for cell, _ in cells]
    waiting = []
    for cell, trial in cells:
        if course.only is not None and cell.name != course.only:
            continue
        settings = settings_of(plan, cell, given, trial)
        again = course.overwrite or course.only is not None
        if not _stands(course.out, cell, settings, again, course.only is not None):
            waiting.append((cell, trial, settings))
    began, name = time.monotonic(), f"{given.name} {given.task}"
    print(f"{name}: {len(cells)} cells, {len(waiting)} to run", flush=True)
    for number, (cell, trial, settings) in enumerate(waiting, 1):
        samples = _run_cell(course, given, cell, trial, settings)
        spent = time.monotonic() - began
        left = spent / number * (len(waiting) - number) / 60
        metric = METRIC[given.task]
        mean = sum(sample[metric] for sample in samples) / len(samples)
        print(
            f"[{number}/{len(waiting)}] {cell.name}: {metric} {mean:.3f}, {left:.0f} min left",
            flush=True,
        )


def _stands(out: Path, cell: Cell, settings: dict[str, Any], again: bool, always: bool) -> bool:
    """Whether a cell need not be run; `again`: others are replaced, `always`: this one too."""
    return is_done(cell_path(out, cell), hash_of(settings), KEYS, again) and not always


def _cells(course: _Course, given: BenchmarkList) -> Iterator[tuple[Cell, Trial]]:
    """All cells of a list, draw by draw: where it is stopped, some draws have all methods."""
    plan = course.plan
    for shots in plan.shots:
        trials = trials_of(given, shots, plan.draws, plan.draw_seed, plan.gap, course.say)
        for draw, trial in enumerate(trials):
            for seed in range(plan.seeds):
                for method in plan.methods_of(given.task):
                    if seed in seeds_of(method, plan.seeds):
                        yield Cell(given.name, given.task, method, shots, draw, seed), trial


def _run_cell(
    course: _Course, given: BenchmarkList, cell: Cell, trial: Trial, settings: dict[str, Any]
) -> list[dict[str, Any]]:
    plan, out, examples = course.plan, course.out, trial.load_test()
    run = out / "runs" / cell.name
    began = time.monotonic()
    method = learn(plan, cell, trial, given, run)
    learnt = time.monotonic()
    pictured = cell.draw == cell.seed == 0 and cell.task != "classify"
    answers: list[Answer] = []
    samples: list[dict[str, Any]] = []
    for example in examples:
        # Whatever is drawn, they say the same of the same volume: it is judged once.
        key = (cell.dataset, cell.task, cell.method, example.id)
        reuse = cell.method in UNLABELLED and not trial.within_volume and not pictured
        if reuse and key in course.unlabelled:
            samples.append(course.unlabelled[key])
            continue
        answer = method(example)
        sample = {"id": example.id, "group": example.group, **score(answer, example, cell.task)}
        samples.append(sample)
        if pictured:
            answers.append(answer)
        if cell.method in UNLABELLED and not trial.within_volume:
            course.unlabelled[key] = sample
    if pictured:
        keep_planes(out / "pictures" / f"{cell.name}.npz", cell, examples, answers, samples)
    weights = weights_of(plan, cell.method)
    facts = {
        "seconds_learning": learnt - began,
        "seconds": time.monotonic() - began,
        "weights_groups": [] if weights is None else groups_behind(weights),
    }
    write_cell(out, cell, settings, samples, facts)
    if not plan.keep_weights:
        _slim(run)
    return samples


def _slim(run: Path) -> None:
    """Keep what a run says, not what it weighs."""
    shutil.rmtree(run / "weights", ignore_errors=True)
    (run / "support.npz").unlink(missing_ok=True)
