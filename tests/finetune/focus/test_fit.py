"""The three commands: from a folder of stacks to scores, correlations and the pick of a new one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.predict.focus_fit import load_fit

OPTICS = "na,wavelength_nm,refractive_index,voxel_size_um"


@pytest.fixture(scope="module")
def fitted(stacks, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    words = ["focus-features", str(stacks), "--out", str(folder / "features.csv"), "--relative"]
    assert run_command(words) == 0
    words = ["focus-fit", str(folder / "features.csv"), str(stacks), "--out", str(folder / "fit")]
    assert run_command(words) == 0
    return folder


def with_um(path: Path, stacks: Path, names: list[str], step: float = 1.0) -> Path:
    lines = ["image_path,best_z,objective," + OPTICS]
    for name in names:
        for file in sorted((stacks / name).glob("*.tif")):
            lines.append(f"{file},0,20x,0.3,520,1.33,{step} 0.5 0.5")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_correlations_of_stacks_left_out(fitted):
    learnt = json.loads((fitted / "fit" / "fit.json").read_text())["learnt"]
    assert learnt["left_out"]["stacks"] == 11
    assert learnt["left_out"]["undefined_stacks"] == 0
    assert learnt["left_out"]["srcc"] > 0.8
    assert learnt["left_out"]["plcc"] > 0.7
    assert len(learnt["alphas_of_folds"]) == 11


def test_scores_of_every_slice_are_written(fitted):
    with (fitted / "fit" / "focus_scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:3] == ["image_path", "z_um", "focus_score"]
    assert len(rows) == 121
    assert {row["z_um"] for row in rows} == {""}  # nobody said the step
    assert all(0 <= float(row["focus_score"]) <= 1 for row in rows)
    best = {}
    for row in rows:
        best.setdefault(row["stack_id"], []).append(
            (float(row["focus_score"]), int(row["z_index"]))
        )
    assert np.mean([abs(max(found)[1]) <= 1 for found in best.values()]) > 0.7


def test_a_new_stack_is_scored_and_its_best_slice_found(fitted, sweep):
    fit = load_fit(fitted / "fit")
    new = sweep(99).astype(np.float32)
    found = fit.judge(new)
    assert abs(int(found.score.argmax()) - 5) <= 1
    assert ((found.score >= 0) & (found.score <= 1)).all()
    assert ((found.lo <= found.score) & (found.score <= found.hi)).all()
    assert fit.score(new) == pytest.approx(found.score)
    turned = fit.score(new[::-1])
    assert turned[::-1] == pytest.approx(found.score, abs=1e-5)
    frame = fit.frame(new)  # slices one by one, as lazily as a reader likes
    assert np.concatenate([fit.score(new[i : i + 1], frame) for i in range(11)]) == pytest.approx(
        found.score, abs=1e-5
    )


def test_relative_features_are_for_sweeps_only(fitted, sweep):
    import torch

    from luxvox.predict.focus import Sample, survey_image
    from luxvox.predict.focus_scorer import FitScorer

    scorer = FitScorer(load_fit(fitted / "fit"))
    stack = cast(Any, SimpleNamespace(channel=""))
    slices = torch.from_numpy(sweep(97).astype(np.float32))
    sample = Sample(slices, range(11), survey_image(slices[5].numpy()))
    found = scorer.begin(sample, stack, None, "sweep")(slices, range(11))
    assert abs(int(np.argmax([one.score for one in found])) - 5) <= 1
    with pytest.raises(InputError, match="and this is a volume"):
        scorer.begin(sample, stack, None, "volume")


def test_empty_slices_never_score(fitted, sweep):
    fit = load_fit(fitted / "fit")
    stack = sweep(98).astype(np.float32)
    stack[4] = np.random.default_rng(0).poisson(12, stack[4].shape) + 100
    found = fit.judge(stack)
    assert np.isnan(found.score[4])
    assert found.reasons[4] == "empty"
    assert np.isnan(fit.score(np.zeros((3, 64, 64)))).all()


def test_what_was_never_seen_is_flagged(fitted):
    """The older workflow gave 1.77 for a score that ends at 1, without a word."""
    fit = load_fit(fitted / "fit")
    far = fit.mean + 50 * fit.scale * np.sign(fit.weights[:-1])
    found = fit.judge_features(np.stack([fit.mean, far]))
    assert found.raw[1] > 1.5
    assert found.score[1] == 1.0
    assert found.out_of_range.tolist() == [False, True]
    assert found.unlike.tolist() == [False, True]
    assert found.reasons == ["", "ood"]


@pytest.fixture(scope="module")
def calibrated(stacks, fitted) -> Path:
    """A fit in um, 2 um a plane, and a table of the same stacks as a lens of 5 um would give it."""
    names = [f"S{n:03d}" for n in range(1, 12)]
    first = with_um(fitted / "a.csv", stacks, names, step=2.0)
    with_um(fitted / "b.csv", stacks, names, step=5.0)
    words = ["focus-fit", str(fitted / "features.csv"), str(first), "--sigma", "4"]
    assert run_command([*words, "--out", str(fitted / "um")]) == 0
    return fitted


def test_no_micrometres_while_anything_is_unknown(fitted):
    plain = load_fit(fitted / "fit")
    assert not plain.calibrations
    with pytest.raises(InputError, match="not calibrated in um"):
        plain.micrometres([0.5])


def test_micrometres_with_intervals(calibrated):
    fit = load_fit(calibrated / "um")
    assert fit.unit == "um"
    found = fit.micrometres([1.0, 0.6, fit.lowest], "20x")
    assert (np.diff(found.defocus_um) > 0).all()
    assert found.defocus_um[2] <= 10
    assert found.beyond.tolist() == [False, False, found.defocus_um[2] == 10]
    assert np.isfinite(found.hi).all()  # 11 stacks are enough for 90 %
    assert (np.diff(found.p_in_dof) <= 0).all()
    assert found.p_in_dof[0] > found.p_in_dof[2]
    with pytest.raises(InputError, match=r"for 40x/ .*20x/"):
        fit.micrometres([0.5], "40x")


def test_recalibration(calibrated, tmp_path, capsys):
    table, um = str(calibrated / "features.csv"), str(calibrated / "um")
    words = ["--base", um, "--out", str(tmp_path / "new"), "--stacks"]
    assert run_command(["focus-fit", table, str(calibrated / "b.csv"), *words, "3"]) == 0
    assert "after 3: taken" in capsys.readouterr().out
    old, new = load_fit(um), load_fit(tmp_path / "new")
    assert (new.weights == old.weights).all()
    assert new.calibrations["20x/"].slope > 1.5 * old.calibrations["20x/"].slope
    assert run_command(["focus-fit", table, str(calibrated / "b.csv"), *words, "2"]) == 2
    assert "expected one of (1, 3, 5, 10)" in capsys.readouterr().err


def test_a_fit_is_no_pickle_and_names_no_machine(fitted, tmp_path):
    text = (fitted / "fit" / "fit.json").read_text()
    assert str(fitted) not in text
    assert sorted(f.name for f in (fitted / "fit").iterdir()) == [
        "fit.json", "focus_scores.csv", "ridge.npz",
    ]  # fmt: skip
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "fit.json").write_text(text)
    np.savez(broken / "ridge.npz", mean=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="damaged"):
        load_fit(broken)
    with pytest.raises(InputError, match=r"no fit\.json"):
        load_fit(tmp_path)


def test_other_weights_than_at_the_fit_are_noticed(fitted, sweep):
    from dataclasses import replace

    fit = replace(load_fit(fitted / "fit"), fingerprint="other")
    with pytest.raises(InputError, match="others than at the time of the fit"):
        fit.score(sweep(1))


def test_features_from_elsewhere_fit_but_describe_nothing(tmp_path, stacks):
    rng = np.random.default_rng(1)
    lines = ["image_path,a,b"]
    for file in sorted(stacks.glob("*/*.tif")):
        z = int(file.stem.split("_z")[1])
        score = 1 / (1 + z**2 / 4)
        lines.append(f"{file},{score + 0.05 * rng.normal()},{rng.normal()}")
    (tmp_path / "mic.csv").write_text("\n".join(lines) + "\n")
    words = ["focus-fit", str(tmp_path / "mic.csv"), str(stacks), "--out", str(tmp_path / "fit")]
    assert run_command(words) == 0
    fit = load_fit(tmp_path / "fit")
    assert fit.learnt["left_out"]["srcc"] > 0.9
    assert fit.judge_features([[1.0, 0.0], [0.1, 0.0]]).score == pytest.approx([1, 0.1], abs=0.1)
    with pytest.raises(InputError, match="not made by luxvox focus-features"):
        fit.score(np.zeros((1, 64, 64)))
    with pytest.raises(InputError, match="expected 2 of each slice"):
        fit.judge_features(np.zeros((1, 3)))
