"""The audit: every planted mistake is found under its name, and a clean list has none."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer

from luxvox.configs.errors import InputError
from luxvox.data.audit import audit, audit_command
from luxvox.data.audit_report import AuditReport
from luxvox.data.save import save_volume

Shape = tuple[int, ...]


class Lists:
    """Writes volumes and a list beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, str]] = []

    def volume(self, name: str, seed: int = 0, shape: Shape = (12, 16, 20)) -> np.ndarray:
        values = np.random.default_rng(seed).integers(100, 900, shape, np.uint16)
        self.save(name, values)
        return values

    def save(self, name: str, values: np.ndarray) -> None:
        tifffile.imwrite(self.folder / name, values, photometric="minisblack")

    def row(self, image: str, **cells: str) -> None:
        number = len(self.rows)
        plain = {
            "id": f"r{number}",
            "group": f"g{number}",
            "split": "train",
            "caption": f"Structure number {number}.",
            "voxel_size_um": "2 1 1",
        }
        self.rows.append({**plain, "image": image, **cells})

    def audit(self) -> AuditReport:
        names = sorted({name for row in self.rows for name in row})
        with open(self.folder / "dataset.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)
        return audit(self.folder)


@pytest.fixture
def lists(tmp_path: Path) -> Lists:
    made = Lists(tmp_path)
    for i in range(2):
        made.volume(f"ok{i}.tif", seed=i)
        made.row(f"ok{i}.tif")
    return made


def _found(report: AuditReport) -> set[tuple[str, str, str]]:
    return {(f.severity, f.check, f.row) for f in report.findings}


def test_a_clean_list_has_no_findings(lists: Lists) -> None:
    calls: list[tuple[int, int]] = []
    report = lists.audit()
    assert report.findings == ()
    assert audit(lists.folder, on_progress=lambda *done: calls.append(done)).findings == ()
    assert calls == [(1, 2), (2, 2)]
    assert report.summary.endswith("2 rows, 0 errors, 0 warnings, 0 hints")


def test_simulated_volumes_are_clean(simulated: Path) -> None:
    # Every volume has a caption of its own, so those of the held-back ones are new.
    assert [found.check for found in audit(simulated).findings] == ["caption only in val"]


def test_files_that_cannot_be_read(lists: Lists) -> None:
    whole = (lists.folder / "ok0.tif").read_bytes()
    (lists.folder / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (lists.folder / "text.tif").write_text("no picture")
    lists.volume("flat.tif", 5, (16, 20))
    lists.volume("four.tif", 6, (2, 3, 16, 20))
    for name in ("cut", "text", "flat", "gone"):
        lists.row(f"{name}.tif")
    lists.row("four.tif", axes="zyx")
    report = lists.audit()
    bad = {(f.check, f.row) for f in report.findings if f.severity == "error"}
    assert bad == {
        ("unreadable", "r2"),
        ("unreadable", "r3"),
        ("unreadable", "r4"),
        ("missing file", "r5"),
        ("unreadable", "r6"),
    }
    told = {f.row: f.what for f in report.findings}
    assert "2D image" in told["r4"]
    assert "axes" in told["r6"]


def test_voxels_that_teach_nothing(lists: Lists) -> None:
    lists.save("constant.tif", np.full((9, 9, 9), 7, np.uint16))
    values = np.random.default_rng(0).normal(size=(10, 10, 10)).astype(np.float32)
    values[0] = np.nan
    lists.save("holes.tif", values)
    lists.save("nan.tif", np.full((9, 9, 9), np.nan, np.float32))
    lists.volume("thin.tif", 3, (6, 40, 40))
    for name in ("constant", "holes", "nan", "thin"):
        lists.row(f"{name}.tif")
    report = lists.audit()
    assert _found(report) == {
        ("error", "empty", "r2"),
        ("warning", "nan", "r3"),
        ("error", "nan", "r4"),
        ("error", "too small", "r5"),
    }
    assert "10.00%" in next(f.what for f in report.findings if f.row == "r3")


def test_the_same_content_under_other_names_and_groups(lists: Lists) -> None:
    shutil.copy(lists.folder / "ok0.tif", lists.folder / "copy.tif")
    lists.row("copy.tif", split="val")  # the same bytes, other group, other split
    values = tifffile.imread(lists.folder / "ok1.tif")
    save_volume(values, lists.folder / "again.ome.zarr", voxel_size_um=(2, 1, 1))
    lists.row("again.ome.zarr", group="g1")  # another format, same group
    lists.row("ok1.tif", group="g1", labels="ok1.tif")  # on purpose: other labels
    report = lists.audit()
    leak = [f for f in report.findings if f.check == "group leak"]
    assert [(f.severity, f.row) for f in leak] == [("error", "r2")]
    assert "the same bytes" in leak[0].what
    assert "another split" in leak[0].what
    twice = {(f.severity, f.row) for f in report.findings if f.check == "duplicate"}
    assert ("warning", "r3") in twice
    assert ("hint", "r4") in twice


def test_other_content_is_no_duplicate(lists: Lists) -> None:
    values = tifffile.imread(lists.folder / "ok0.tif")
    values[-1, -1, -1] += 1
    lists.save("nearly.tif", values)
    lists.row("nearly.tif")
    assert lists.audit().findings == ()


def test_groups_and_splits(lists: Lists) -> None:
    lists.volume("b.tif", 7)
    lists.row("b.tif", group="g0", split="val")
    lists.row("b.tif", id="r0", group="g0", split="val", labels="ok0.tif")
    report = lists.audit()
    assert ("error", "group in two splits", "r2") in _found(report)
    assert ("error", "duplicate id", "r0") in _found(report)


def test_rows_without_groups_and_a_single_group(tmp_path: Path) -> None:
    for i in range(2):
        Lists(tmp_path).volume(f"{i}.tif", i)
    assert ("hint", "group not stated", "") in _found(audit(tmp_path))
    (tmp_path / "dataset.csv").write_text("image,group,split\n0.tif,g,test\n1.tif,g,test\n")
    assert ("error", "split", "") in _found(audit(tmp_path))
    (tmp_path / "dataset.csv").write_text("image,group\n0.tif,g\n1.tif,g\n")
    assert ("warning", "one group", "") in _found(audit(tmp_path))


def test_voxel_sizes(lists: Lists) -> None:
    save_volume(lists.volume("x.tif", 8), lists.folder / "x.ome.zarr", voxel_size_um=(3, 1, 1))
    lists.row("x.ome.zarr", voxel_size_um="1 1 1")
    for i, cell in enumerate(("", "6000 1620 1620", "0.3 1 1")):
        lists.volume(f"v{i}.tif", 20 + i)
        lists.row(f"v{i}.tif", voxel_size_um=cell)
    lists.volume("long.tif", 30, (50, 16, 20))
    lists.row("long.tif")
    report = lists.audit()
    assert _found(report) == {
        ("warning", "voxel size", "r2"),
        ("warning", "voxel size missing", "r3"),
        ("error", "voxel size", "r4"),
        ("hint", "voxel size", "r5"),
        ("hint", "axes", "r6"),
    }
    assert "1 x 1 x 1 um, the file 3 x 1 x 1 um" in report.findings[0].what


def test_captions(lists: Lists) -> None:
    lists.rows[1]["caption"] = "structure number 0"
    for row in lists.rows[:2]:
        row["split"] = "train"
    lists.volume("c.tif", 9)
    lists.row("c.tif", caption="", stain="c-Fos")
    lists.volume("d.tif", 10)
    lists.row("d.tif", caption="Only here.", split="val", stain="cFos")
    report = lists.audit()
    assert _found(report) == {
        ("warning", "caption missing", "r2"),
        ("warning", "caption spelling", ""),
        ("hint", "caption only in val", ""),
        ("hint", "stain spelling", ""),
    }
    for row in lists.rows:
        row["caption"] = "All the same."
    assert ("warning", "caption equal", "") in _found(lists.audit())


def test_labels(lists: Lists) -> None:
    label = np.zeros((12, 16, 20), np.uint8)
    lists.save("none.tif", label)
    label[3:6] = 3
    lists.save("three.tif", label)
    lists.save("turned.tif", np.ascontiguousarray(label.T))
    lists.save("soft.tif", (label / 7).astype(np.float32))
    cases: list[tuple[str, dict[str, str]]] = [
        ("none.tif", {}),  # r2 empty
        ("three.tif", {"foreground_label": "3"}),  # r3 right
        ("three.tif", {"foreground_label": "1"}),  # r4 would train on nothing
        ("three.tif", {"foreground_label": "3", "ignore_label": "3 4"}),  # r5 contradiction
        ("three.tif", {"ignore_label": "5"}),  # r6 never occurs
        ("turned.tif", {}),  # r7 other shape
        ("soft.tif", {}),  # r8 probabilities
    ]
    for i, (name, cells) in enumerate(cases):
        lists.volume(f"i{i}.tif", 40 + i)
        lists.row(f"i{i}.tif", labels=name, **cells)
    report = lists.audit()
    assert _found(report) == {
        ("warning", "empty labels", "r2"),
        ("error", "label values", "r4"),
        ("error", "label values", "r5"),
        ("hint", "label values", "r6"),
        ("error", "labels shape", "r7"),
        ("error", "label values", "r8"),
    }


def test_gaps_in_a_zarr_store(lists: Lists) -> None:
    import zarr

    values = np.random.default_rng(2).integers(1, 900, (16, 16, 16)).astype(np.uint16)
    array = zarr.create_array(
        lists.folder / "gaps.zarr", shape=values.shape, chunks=(8, 8, 8), dtype=values.dtype
    )
    array[:8] = values[:8]
    lists.row("gaps.zarr", axes="zyx")
    report = lists.audit()
    assert _found(report) == {("warning", "missing chunks", "r2")}
    assert "4 of 8" in report.findings[0].what


def test_large_volumes_are_sampled(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luxvox.data.audit_volume.WHOLE_VOXELS", 1000)
    monkeypatch.setattr("luxvox.data.audit_volume._BLOCK_SIDE", 4)
    lists.save("empty.tif", np.zeros((30, 30, 30), np.uint16))
    lists.row("empty.tif")
    shutil.copy(lists.folder / "ok0.tif", lists.folder / "copy.tif")
    lists.row("copy.tif")
    report = lists.audit()
    # Not all was read, so emptiness is no longer certain; equal files are.
    assert _found(report) == {("warning", "empty", "r2"), ("error", "group leak", "r3")}


def test_command_prints_writes_json_and_ends_with_2(
    lists: Lists, capsys: pytest.CaptureFixture[str]
) -> None:
    lists.audit()
    out = lists.folder / "audit.json"
    audit_command(str(lists.folder), out)  # no error: returns
    assert json.loads(out.read_text())["errors"] == 0
    lists.save("constant.tif", np.full((9, 9, 9), 7, np.uint16))
    lists.row("constant.tif", id="[bold]odd[/] id")
    lists.audit()
    capsys.readouterr()
    with pytest.raises(typer.Exit) as exit_:
        audit_command(str(lists.folder), out)
    assert exit_.value.exit_code == 2
    printed = capsys.readouterr().out
    assert "[bold]odd[/] id" in printed
    assert "1 error" in printed.splitlines()[-1]
    written = json.loads(out.read_text())
    assert (written["rows"], written["errors"]) == (3, 1)
    assert written["findings"][0]["check"] == "empty"
    with pytest.raises(InputError, match="cannot be written"):
        audit_command(str(lists.folder), lists.folder / "no" / "audit.json")


def test_an_unreadable_list_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        audit(tmp_path / "none")


@pytest.mark.parametrize(
    "name",
    [
        "pretrain/dataset.csv",
        "segment/classify.csv",
        "segment/delivr_cfos",
        "segment/delivr_microglia",
        "segment/trailmap_axons",
        "segment/lsmfm_fewshot/dataset.csv",
        "segment/lsmfm_fewshot/restore.csv",
    ],
)
def test_no_false_errors_on_the_shared_lists(shared_data: Path, name: str) -> None:
    report = audit(shared_data / name)
    assert [f for f in report.findings if f.severity == "error"] == []
