"""Lists that count in slices, levels or um are not judged as if they counted in depths of field."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from luxvox.__main__ import run_command
from luxvox.finetune.focus.benchmark.case import Answer
from luxvox.finetune.focus.benchmark.judge import judged
from luxvox.finetune.focus.benchmark.listed import listed_cases
from luxvox.finetune.focus.benchmark.ridged import learn_ridge

PLANES = range(-14, 15)
OF_DEPTHS_OF_FIELD = ("exact", "within_1", "within_dof", "auc")
OPTICS = {"na": 0.3, "wavelength_nm": 520, "refractive_index": 1.45, "voxel_size_um": "2 1 1"}


def write_list(path: Path, stacks: int = 4, **columns) -> str:
    """A list of sweeps; `columns` say what a slice knows of focus, as functions of z."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(stacks):
        rng = np.random.default_rng(number)
        dye = gaussian_filter(400.0 * (rng.random((64, 64)) < 0.05), 0.8)
        for z in PLANES:
            name = f"S{number}_{z + 14}.tif"
            image = rng.poisson(gaussian_filter(dye, 0.5 + 0.25 * abs(z)) + 5) + 100
            tifffile.imwrite(path.parent / name, image.astype(np.uint16))
            known = {key: said(z) if callable(said) else said for key, said in columns.items()}
            rows.append({"image_path": name, "stack_id": f"S{number}", "z_index": z, **known})
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return str(path)


LABELS = {
    "slices": {"best_z": 0},
    "levels": {"level": lambda z: z},
    "um": {"z_um": lambda z: 0.1 * z},
    "DOF": {"best_z": 0, **OPTICS},
}


@pytest.mark.parametrize("unit", LABELS)
def test_only_depths_of_field_are_judged_as_such(unit, tmp_path):
    case = listed_cases(write_list(tmp_path / "list.csv", 1, **LABELS[unit]), "sweep")[0]
    assert case.unit == unit
    found = judged(case, Answer(-case.truth, case.truth), 0.0)
    for name in OF_DEPTHS_OF_FIELD:
        assert found[name] == (1 if unit == "DOF" else None), name
    assert found["mae"] == 0
    assert found["srcc"] == pytest.approx(1)
    assert (found["mae_um"] is None) == (unit in ("slices", "levels"))


def test_close_slices_are_asked_for_their_order_unless_they_share_a_depth_of_field(tmp_path):
    case = listed_cases(write_list(tmp_path / "list.csv", 1, **LABELS["um"]), "sweep")[0]
    swapped = case.truth.copy()
    swapped[[0, 1]] = swapped[[1, 0]]  # 0.1 um apart
    found = judged(case, Answer(-swapped), 0.0)["monotone"]
    assert found is not None
    assert 0.98 < found < 1
    assert judged(replace(case, unit="DOF"), Answer(-swapped), 0.0)["monotone"] == 1


def test_ridges_go_as_far_as_a_list_does(tmp_path):
    for unit, farthest in (("slices", 14.0), ("DOF", 10.0)):
        cases = listed_cases(write_list(tmp_path / f"{unit}.csv", **LABELS[unit]), "sweep")
        scaled = [replace(c, truth=np.abs(np.array(PLANES, float))) for c in cases]
        far = learn_ridge("classical", scaled)(scaled[0]).far
        assert far is not None
        assert np.nanmax(far) == pytest.approx(farthest, abs=2.0 if farthest > 10 else 1e-6)


def test_tables_and_page_say_the_unit(tmp_path):
    source = write_list(tmp_path / "mine" / "dataset.csv", **LABELS["slices"])
    out = tmp_path / "out"
    words = ["benchmark", source, "--tasks", "focus", "--out", str(out)]
    assert run_command([*words, "--methods", "dcts,brenner,ridge_classical"]) == 0
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["unit"] for row in rows} == {"slices"}
    assert {row["condition"] for row in rows} == {"sweep, mine"}
    assert {row[name] for row in rows for name in OF_DEPTHS_OF_FIELD} == {""}
    summary, page = ((out / name).read_text() for name in ("summary.md", "benchmark.html"))
    for text in (summary, page):
        assert "MAE (slices)" in text
        assert "DOF" not in text
        assert "in/out AUC" not in text
    assert "error (slices)" in page


def test_lists_of_one_name_are_told_apart_by_their_folder(tmp_path, capsys):
    sources = [write_list(tmp_path / n / "dataset.csv", 1, **LABELS["slices"]) for n in ("a", "b")]
    words = ["--tasks", "focus", "--methods", "dcts", "--out", str(tmp_path / "out")]
    assert run_command(["benchmark", *sources, *words]) == 0
    with (tmp_path / "out" / "results.csv").open() as file:
        assert [row["condition"] for row in csv.DictReader(file)] == ["sweep, a", "sweep, b"]


def test_lists_that_would_share_cells_are_refused(tmp_path, capsys):
    names = ("a/my list.csv", "b/my_list.csv")
    sources = [write_list(tmp_path / name, 1, **LABELS["slices"]) for name in names]
    out = tmp_path / "out"
    words = ["--tasks", "focus", "--methods", "dcts", "--out", str(out)]
    for pair in (sources, [sources[0], sources[0]]):
        assert run_command(["benchmark", *pair, *words]) == 2
        shown = capsys.readouterr().err
        assert "as that of another set" in shown
        assert shown.count("\n") == 1
    assert not (out / "cells").exists()
