"""The page of `luxvox focus`."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from luxvox.report.focus import write_focus_page
from luxvox.report.focus_figures import FocusCurve, draw_curve, draw_montage, draw_tiles


def curve(best: float | None = 5.0, scores: np.ndarray | None = None) -> FocusCurve:
    z = np.arange(12.0)
    found = np.exp(-(((z - 5) / 3) ** 2)) if scores is None else scores
    found = np.where(z == 1, np.nan, found)
    return FocusCurve(
        name="S001 <b>",
        z=z,
        scores=found,
        low=found - 0.1,
        high=found + 0.1,
        measures={"dcts": found, "brenner": found**2},
        tiles=np.broadcast_to(found[:, None, None], (12, 3, 4)).copy(),
        best_z=best,
        montage=[("z 0", np.random.default_rng(0).random((40, 30))), ("z 5", np.zeros((40, 30)))],
        facts=[("best z", "5")],
    )


def test_pictures_show_what_they_are_given():
    for draw in (draw_curve, draw_tiles, draw_montage):
        assert draw(curve()).startswith(b"\x89PNG")
    assert draw_curve(curve(5.0)) != draw_curve(curve(2.0))
    assert draw_curve(curve()) != draw_curve(curve(scores=np.linspace(0, 1, 12)))
    assert draw_tiles(curve()) != draw_tiles(curve(scores=np.linspace(0, 1, 12)))
    assert draw_montage(curve()) == draw_montage(curve())
    other = [("z 0", np.random.default_rng(1).random((40, 30))), *curve().montage[1:]]
    assert draw_montage(replace(curve(), montage=other)) != draw_montage(curve())
    renamed = [("z 7", curve().montage[0][1]), *curve().montage[1:]]
    assert draw_montage(replace(curve(), montage=renamed)) != draw_montage(curve())


def test_page_is_whole_and_asks_for_nothing(tmp_path):
    page = write_focus_page(tmp_path / "p.html", "sweep", [curve(), curve()]).read_text()
    assert page.count("<img") == 6
    assert "S001 &lt;b&gt;" in page
    assert not re.search(r'(src|href)="http', page)
    assert "one of them is the best" in page


def test_page_of_a_stack_without_scores_says_so(tmp_path):
    empty = curve(None, np.full(12, np.nan))
    page = write_focus_page(tmp_path / "p.html", "volume", [empty]).read_text()
    assert "No slice has a score" in page
    assert "There is no best slice" in page
