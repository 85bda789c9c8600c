"""The page of `luxvox suggest`: the crops to label next, and what the model makes of them now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .cases import Case
from .evaluation import add_cases
from .page import Page


def write_suggest_page(path: Path, title: str, cases: Sequence[Case]) -> Path:
    """Write one self-contained HTML page.

    Args:
        path: where it goes; its folder exists.
        title: of the page.
        cases: the crops, the most useful first, with their notes.

    Returns:
        The same path.
    """
    page = Page(title=title, lead=f"{len(cases)} crops, the most useful first")
    page.paragraph(
        "The model agrees least with itself here, on mirror images of the same voxels, and these "
        "crops look least alike. Expected Dice follows from the model's own probabilities: it "
        "ranks crops better than it predicts their true Dice."
    )
    add_cases(page, "Label these", cases)
    page.table(
        ("rank", "crop", "what is known"),
        [[str(rank), case.name, case.note] for rank, case in enumerate(cases, 1)],
    )
    page.paragraph("All crops that were looked at stand in suggest.csv.", soft=True)
    return page.write(path)
