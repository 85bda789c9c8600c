"""The comparison of focus methods: cases, judging, cells, tables, the page, the decision."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from luxvox.__main__ import run_command
from luxvox.data.focus_labels import FocusUnits
from luxvox.finetune.focus.benchmark.case import Answer, Case
from luxvox.finetune.focus.benchmark.decide import decide
from luxvox.finetune.focus.benchmark.judge import judged
from luxvox.finetune.focus.benchmark.listed import listed_cases
from luxvox.finetune.focus.benchmark.plan import SimulatedCases
from luxvox.finetune.focus.benchmark.simulated import conditions, judged_cases, training_cases
from luxvox.predict.focus_stack import FocusStack

SMALL = SimulatedCases(specimens=2, training=3, side=64, slices=9, photons=(500.0,))
S, BEST = 11, 4.5


def a_case(planes: np.ndarray | None = None, step: float = 0.5) -> Case:
    shown = np.zeros((S, 32, 32), np.float32) if planes is None else planes
    stack = FocusStack(
        image_paths=("a",) * S, stack_id="a", channel="", t=0, z_index=tuple(range(S)),
        voxel_size_um=None, shape=(32, 32), largest=None, notes=(), load=lambda place: shown[place],
    )  # fmt: skip
    truth = np.abs(np.arange(S) - BEST) * step
    return Case(
        stack=stack, group="g", mode="sweep", condition="sweep", truth=truth, unit="DOF",
        step=step, um=3.0, best_z=BEST, empty=np.zeros(S, bool), units=FocusUnits(),
    )  # fmt: skip


# Judging


def test_the_truth_is_judged_perfect():
    case = a_case()
    answer = Answer(-case.truth, case.truth, case.truth - 0.1, case.truth + 0.1)
    found = judged(case, answer, 0.011)
    assert found["srcc"] == found["plcc"] == pytest.approx(1)
    assert found["best_error"] == pytest.approx(0, abs=0.05)
    for name in ("exact", "within_1", "within_dof", "monotone", "auc", "coverage", "answered"):
        assert found[name] == 1, name
    assert (found["mae"], found["width"]) == pytest.approx((0, 0.2))
    assert found["ms_per_slice"] == pytest.approx(1)
    assert found["empty_scored"] is None


def test_a_wrong_answer_is_judged_wrong():
    case = a_case()
    upside_down = judged(case, Answer(case.truth, 5 - case.truth), 0.0)
    assert upside_down["srcc"] == pytest.approx(-1)
    assert upside_down["monotone"] == upside_down["auc"] == 0
    assert upside_down["mae"] is not None
    assert upside_down["mae"] > 2
    assert upside_down["mae_um"] == pytest.approx(3 * upside_down["mae"])
    constant = judged(case, Answer(np.ones(S)), 0.0)
    assert (constant["srcc"], constant["monotone"], constant["auc"]) == (0, 0.5, 0.5)
    assert constant["best_error"] is None
    assert constant["mae"] is None


def test_methods_that_only_rank_get_distances_from_their_best_slice():
    case = a_case()
    moved = -np.abs(np.arange(S) - BEST - 1) * 0.5
    found = judged(case, Answer(moved), 0.0)
    assert found["best_error"] == pytest.approx(1, abs=0.05)
    assert found["mae"] == pytest.approx(0.5, abs=0.1)
    assert judged(replace(case, step=None), Answer(moved), 0.0)["mae"] is None


def test_empty_slices_count_apart():
    empty = np.zeros(S, bool)
    empty[:4] = True
    case = replace(a_case(), empty=empty, truth=np.where(empty, np.nan, a_case().truth))
    scores = np.where(np.arange(S) < 3, np.nan, -a_case().truth)
    found = judged(case, Answer(scores), 0.0)
    assert found["empty_scored"] == 0.25
    assert found["answered"] == 1
    assert found["srcc"] == pytest.approx(1)


# Cases


def test_simulated_cases_are_drawn_from_the_seed_and_apart_from_training():
    condition = conditions(SMALL)[0]
    first, again = next(judged_cases(SMALL, condition)), next(judged_cases(SMALL, condition))
    assert np.array_equal(first.planes, again.planes)
    assert first.planes.shape == (9, 64, 64)
    other = next(judged_cases(SMALL.model_copy(update={"seed": 1}), condition))
    assert not np.array_equal(first.planes, other.planes)
    groups = {case.group for case in training_cases(SMALL, "sweep")}
    assert not groups & {case.group for case in judged_cases(SMALL, condition)}


def test_the_truth_of_a_sweep_is_where_it_is_sharp():
    for case in judged_cases(SMALL, conditions(SMALL)[1]):
        assert case.best_z is not None
        assert case.truth.argmin() == round(case.best_z)
        detail = [float(np.abs(np.diff(gaussian_filter(p, 1), axis=0)).mean()) for p in case.planes]
        assert abs(int(np.argmax(detail)) - case.best_z) <= 1.5


def test_volumes_and_stress_are_what_they_are_called():
    volume = next(judged_cases(SMALL, "volume, held out PSF"))
    assert volume.best_z is None
    assert np.ptp(volume.truth) > 0.5
    whole, some = judged_cases(SMALL, "stress: empty")
    assert whole.empty.all()
    assert some.empty.sum() == 5
    assert np.isnan(some.truth[some.empty]).all()
    saturated = next(judged_cases(SMALL, "stress: saturated"))
    assert (saturated.planes == 4095).mean() > 1e-3
    plain, faded = (
        next(judged_cases(SMALL, name)) for name in (conditions(SMALL)[1], "stress: bleached 60 %")
    )
    lost = plain.planes.mean((1, 2)) - faded.planes.mean((1, 2))
    assert lost[-1] > 4 * abs(lost[0])
    assert lost[-1] > 0.2 * lost[4:].mean() > 0


def write_stacks(folder: Path, count: int) -> Path:
    for number in range(count):
        name = f"S{number:03d}"
        (folder / name).mkdir(parents=True)
        rng = np.random.default_rng(number)
        dye = gaussian_filter(300.0 * (rng.random((64, 64)) < 0.05), 0.8)
        for z in range(-4, 5):
            image = rng.poisson(gaussian_filter(dye, 0.4 + 0.7 * abs(z)) + 5) + 100
            tifffile.imwrite(folder / name / f"{name}_z{z}.tif", image.astype(np.uint16))
    return folder


def test_a_folder_of_stacks_gives_cases_in_slices(tmp_path):
    case = listed_cases(str(write_stacks(tmp_path / "stacks", 1)), "sweep")[0]
    assert (case.unit, case.step, case.um, case.best_z) == ("slices", 1.0, None, 0)
    assert case.truth.tolist() == [4, 3, 2, 1, 0, 1, 2, 3, 4]
    assert case.planes.shape == (9, 64, 64)


# The whole


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_list_is_compared_and_goes_on_where_it_was(tmp_path, capsys):
    stacks, out = write_stacks(tmp_path / "stacks", 4), tmp_path / "out"
    words = ["benchmark", str(stacks), "--tasks", "focus", "--out", str(out)]
    assert run_command([*words, "--methods", "middle,dcts"]) == 0
    assert run_command([*words, "--methods", "dcts,ridge_classical"]) == 0
    assert "1 methods to run" in capsys.readouterr().out
    rows = read(out / "results.csv")
    assert len(rows) == 3 * 4
    assert {row["method"] for row in rows} == {"middle", "dcts", "ridge_classical"}
    mean = {
        (line["method"], line["metric"]): float(line["mean"]) for line in read(out / "summary.csv")
    }
    assert mean["dcts", "best_error"] < 0.5
    assert mean["ridge_classical", "srcc"] > 0.8
    assert {line["minus"] for line in read(out / "paired.csv")} == {"dcts"}
    assert json.loads((out / "decision.json").read_text())["default"] == "dcts"
    page = (out / "benchmark.html").read_text(encoding="utf-8")
    assert "ridge_classical" in page
    assert "data:image/png" in page
    assert "ordered pairs" in (out / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["simulated", "--methods", "dctz"], "did you mean 'dcts'"),
        (["simulated", "--methods", "stem"], "heads.stem=RUN"),
        (["simulated", "--shots", "1"], "has no shots"),
        (["simulated", "specimen=3"], "unknown key 'specimen'"),
        (["simulated", "--tasks", "focus,segment"], "run it alone"),
        (["no-such-list"], "no-such-list"),
    ],
)
def test_mistakes_are_one_line(words, expected, tmp_path, capsys):
    tasks = [] if "--tasks" in words else ["--tasks", "focus"]
    assert run_command(["benchmark", *words, *tasks, "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert expected in shown
    assert shown.count("\n") == 1


# The decision


def rows_of(method: str, error: float, srcc: float, empty: float = 0.0) -> list[dict]:
    rng = np.random.default_rng(3)
    sweeps = [
        {
            "condition": "sweep, held out PSF, 30 photons", "method": method, "stack": f"{k}",
            "group": f"{k}", "empty_slices": 0, "empty_scored": None,
            "best_error": error + 0.1 * rng.random(), "srcc": srcc + 0.01 * rng.random(),
        }
        for k in range(12)
    ]  # fmt: skip
    blank = {"condition": "stress: empty", "empty_slices": 100, "empty_scored": empty}
    return [*sweeps, {**sweeps[0], **blank, "best_error": None, "srcc": None}]


def test_the_simplest_unbeaten_score_is_the_default():
    dcts = rows_of("dcts", 1.0, 0.9)
    better, best = rows_of("stem", 0.5, 0.95), rows_of("mixer", 0.2, 0.99)
    assert decide(dcts).default == "dcts"
    assert decide([*dcts, *better]).default == "stem"
    assert decide([*dcts, *better, *best]).default == "mixer"
    third = rows_of("measures", 0.3, 0.97)
    assert decide([*dcts, *better, *third]).default == "measures"
    assert decide([*dcts, *better, *third, *best]).default == "mixer"
    # Alike, better in one thing only, or unable to tell what is empty: not enough.
    assert decide([*dcts, *rows_of("stem", 1.0, 0.9)]).default == "dcts"
    assert decide([*dcts, *rows_of("stem", 0.5, 0.85)]).default == "dcts"
    assert decide([*dcts, *rows_of("stem", 0.5, 0.95, empty=0.02)]).default == "dcts"
    assert decide([*dcts, *better, *rows_of("mixer", 0.5, 0.95)]).default == "stem"
    assert "not better than stem" in " ".join(
        decide([*dcts, *better, *rows_of("mixer", 0.5, 0.95)]).reasons
    )
