"""The page must stand alone and must not let a caption become markup."""

import re

import pytest

from luxvox.report.page import Number, Page

EVIL = '<script>alert("x")</script> & <b>bold</b>'
PNG = b"\x89PNG\r\n\x1a\nnot really"


@pytest.fixture
def html() -> str:
    page = Page(title=EVIL, lead=EVIL)
    page.heading(EVIL)
    page.paragraph(EVIL)
    page.table((EVIL, "n"), [[EVIL, Number(EVIL, verdict=True)]])
    page.picture(PNG, PNG, alt=EVIL, caption=EVIL)
    page.folded(EVIL, EVIL)
    return page.render()


def test_all_text_is_escaped(html):
    assert "<script" not in html
    assert "<b>" not in html
    # title twice, lead, heading, paragraph, header, two cells, alt, caption, summary, listing
    assert html.count("&lt;script&gt;") == 12


def test_page_asks_for_nothing_else(html):
    sources = re.findall(r'(?:src|srcset|href)="([^"]*)"', html)
    assert len(sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://|@import|url\(", html)


def test_dark_and_light_pictures_are_told_apart():
    page = Page(title="t")
    page.picture(b"light", b"dark", alt="a")
    html = page.render()
    dark, light = "ZGFyaw==", "bGlnaHQ="  # base64 of the two
    assert f'media="(prefers-color-scheme: dark)" srcset="data:image/png;base64,{dark}"' in html
    assert f'<img src="data:image/png;base64,{light}"' in html


def test_verdicts_are_coloured_and_columns_must_fit():
    page = Page(title="t")
    page.table(("a", "b"), [["x", Number("1", verdict=False)], ["y", Number("2", verdict=True)]])
    html = page.render()
    assert '<td class="number bad">1</td>' in html
    assert '<td class="number good">2</td>' in html
    with pytest.raises(ValueError, match="zip"):
        page.table(("a",), [["x", "y"]])


def test_write_leaves_no_part_behind(tmp_path):
    page = Page(title="caf\u00e9 \udcff")  # a file name that is no valid UTF-8
    path = page.write(tmp_path / "report.html")
    assert "caf\u00e9" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
