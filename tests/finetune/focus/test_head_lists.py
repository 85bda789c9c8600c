"""Lists of labelled stacks: read, trained on as sweeps or volumes, some of them left out."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tifffile
import torch

from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.finetune.focus import train
from luxvox.finetune.focus.head_lists import read_labelled
from luxvox.finetune.focus.head_recipe import HeadRecipe
from luxvox.finetune.focus.train import train_focus
from luxvox.predict.focus_weights import load_learned

from .head_stacks import LENS, STEP_DOF, stack

SMALL = HeadRecipe(channels=(4, 8, 16), width=16, steps=2, batch=2, window=4, tiles=1)


def write_list(folder, count: int, optics: bool, slices: int = 9):
    """A list of stacks on disk."""
    rows = []
    for seed in range(count):
        found = stack(seed, slices=slices)
        for z, image in enumerate(found.images.numpy()):
            name = f"s{seed}_{z}.tif"
            tifffile.imwrite(folder / name, image.round().astype(np.uint16))
            far = float(found.slice_dof[z]) * LENS.depth_of_field_um
            row = {"image_path": name, "z_um": far, "stack_id": f"s{seed}", "z_index": z}
            if optics:
                row |= {"na": LENS.na, "wavelength_nm": 520, "refractive_index": LENS.index,
                        "voxel_size_um": f"{STEP_DOF * LENS.depth_of_field_um} 1 1"}  # fmt: skip
            rows.append(row)
    with (folder / "list.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return folder / "list.csv"


def test_lists_of_labelled_stacks(tmp_path):
    found = read_labelled(str(write_list(tmp_path, 2, optics=True)), "sweep")
    assert [s.specimen for s in found] == ["s0", "s1"]
    assert found[0].lens == LENS
    assert torch.allclose(found[0].slice_dof, stack(0).slice_dof, atol=1e-4)


def test_lists_without_optics_are_refused_with_a_remedy(tmp_path):
    with pytest.raises(InputError, match=r"missing: na, wavelength_nm.*give these columns"):
        train_focus(str(write_list(tmp_path, 2, optics=False)), tmp_path / "run", SMALL)


def test_from_the_command_line_to_a_table(tmp_path, capsys):
    source = write_list(tmp_path, 4, optics=True)
    words = ["channels=[4,8,16]", "width=16", "steps=3", "batch=2", "window=4", "tiles=1"]
    out = str(tmp_path / "run")
    assert run_command(["finetune", "focus", str(source), *words, "--out", out]) == 0
    assert "left_out_sweep_srcc" in capsys.readouterr().out
    tifffile.imwrite(tmp_path / "new.tif", stack(70).images.numpy().astype(np.uint16))
    table = tmp_path / "focus.csv"
    words = ["focus", str(tmp_path / "new.tif"), "--mode", "sweep", "--csv", str(table)]
    words += ["--weights", out, "--na", "0.3", "--wavelength", "520", "--index", "1.45"]
    assert run_command([*words, "--voxel-size", "5 1 1"]) == 0
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 9
    assert all(row["model_id"] == "head:run" for row in rows)
    scored = [row for row in rows if row["valid"] == "true"]
    assert all(row["defocus_um"] and row["level"] and row["lo"] for row in scored)
    assert run_command(["finetune", "focus", str(source), "--out", out, "--shots", "3"]) == 2


def test_every_stack_of_a_list_is_prepared_once(tmp_path, monkeypatch):
    source = write_list(tmp_path, 4, optics=True)
    seen = []

    def counted(stack, **rest):
        seen.append(stack.specimen)
        return make_example(stack, **rest)

    make_example = train.make_example
    monkeypatch.setattr(train, "make_example", counted)
    numbers = train_focus(str(source), tmp_path / "run", SMALL)
    assert sorted(seen) == ["s0", "s1", "s2", "s3"]
    # One specimen is left out: order and distance can be said of it, coverage cannot.
    assert {"left_out_sweep_srcc", "left_out_sweep_mae_dof"} <= set(numbers)
    assert not {"left_out_coverage", "left_out_strange"} & set(numbers)
    assert not np.isnan(list(numbers.values())).any()


def test_a_list_of_volumes_gives_intervals_for_volumes(tmp_path):
    source = str(write_list(tmp_path, 36, optics=True, slices=4))
    found = read_labelled(source, "volume")
    assert {one.mode for one in found} == {"volume"}
    numbers = train_focus(source, tmp_path / "run", SMALL.model_copy(update={"mode": "volume"}))
    assert "left_out_volume_mae_dof" in numbers
    assert "left_out_sweep_srcc" not in numbers
    residuals = load_learned(tmp_path / "run").residuals
    assert np.isfinite(residuals["volume"].radius())
    assert residuals["sweep"].radius() == np.inf


def test_the_mode_of_a_list_is_a_key_of_the_recipe(tmp_path, capsys):
    words = ["finetune", "focus", "simulated", "--out", str(tmp_path / "run")]
    assert run_command([*words, "mode=volume"]) == 2
    assert "simulated ones are sweeps and volumes: leave it out" in capsys.readouterr().err
    assert run_command([*words, "mode=both"]) == 2
    assert "mode" in capsys.readouterr().err
