"""`luxvox audit`: find what is wrong with a list before anybody trains on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from .audit_checks import check_duplicates, check_list, check_row
from .audit_report import AuditReport
from .audit_volume import look_at_row
from .manifest import Row, read_dataset
from .manifest_folders import volume_exists

# Each look holds one slab of some 16 MB (and what a door decodes whole), so a few may run at once.
_MOST_THREADS = 4


def audit(
    source: str | Path, *, on_progress: Callable[[int, int], None] | None = None
) -> AuditReport:
    """Check a list and every file that it names.

    Args:
        source: whatever `read_dataset` takes.
        on_progress: called with (rows looked at, rows in all).

    Returns:
        The findings: those of the list first, then row by row.

    Raises:
        InputError: there is no list, or it cannot be understood (columns, numbers).
    """
    dataset = read_dataset(source, check=False)
    present = [row for row in dataset.rows if all(volume_exists(path) for path in _paths(row))]
    facts = []
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for fact in pool.map(look_at_row, present):
            facts.append(fact)
            if on_progress:
                on_progress(len(facts), len(present))
    findings = [*check_list(dataset.rows), *check_duplicates(facts)]
    for fact in facts:
        findings += check_row(fact)
    return AuditReport(str(dataset.source), len(dataset.rows), tuple(findings))


def _paths(row: Row) -> list[Path]:
    return [path for path in (row.image, row.labels, row.target) if path is not None]


def audit_command(source: str, json_out: str | Path | None = None) -> None:
    """Audit a list and print the report; the command line's `luxvox audit`.

    Args:
        source: list, folder, glob or volume.
        json_out: file to write the findings to as well.

    Raises:
        typer.Exit: with code 2 when an error was found.
        InputError: the list cannot be understood, or `json_out` cannot be written.
    """
    bar = Progress(
        TextColumn("looking into the files"), BarColumn(), MofNCompleteColumn(), transient=True,
        console=Console(stderr=True),
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=None)
        report = audit(
            source,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    report.print(Console())
    if json_out is not None:
        report.write_json(Path(json_out))
    if report.count("error"):
        raise typer.Exit(2)
