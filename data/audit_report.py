"""What an audit found, and how it is shown: on the terminal, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..configs.errors import InputError
from ..configs.whole_file import write_whole

# In the order in which they are shown. An error stops or spoils training; a warning is likely to
# cost quality; a hint may be just as it should be.
SEVERITIES = ("error", "warning", "hint")
_STYLES = {"error": "bold red", "warning": "yellow", "hint": "cyan"}
_SHOWN_ROWS = 3


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth a look.

    Attributes:
        severity: "error", "warning" or "hint".
        check: short name of the check, such as "unreadable"; stable, for programs.
        row: id of the row, "" where it concerns the whole list.
        what: what was found.
        do: what to do about it.
    """

    severity: str
    check: str
    row: str
    what: str
    do: str


@dataclass(frozen=True)
class AuditReport:
    """All findings of one list."""

    source: str
    rows: int
    findings: tuple[Finding, ...]

    def count(self, severity: str) -> int:
        """How many findings have this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def summary(self) -> str:
        """One line with the counts."""
        counts = ", ".join(
            f"{n} {severity}{'' if n == 1 else 's'}"
            for severity in SEVERITIES
            for n in [self.count(severity)]
        )
        return f"{self.source}: {self.rows} row{'' if self.rows == 1 else 's'}, {counts}"

    def print(self, console: Console) -> None:
        """Show a table, equal findings of many rows in one line, and the summary."""
        alike: dict[tuple[str, str, str], list[str]] = {}
        for finding in self.findings:
            alike.setdefault((finding.severity, finding.what, finding.do), []).append(finding.row)
        table = Table("", "found, where, and what to do", show_lines=True, pad_edge=False)
        for (severity, what, do), rows in sorted(
            alike.items(), key=lambda item: SEVERITIES.index(item[0][0])
        ):
            style = _STYLES[severity]
            # Texts come from files and lists: square brackets in them are no markup.
            text = f"{escape(what)}\n[dim]{escape(_name_rows(rows))}[/]\n-> {escape(do)}"
            table.add_row(f"[{style}]{severity}[/]", text)
        if alike:
            console.print(table)
        console.print(escape(self.summary), soft_wrap=True)

    def write_json(self, path: Path) -> None:
        """Write counts and findings; the file appears whole or not at all.

        Raises:
            InputError: the folder is missing or cannot be written.
        """
        content = {
            "source": self.source,
            "rows": self.rows,
            **{f"{severity}s": self.count(severity) for severity in SEVERITIES},
            "findings": [asdict(finding) for finding in self.findings],
        }
        try:
            write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _name_rows(rows: list[str]) -> str:
    if len(rows) == 1:
        return f"row {rows[0]}" if rows[0] else "the whole list"
    more = ", ..." if len(rows) > _SHOWN_ROWS else ""
    return f"{len(rows)} rows: {', '.join(rows[:_SHOWN_ROWS])}{more}"
