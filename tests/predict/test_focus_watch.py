"""A folder watched: slices scored as they come, and what may happen to files meanwhile."""

from __future__ import annotations

import csv
import math
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage

from luxvox.__main__ import run_command
from luxvox.data.draws import keyed_rng
from luxvox.predict.focus import SliceFocus, score_image, support_of, survey_image
from luxvox.predict.focus_stack import z_numbers
from luxvox.predict.focus_watch import watch_folder

SIDE = 128


def sweep() -> np.ndarray:
    """[6, Y, X] uint16 counts of points, in focus at 3."""
    rng = keyed_rng("focus watch", 0, 0)
    sharp = np.zeros((SIDE, SIDE))
    places = rng.integers(0, SIDE, (SIDE, 2))
    sharp[places[:, 0], places[:, 1]] = rng.uniform(500, 3000, SIDE)
    planes = []
    for z in range(6):
        light = ndimage.gaussian_filter(sharp, math.hypot(1.2, 0.9 * (z - 3)), mode="wrap")
        planes.append(rng.poisson(light + 5) + rng.normal(100, 2, light.shape))
    return np.stack(planes).round().astype(np.uint16)


def write_slices(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for name, plane in zip(names, sweep(), strict=False):
        tifffile.imwrite(folder / name, plane)
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


LIVE = [f"live_z{place}.tif" for place in range(6)]


def test_watch_scores_slices_as_they_are_written(tmp_path):
    folder, out = tmp_path / "live", tmp_path / "live.csv"
    folder.mkdir()
    array = sweep()

    def microscope() -> None:
        for place, plane in enumerate(array):
            part = folder / f"part{place}"
            tifffile.imwrite(part, plane)
            os.replace(part, folder / f"live_z{place}.tif")
            time.sleep(0.05)

    writer = threading.Thread(target=microscope)
    writer.start()
    lines: list[str] = []
    scored = watch_folder(folder, out, "sweep", idle_s=0.6, every_s=0.05, say=lines.append)
    writer.join()
    assert [path.name for path, _ in scored] == [f"live_z{place}.tif" for place in range(6)]
    assert "best so far: live_z3.tif" in lines[-1]
    rows = read(out)
    assert [row["z_index"] for row in rows] == [str(place) for place in range(6)]
    assert torch.isfinite(torch.tensor([float(row["focus_score"]) for row in rows])).all()


class _Brightness:
    """A scorer whose score is the mean of the slice over that of the first image."""

    model_id, calib_id = "brightness", ""

    def begin(self, sample, stack, stain, mode):
        return lambda slices, places: [
            SliceFocus(float(plane.mean() / sample.slices.mean()), level=2.0) for plane in slices
        ]


def test_watch_takes_a_learned_score_behind_the_gate(tmp_path):
    folder, out = write_slices(tmp_path / "live", LIVE[:3]), tmp_path / "live.csv"
    noise = keyed_rng("focus test", 1, 1).normal(100, 2, (SIDE, SIDE)).round().astype(np.uint16)
    tifffile.imwrite(folder / "live_z9.tif", noise)
    watch_folder(folder, out, "sweep", idle_s=0.2, every_s=0.02, scorer=_Brightness())
    rows = {row["z_index"]: row for row in read(out)}
    assert [row["model_id"] for row in rows.values()] == ["brightness"] * 4
    assert float(rows["0"]["focus_score"]) == pytest.approx(1, abs=0.05)
    assert rows["0"]["level"] == "2"
    assert float(rows["0"]["dcts"]) < 0.1
    assert (rows["9"]["reason"], rows["9"]["focus_score"]) == ("empty", "")


def test_a_slice_has_the_number_that_a_folder_gives_it(tmp_path):
    names = ["S001_z-10_c1.tif", "stack-12.tif", "z0010_t003.tif", "a_z+4.tif", "blank.tif"]
    folder, out = write_slices(tmp_path / "live", names), tmp_path / "o.csv"
    watch_folder(folder, out, "volume", idle_s=0.2, every_s=0.02, say=lambda line: None)
    rows = {Path(row["image_path"]).name: row["z_index"] for row in read(out)}
    assert [rows[name] for name in names] == ["-10", "12", "10", "4", ""]
    assert z_numbers([folder / name for name in names[:4]]) == [-10, 12, 10, 4]


def test_a_file_that_is_gone_when_it_is_looked_at_ends_nothing(tmp_path):
    folder = write_slices(tmp_path / "live", LIVE[:2])
    # What a rename between listing and looking leaves: a name with nothing behind it.
    (folder / "live_z5.tif").symlink_to(folder / "renamed.tif")
    scored = watch_folder(folder, tmp_path / "o.csv", "volume", idle_s=0.2, every_s=0.02)
    assert sorted(path.name for path, _ in scored) == LIVE[:2]


def test_watch_knows_the_lens(tmp_path):
    folder, out = write_slices(tmp_path / "live", LIVE[:1]), tmp_path / "o.csv"
    words = ["focus", "--watch", str(folder), "--mode", "volume", "--csv", str(out)]
    lens = ["--na", "0.1", "--wavelength", "600", "--voxel-size", "1 .5 .5", "--idle", "0.3"]
    assert run_command([*words, *lens]) == 0
    plane = sweep()[0].astype(np.float32)
    wanted = score_image(plane, survey_image(plane), support_of(0.1, 600, 0.5)).score
    assert float(read(out)[0]["dcts"]) == pytest.approx(wanted, rel=1e-4)
    assert abs(wanted - score_image(plane).score) > 1e-3


@pytest.mark.parametrize(
    "option",
    [
        ["--report", "r.html"], ["--map", "m.ome.zarr"], ["--resume"], ["--sidecar", "ome"],
        ["--tiles"], ["--no-tiles"], ["--channel", "red"],
    ],
)  # fmt: skip
def test_what_watch_would_drop_is_refused(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("live").mkdir()
    words = ["focus", "--watch", "live", "--mode", "volume", "--csv", "o.csv", "--idle", "0.1"]
    assert run_command([*words, *option]) == 2
    shown = capsys.readouterr().err
    assert f"would drop {option[0]};" in shown
    assert shown.count("\n") == 1
    assert not Path("o.csv").exists()
