"""Only what a user can mend is explained; everything else stays a defect with a traceback."""

import errno

import pytest

from luxvox.configs.errors import InputError
from luxvox.configs.explain import explain, launched, one_line


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("a\n  b"), "a b"),
        (PermissionError(errno.EACCES, "no", "/out"), "/out: permission denied"),
        (OSError(errno.ENOSPC, "full", "/out"), "/out: no space left"),
        (OSError(errno.EDQUOT, "quota"), "your quota"),
        (MemoryError(), "out of memory"),
        (OutOfMemoryError("CUDA out of memory."), "lower batch_size"),
    ],
)
def test_what_a_user_can_mend(error, expected):
    line = explain(error)
    assert line is not None
    assert expected in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.EIO, "x"), FileNotFoundError("x"), KeyboardInterrupt()]
)
def test_what_only_we_can_mend_is_left_alone(error):
    assert explain(error) is None


def test_an_error_without_words_still_gives_a_line():
    assert one_line(RuntimeError()) == "no further message"


def test_a_launcher_ends_with_the_exit_code_of_what_happened(capsys) -> None:
    def fails(error: BaseException):
        def work() -> None:
            raise error

        return work

    assert launched(lambda: None, "again") == 0
    assert launched(fails(InputError("x.csv: wrong; mend it")), "again") == 2
    assert capsys.readouterr().err == "error: x.csv: wrong; mend it\n"
    assert launched(fails(KeyboardInterrupt()), "go on") == 130
    assert capsys.readouterr().err == "interrupted; go on\n"
    with pytest.raises(InputError):
        launched(fails(InputError("x")), "again", debug=True)
    with pytest.raises(ZeroDivisionError):
        launched(fails(ZeroDivisionError()), "again")
