"""Runs the comparison cell by cell: what is done is not done again, what is stopped goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ....configs.errors import InputError
from ....configs.run_folder import lock_run, write_recipe
from ....predict.focus import Mode
from ...cell_file import hash_of, is_done
from .case import Case, Unit
from .cells import KEYS, VERSION, cell_path, write_cell
from .heads import train_heads
from .judge import judged
from .listed import digest_of, listed_cases
from .methods import Judge, learn, learns_here, settings_of
from .plan import SIMULATED, FocusPlan, SimulatedCases
from .simulated import conditions, judged_cases, training_cases
from .tables import write_tables

_FOLDS = 5
_FEWEST_GROUPS = 4
"""A ridge needs three specimens beside the one that is left out."""


@dataclass(frozen=True)
class _Table:
    """The cases of one condition. `settings`: what they are; `cases` makes or reads them."""

    condition: str
    mode: Mode
    unit: Unit
    settings: dict[str, Any]
    cases: Callable[[], list[Case]]
    simulated: bool


@dataclass
class _Course:
    """What is known while cells are run."""

    plan: FocusPlan
    out: Path
    notes: list[str] = field(default_factory=list)
    training: dict[Mode, list[Case]] = field(default_factory=dict)
    learnt: dict[tuple[str, Mode], Judge] = field(default_factory=dict)

    def say(self, note: str) -> None:
        """Told once, and kept for the tables."""
        if note not in self.notes:
            self.notes.append(note)
            print(f"note: {note}", flush=True)

    def judge(self, method: str, mode: Mode) -> Judge:
        """A method that learnt from simulated specimens, if it learns at all."""
        if (method, mode) not in self.learnt:
            self.learnt[method, mode] = learn(self.plan, method, lambda: self._training(mode))
        return self.learnt[method, mode]

    def _training(self, mode: Mode) -> list[Case]:
        if mode not in self.training:
            self.training[mode] = list(training_cases(self.plan.simulated, mode))
        return self.training[mode]


def focus_benchmark(plan: FocusPlan, overwrite: bool = False) -> Path:
    """Run all cells of a plan that are not there yet, and write the tables.

    Args:
        plan: what is compared; `out` receives cells/, results.csv, summary.csv, paired.csv,
            decision.json, summary.md and recipe.yaml. Cells of earlier plans in that folder stay,
            and stand in the tables too.
        overwrite: run again what stands there with other settings.

    Returns:
        The folder.

    Raises:
        InputError: lists, weights or settings are not as needed, or cells stand there that were
            made with other settings.
    """
    course = _Course(plan, Path(plan.out))
    with lock_run(course.out):
        tables = _tables(plan)
        train_heads(plan, course.say, overwrite)
        write_recipe(course.out, plan)
        for table in tables:
            _run_table(course, table, overwrite)
        write_tables(course.out, course.notes)
    return course.out


def _tables(plan: FocusPlan) -> list[_Table]:
    """All of a plan. Two that would write the same cells are refused."""
    tables: dict[Path, _Table] = {}
    for source in plan.sets:
        for table in _tables_of(plan, source):
            cell = cell_path(Path(), table.condition, "")
            if cell in tables:
                raise InputError(
                    f"{source}: its table would be called {table.condition!r}, as that of another "
                    "set, after its file or folder; name it once, or rename one of them"
                )
            tables[cell] = table
    return list(tables.values())


def _tables_of(plan: FocusPlan, source: str) -> Iterator[_Table]:
    if source != SIMULATED:
        cases = listed_cases(source, plan.mode)
        settings = {"list": digest_of(cases), "simulated": plan.simulated.model_dump(mode="json")}
        first = cases[0]
        yield _Table(first.condition, plan.mode, first.unit, settings, lambda: cases, False)
        return
    recipe = plan.simulated
    settings = {"simulated": recipe.model_dump(mode="json")}
    for condition in conditions(recipe):
        mode: Mode = "volume" if condition.startswith("volume") else "sweep"
        made = partial(_all_cases, recipe, condition)
        yield _Table(condition, mode, "DOF", settings, made, True)


def _all_cases(recipe: SimulatedCases, condition: str) -> list[Case]:
    return list(judged_cases(recipe, condition))


def _run_table(course: _Course, table: _Table, overwrite: bool) -> None:
    waiting = []
    for method in course.plan.chosen():
        settings = {**table.settings, **settings_of(course.plan, method)}
        wanted = hash_of({"version": VERSION, **settings})
        path = cell_path(course.out, table.condition, method)
        if not is_done(path, wanted, KEYS, overwrite):
            waiting.append((method, path, wanted))
    print(f"{table.condition}: {len(waiting)} methods to run", flush=True)
    cases = table.cases() if waiting else []
    for method, path, wanted in waiting:
        rows = list(_rows(course, table, method, cases))
        write_cell(path, table.condition, method, table.unit, wanted, rows)


def _rows(
    course: _Course, table: _Table, method: str, cases: Sequence[Case]
) -> Iterator[dict[str, Any]]:
    for judge, held in _judges(course, table, method, cases):
        for case in held:
            began = time.process_time()
            answer = judge(case)
            numbers = judged(case, answer, time.process_time() - began)
            counts = {"slices": len(case.stack), "empty_slices": int(case.empty.sum())}
            yield {"stack": case.name, "group": case.group, **counts, **numbers}


def _judges(
    course: _Course, table: _Table, method: str, cases: Sequence[Case]
) -> Iterator[tuple[Judge, Sequence[Case]]]:
    """Judges and the cases that each may see: of lists, those of specimens that it did not."""
    groups = list(dict.fromkeys(case.group for case in cases))
    if table.simulated or not learns_here(method):
        yield course.judge(method, table.mode), cases
        return
    if len(groups) < _FEWEST_GROUPS:
        course.say(
            f"{table.condition}: {len(groups)} specimens are too few to learn from (it takes "
            f"{_FEWEST_GROUPS}): ridges have learnt from simulated specimens"
        )
        yield course.judge(method, table.mode), cases
        return
    for held in np.array_split(np.array(groups), min(_FOLDS, len(groups))):
        rest = [case for case in cases if case.group not in held]
        mine = [case for case in cases if case.group in held]
        yield learn(course.plan, method, lambda rest=rest: rest), mine
