"""The command line as a user meets it: help, one-line errors, exit codes."""

import errno
import subprocess
import sys

import pytest

from luxvox import __version__
from luxvox.__main__ import command, run_command
from luxvox.configs.errors import InputError

VERBS = [
    entry.callback.__name__.replace("_", "-")
    for entry in command.registered_commands
    if entry.callback
]
RAISE = "luxvox.report.pretrain.write_pretrain_report"  # what `luxvox report` calls


@pytest.fixture
def fails(monkeypatch, tmp_path):
    """Make `luxvox report` fail with a given error."""

    def arrange(error: BaseException) -> None:
        def broken(run):
            raise error

        monkeypatch.setattr(RAISE, broken)
        monkeypatch.setenv("LUXVOX_HOME", str(tmp_path))

    return arrange


def test_the_verbs_are_those_that_exist_now():
    assert set(VERBS) == {
        "doctor", "info", "convert", "audit", "bank", "simulate", "pretrain", "finetune",
        "evaluate", "benchmark", "suggest", "predict", "focus", "focus-features", "focus-fit",
        "focus-quality", "demo", "report", "embed", "search", "classify", "export",
        "tables",
    }  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    assert run_command([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Example: luxvox {verb}" in shown


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_bare_and_help_show_every_verb(arguments, capsys):
    assert run_command(arguments) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


def test_version(capsys):
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"luxvox {__version__}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["repot"], "Did you mean 'report'"),
        (["report", "x", "--quick"], "No such option: --quick See: luxvox report --help"),
        (["report"], "Missing argument"),
        (["convert", "a", "b", "--ngff", "0.3"], "'0.3' is not"),
        (["report", "no_such_folder"], "no_such_folder: no run"),
        (["info", "no_such_file.tif"], "no_such_file.tif: no such file"),
        (["pretrain", "no_such_recipe"], "no_such_recipe: no such recipe"),
        (["pretrain", "demo", "data=x", "stepz=3"], "did you mean 'steps'?"),
        (["finetune", "segment", "x.csv"], "Missing option '--out'"),
        (["finetune", "sgment", "x.csv", "--out", "r"], "'sgment' is not one of"),
        (["evaluate", "nowhere", "x.csv"], "nowhere: no such folder"),
        (["predict", "nowhere", "no_such_file.tif", "o.ome.zarr"], "no such file"),
        (["report", "x", "--against", "y"], "belong to --blind"),
        (["report", "x", "--blind"], "add --dataset LIST"),
        (["weights"], "Missing command"),
        (["weights", "download"], "Missing argument"),
        (["weights", "downlod", "x"], "Did you mean 'download'?"),
        (["weights", "download", "luxvox-huge"], "luxvox-huge: no such folder"),
        (["weights", "where", "hf:lab/none"], "hf:lab/none: not in the cache"),
        (["search", "vessels", "nowhere.zarr"], "nowhere.zarr: no embeddings there"),
        (["embed", "no_such_file.tif", "--out", "x.zarr"], "no_such_file.tif"),
        (["weights", "import", "no_such_folder"], "no_such_folder: no such file or folder"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, expected, capsys):
    assert run_command(arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert expected in shown.err
    assert shown.err.count("\n") == 1
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("arguments", [["--debug", "report", "x"], ["report", "x", "--debug"]])
def test_debug_shows_the_traceback_and_keeps_the_line(arguments, fails, capsys):
    fails(InputError("run x: broken"))
    assert run_command(arguments) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("error: run x: broken\n")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("two\nlines"), "error: two lines\n"),
        (PermissionError(errno.EACCES, "denied", "/f/out"), "error: /f/out: permission denied"),
        (OSError(errno.ENOSPC, "full", "/f/out"), "error: /f/out: no space left"),
        (OSError(errno.EROFS, "read-only"), "error: this file system is read-only"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_user_can_mend_is_exit_code_2(error, expected, fails, capsys):
    fails(error)
    assert run_command(["report", "x"]) == 2
    shown = capsys.readouterr().err
    assert expected in shown
    assert shown.count("\n") == 1


def test_a_defect_is_exit_code_1_and_its_traceback_is_kept(fails, capsys, tmp_path):
    fails(ZeroDivisionError("division by zero"))
    assert run_command(["report", "x"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ZeroDivisionError: division by zero")
    assert shown.count("\n") == 1
    assert "Traceback" in (tmp_path / "last_error.txt").read_text()


def test_interrupt_is_130_and_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("luxvox.pretrain.__main__.pretrain_command", interrupted)
    assert run_command(["pretrain", "demo", "data=my list.csv", "out=r"]) == 130
    shown = capsys.readouterr().err
    assert shown.strip().endswith("luxvox pretrain demo 'data=my list.csv' out=r --resume")
    assert "Traceback" not in shown


def test_pretrain_hands_over_recipe_overrides_and_resume(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "luxvox.pretrain.__main__.pretrain_command",
        lambda recipe, overrides, resume: seen.append((recipe, overrides, resume)),
    )
    assert run_command(["pretrain", "demo", "--resume", "steps=3", "optim.lr=1e-4"]) == 0
    assert run_command(["pretrain", "demo"]) == 0
    assert seen == [("demo", ["steps=3", "optim.lr=1e-4"], True), ("demo", [], False)]


def test_finetune_hands_over_what_was_said(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        "luxvox.finetune.__main__.finetune_command",
        lambda *words, **more: seen.append((words, more)),
    )
    words = ["finetune", "deblur", "my.csv", "--out", "r", "--shots", "2", "steps=3", "lr=1e-4"]
    assert run_command(words) == 0
    overrides = ["steps=3", "lr=1e-4"]
    assert seen == [
        (
            ("deblur", "my.csv"),
            {"out": "r", "weights": None, "shots": 2, "recipe": None, "overrides": overrides},
        )
    ]


def test_module_and_exit_code_reach_the_shell(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "luxvox", "report", "nowhere"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere")
    assert done.stdout == ""
