"""What lies beside an output in the end: tables and a page, of blocks and of memory alike."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import label

import luxvox
from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.predict.beside import beside
from luxvox.predict.block_output import BlockOutput
from luxvox.predict.preview import as_colours, enlarged, preview_grid, thinned

from .small_model import save_segmenter

SIZE = (4.0, 2.0, 2.0)
LABELS = BlockOutput(what="labels")


class Bright(torch.nn.Module):
    """Foreground where the normalised image is bright."""

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return (tiles - 4).sigmoid()


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def words(path: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Cubes of 6 voxels, some over the face between two blocks."""
    voxels = np.random.default_rng(0).normal(100, 5, (20, 40, 200)).astype(np.uint16)
    for place in (3, 61, 90, 125, 180):
        voxels[7:13, 17:23, place : place + 6] = 1000 + place
    return voxels


@pytest.fixture
def path(image, tmp_path) -> Path:
    return save_volume(image, tmp_path / "in.ome.zarr", voxel_size_um=SIZE)


def test_blocks_end_in_tables_and_a_page(blocks, image, path, tmp_path):
    request = blocks.request_of(
        path, tmp_path / "out.ome.zarr", network=Bright(), output=LABELS, instances=True,
        tables=True, names={1: "cubes <i>"},
    )  # fmt: skip
    assert blocks.predict_blocks(request)["objects"] == 5
    assert request.outcome.tables == tmp_path / "out.ome.zarr.tables"
    table = rows(request.outcome.tables, "objects")
    assert [int(row["voxels"]) for row in table] == [216] * 5
    assert [float(row["x"]) for row in table] == [5.5, 63.5, 92.5, 127.5, 182.5]
    assert [float(row["x_um"]) for row in table] == [11, 127, 185, 255, 365]
    assert [float(row["intensity_mean"]) for row in table] == [1003, 1061, 1090, 1125, 1180]
    (structure,) = rows(request.outcome.tables, "structures")
    assert structure["name"] == "cubes <i>"
    assert float(structure["volume_fraction"]) == 5 * 216 / image.size
    page = tmp_path / "out.ome.zarr.html"
    html, text = page.read_text(encoding="utf-8"), words(page)
    assert html.count('<img src="data:image/png') == 3  # planes, projections, histogram
    assert not re.search(r"https?://|<i>", html)
    for part in (
        "labels of in.ome.zarr", "blocks 4 of 20 x 40 x 64", "hold nothing, skipped 0 (0%)",
        "voxels/s, 4 blocks", "objects 5", "Structures", "20 x 40 x 200",
    ):  # fmt: skip
        assert part in text, part


def test_tables_can_be_asked_for_later_and_go_with_what_they_measured(
    blocks, image, path, tmp_path
):
    request = blocks.request_of(path, tmp_path / "out.ome.zarr", network=Bright(), output=LABELS)
    blocks.predict_blocks(request)
    folder = request.outcome.tables
    assert not folder.exists()
    assert "Structures" not in words(request.outcome.page)
    again = replace(request, tables=True)
    assert blocks.predict_blocks(again, resume=True)["skipped_blocks"] == 4
    assert len(rows(folder, "objects")) == 5
    assert "Structures" in words(request.outcome.page)
    stamp = (folder / "objects.csv").stat().st_mtime_ns
    blocks.predict_blocks(again, resume=True)
    assert (folder / "objects.csv").stat().st_mtime_ns == stamp
    blocks.predict_blocks(request, overwrite=True)
    assert not folder.exists()
    with pytest.raises(InputError, match="probabilities are not counted"):
        blocks.predict_blocks(replace(again, output=blocks.PROBABILITIES), overwrite=True)
    output = BlockOutput(what="labels", label_values=(7, 0))
    with pytest.raises(InputError, match="label 0 is a class and 7 the background"):
        blocks.predict_blocks(replace(again, output=output), overwrite=True)


def test_tables_wait_for_blocks_that_could_not_be_read(blocks, image, tmp_path):
    path = save_volume(
        image, tmp_path / "in.ome.zarr", voxel_size_um=SIZE, chunks=(20, 40, 20),
        shards=(20, 40, 20),
    )  # fmt: skip
    chunk = path / "0/c/0/0/0"
    whole = chunk.read_bytes()
    chunk.write_bytes(b"rubbish")
    request = blocks.request_of(
        path, tmp_path / "out.ome.zarr", network=Bright(), output=LABELS, tables=True
    )
    assert blocks.predict_blocks(request)["failed_blocks"] == 1
    assert not request.outcome.tables.exists()
    assert "1 of 4 blocks could not be read and hold 0" in words(request.outcome.page)
    chunk.write_bytes(whole)
    assert blocks.predict_blocks(request, resume=True)["failed_blocks"] == 0
    assert len(rows(request.outcome.tables, "objects")) == 5
    assert "could not be read" not in words(request.outcome.page)


