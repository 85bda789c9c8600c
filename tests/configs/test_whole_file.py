"""Files are replaced whole, or stay as they were."""

import pytest

from luxvox.configs.whole_file import whole_file, write_whole


def test_a_file_is_replaced_at_the_end_only(tmp_path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "old")
    with whole_file(path) as draft:
        draft.write_text("new")
        assert draft.name == "a.json"
        assert path.read_text() == "old"
        assert list(tmp_path.glob("*.json")) == [path]
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "old")

    def fails() -> None:
        with whole_file(path) as draft:
            draft.write_text("ne")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "missing" / "a.json", "text")


def test_odd_names_cost_nothing(tmp_path) -> None:
    write_whole(tmp_path / "page.html", "file \udce9.tif")
    assert (tmp_path / "page.html").read_text() == "file ?.tif"
