"""One self-contained HTML page: text is escaped here, pictures are inlined, nothing is fetched.

Apart from the reports because every report of luxvox is built of the same few parts. `Page`
collects them in order; words that a caller hands in (captions, file names) are data: escaped.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..configs.whole_file import write_whole

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --soft: #5b6673; --line: #d9dfe6;
  --paper: #ffffff; --band: #f4f6f9; --good: #0b7a4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa5b1; --line: #313a45;
  --paper: #14181d; --band: #1c222a; --good: #56c596; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 66rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 46rem; }
.soft { color: var(--soft); }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem 1rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; font-size: .9rem; color: var(--soft); }
td.number, th.number { text-align: right; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: .92rem; margin-top: .4rem; max-width: 52rem; }
pre { background: var(--band); border-radius: 6px; padding: 1rem; overflow-x: auto;
  font-size: .85rem; line-height: 1.45; }
details { margin: .75rem 0; }
summary { cursor: pointer; }
@media print { details > * { display: block; } }
"""


@dataclass(frozen=True)
class Number:
    """A table cell that is set flush right and, where it is a verdict, coloured."""

    text: str
    verdict: bool | None = None  # True good, False bad, None neither


@dataclass
class Page:
    """An HTML page in the making; `write` puts it on disk as one file."""

    title: str
    lead: str = ""
    _parts: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """Start a section."""
        self._parts.append(f"<h2>{_escape(text)}</h2>")

    def paragraph(self, text: str, soft: bool = False) -> None:
        """Add plain words; `soft` for what a reader may skip."""
        kind = ' class="soft"' if soft else ""
        self._parts.append(f"<p{kind}>{_escape(text)}</p>")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str | Number]]) -> None:
        """Add a table; columns whose first cell is a `Number` get a flush-right header."""
        lines = [list(row) for row in rows]
        first = lines[0] if lines else [""] * len(header)
        head = "".join(
            f'<th class="number">{_escape(name)}</th>'
            if isinstance(cell, Number)
            else f"<th>{_escape(name)}</th>"
            for name, cell in zip(header, first, strict=True)
        )
        body = "".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines)
        self._parts.append(
            f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def picture(self, light: bytes, dark: bytes, alt: str, caption: str = "") -> None:
        """Add a PNG in a light and a dark rendering; the reader's setting picks one.

        Args:
            light: PNG bytes for light pages (and for print).
            dark: PNG bytes for dark pages.
            alt: what the picture shows, for who cannot see it.
            caption: words under it.
        """
        words = f"<figcaption>{_escape(caption)}</figcaption>" if caption else ""
        self._parts.append(
            "<figure><picture>"
            f'<source media="(prefers-color-scheme: dark)" srcset="{_inline(dark)}">'
            f'<img src="{_inline(light)}" alt="{_escape(alt)}">'
            f"</picture>{words}</figure>"
        )

    def folded(self, summary: str, text: str) -> None:
        """Add a listing (a recipe, a log) that is folded away until it is asked for."""
        self._parts.append(
            f"<details><summary>{_escape(summary)}</summary><pre>{_escape(text)}</pre></details>"
        )

    def render(self) -> str:
        """The page as one HTML text that asks for nothing else."""
        lead = f'<p class="soft">{_escape(self.lead)}</p>' if self.lead else ""
        title = _escape(self.title)
        head = (
            '<meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{_STYLE}</style>"
        )
        body = "\n".join([f"<h1>{title}</h1>{lead}", *self._parts])
        return (
            '<!doctype html>\n<html lang="en">'
            f"<head>{head}</head>\n<body>\n{body}\n</body></html>\n"
        )

    def write(self, path: Path) -> Path:
        """Write the page; a reader never sees half a file.

        Args:
            path: where the HTML goes; its folder must exist.

        Returns:
            The same path.
        """
        write_whole(path, self.render())
        return path


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _cell(cell: str | Number) -> str:
    if not isinstance(cell, Number):
        return f"<td>{_escape(cell)}</td>"
    verdict = {None: "", True: " good", False: " bad"}[cell.verdict]
    return f'<td class="number{verdict}">{_escape(cell.text)}</td>'