@pytest.mark.parametrize("what", ["probabilities", "several", "embeddings"])
def test_every_output_has_a_page(blocks, path, tmp_path, what):
    several = what != "probabilities"
    request = blocks.request_of(
        path, tmp_path / "out.ome.zarr", network=blocks.stand_in(5 if several else 1),
        output=BlockOutput(what="embeddings" if what == "embeddings" else "probabilities"),
    )  # fmt: skip
    blocks.predict_blocks(request)
    html = request.outcome.page.read_text(encoding="utf-8")
    assert html.count('<img src="data:image/png') == 2
    caption = {"several": "in colour", "embeddings": "main components"}.get(what, "scale of its")
    assert caption in html


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A fine-tuned run, tiny."""
    return str(save_segmenter(tmp_path / "run", 16))


def test_the_verb_measures_in_memory_what_it_measures_by_blocks(run, path, tmp_path, capsys):
    tables = {}
    for name, more in (("memory", []), ("blocks", ["--resume"])):
        out = tmp_path / f"{name}.ome.zarr"
        words = ["predict", run, str(path), str(out), "--tables", "--threshold", "0.5"]
        assert run_command([*words, *more]) == 0
        tables[name] = (tmp_path / f"{name}.ome.zarr.tables" / "objects.csv").read_text()
        assert (tmp_path / f"{name}.ome.zarr.html").exists()
    assert tables["memory"] == tables["blocks"]
    assert "every connected piece one object" in capsys.readouterr().out
    found = open_volume(tmp_path / "memory.ome.zarr").read()[0]
    assert tables["memory"].count("\n") == 1 + label(found, np.ones((3, 3, 3)))[1]
    probable = ["predict", run, str(path), str(tmp_path / "p.ome.zarr"), "--tables"]
    assert run_command([*probable, "--probabilities"]) == 2
    assert "probabilities are not counted" in capsys.readouterr().err
    # What belongs to an output goes with it.
    over = ["predict", run, str(path), str(tmp_path / "memory.ome.zarr"), "--overwrite"]
    assert run_command(over) == 0
    assert not (tmp_path / "memory.ome.zarr.tables").exists()
    assert not (tmp_path / "memory.ome.zarr.html").exists()


def test_the_verb_tables(image, path, tmp_path, capsys):
    pieces, count = label(image > 500)
    labels = tmp_path / "cubes.ome.tif"
    luxvox.save_volume(np.asarray(pieces, np.uint16), labels, voxel_size_um=SIZE, kind="labels")
    out = tmp_path / "tables"
    words = ["tables", str(labels), "--image", str(path), "--regions", "20,40,100", "--lengths"]
    assert run_command([*words, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert f"{count} objects (every label one object), 2 regions, " in shown
    assert [row["region"] for row in rows(out, "objects")] == ["1", "1", "1", "2", "2"]
    assert [row["objects"] for row in rows(out, "regions")] == ["3", "2"]
    assert float(rows(out, "objects")[0]["intensity_mean"]) == 1003
    assert run_command([*words, "--out", str(out)]) == 2
    assert "holds tables already" in capsys.readouterr().err
    assert run_command([*words, "--out", str(out), "--overwrite", "--classes"]) == 0
    assert "5 structures" in capsys.readouterr().out
    for more, expected in (
        (["--atlas", str(path)], "choose one"),
        (["--regions", "1,2"], "expected three numbers of voxels"),
        (["--channel", "1", "--overwrite"], "no channel"),
    ):
        assert run_command([*words, "--out", str(tmp_path / "o"), *more]) == 2
        shown = capsys.readouterr().err
        assert expected in shown
        assert shown.count("error: ") == 1


def test_previews_are_thinned_from_the_level_that_fits(tmp_path, monkeypatch):
    voxels = np.arange(40 * 400 * 500, dtype=np.float32).reshape(40, 400, 500)
    volume = open_volume(save_volume(voxels, tmp_path / "v.ome.zarr", voxel_size_um=SIZE))
    grid = preview_grid(volume)
    assert grid == (40, 160, 160)
    found = thinned(volume, grid)[0]
    z, y, x = (
        ((np.arange(side) + 0.5) * have / side).astype(int)
        for side, have in zip(grid, voxels.shape, strict=True)
    )
    assert len(volume.levels) > 2
    # From a coarser level: a mean of neighbours, within one of its voxels.
    assert np.abs(found - voxels[np.ix_(z, y, x)]).max() < 2 * 500 + 4
    flat = open_volume(save_volume(voxels, tmp_path / "v.ome.tif", voxel_size_um=SIZE))
    assert np.array_equal(thinned(flat, grid)[0], voxels[np.ix_(z, y, x)])
    monkeypatch.setattr("luxvox.predict.preview._STRIP", 100_000)  # many reads, the same picture
    assert np.array_equal(thinned(volume, grid)[0], found)
    assert np.array_equal(thinned(flat, grid)[0], voxels[np.ix_(z, y, x)])
    # A map is coarser than the preview of its image, and has many channels.
    small = np.random.default_rng(0).random((12, 2, 3, 4)).astype(np.float32)
    colours = as_colours(small)
    assert colours.shape == (2, 3, 4, 3)
    assert colours.std(axis=(0, 1, 2)).min() > 0.1
    assert np.array_equal(enlarged(small[0], (4, 3, 8))[::2, :, ::2], small[0])
    many = np.zeros((32, 40, 100, 100), np.float32)
    path = save_volume(many, tmp_path / "m.ome.zarr", voxel_size_um=SIZE, axes="czyx")
    assert preview_grid(open_volume(path)) == (40, 80, 80)


def test_what_belongs_to_labels_in_a_store_lies_beside_the_store(tmp_path):
    assert beside(tmp_path / "a.ome.zarr", ".run") == tmp_path / "a.ome.zarr.run"
    inside = tmp_path / "a.ome.zarr" / "labels" / "dots"
    assert beside(inside, ".html") == tmp_path / "a.ome.zarr.dots.html"
