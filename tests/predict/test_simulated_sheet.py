"""`luxvox simulate --sheet`: a picture of what was simulated, beside real volumes of the same."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from luxvox.__main__ import run_command
from luxvox.predict.simulated_sheet import write_sheet


def picture(path: Path) -> np.ndarray:
    return imread(io.BytesIO(path.read_bytes()), format="png")


def test_real_volumes_stand_beside_simulated_ones_of_their_structure(
    simulated: Path, tmp_path: Path
) -> None:
    rows = list(csv.DictReader(simulated.open(encoding="utf-8")))
    for row in rows:
        row["image"] = str(simulated.parent / row["image"])
        row["labels"] = row["target"] = ""
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    vessels = [row for row in rows if row["class"] == "vessels"]
    # The same volumes as "real" ones, one of them twice: shown once.
    for path, chosen in ((ours, rows), (theirs, [*vessels[:2], vessels[0] | {"id": "again"}])):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(chosen)
    alone = picture(write_sheet(ours, []))
    beside = picture(write_sheet(ours, [str(theirs)]))
    assert beside.shape[0] == alone.shape[0]
    tile = (beside.shape[1] - alone.shape[1]) / 110  # inches added: a gap and two tiles
    assert 3.0 < tile < 3.8


def test_the_command_writes_volumes_list_and_sheet(tmp_path: Path, capsys) -> None:
    out = tmp_path / "sim"
    words = ["simulate", str(out), "--count", "2", "--seed", "3", "--structures", "nuclei,plaques"]
    assert run_command([*words, "--workers", "1", "--sheet", "size=[8,24,24]"]) == 0
    assert {path.name for path in out.iterdir()} >= {"dataset.csv", "sheet.png", "sim_00001.json"}
    assert "sheet.png" in capsys.readouterr().out
    assert run_command([*words, "size=[8,24,24]"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run_command(["simulate", str(tmp_path / "b"), "--structures", "nuclie"]) == 2
    assert "did you mean 'nuclei'" in capsys.readouterr().err
    assert run_command(["simulate", str(tmp_path / "c"), "--real", "list.csv"]) == 2
    assert "--sheet" in capsys.readouterr().err
    assert not (tmp_path / "b" / "dataset.csv").exists()
