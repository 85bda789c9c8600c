"""The three tables of the older workflow, and its defects: names, units, colours, empty cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from luxvox.configs.errors import InputError
from luxvox.data.focus_images import read_slice, read_slices
from luxvox.data.focus_labels import FocusUnits
from luxvox.data.focus_lists import (
    join_scores,
    read_focus_list,
    write_focus_list,
    write_scores,
)
from luxvox.data.focus_row import FocusRow, labelled_scores, score_unit


def stacks(folder: Path, names=("S001", "S002"), planes=(-1, 0, 1), offset: int = 0) -> Path:
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for z in planes:
            image = np.full((8, 9), 100 * number + z + 10 + offset, np.uint16)
            tifffile.imwrite(folder / name / f"{name.split('/')[-1]}_z{z}.tif", image)
    return folder


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_folder_of_stacks(tmp_path):
    rows = read_focus_list(stacks(tmp_path))
    assert [(r.stack_id, r.z_index, r.best_z, r.group) for r in rows if r.stack_id == "S002"] == [
        ("S002", -1, 0, "S002"), ("S002", 0, 0, "S002"), ("S002", 1, 0, "S002"),
    ]  # fmt: skip
    assert [r.z_um for r in rows] == [None] * 6
    assert score_unit(rows) == "slices"
    assert labelled_scores(rows, 2.0) == pytest.approx([0.8, 1, 0.8] * 2)
    assert read_slice(rows[0]).max() == 9


def test_stacks_of_one_name_stay_apart(tmp_path):
    """Two days, the same names: the older workflow joined by file name."""
    stacks(tmp_path, ("day1/S001", "day2/S001"))
    lines = [
        f"{day}/S001/S001_z{z}.tif,{z},{0.9 if day == 'day1' else 0.1}"
        for day in ("day1", "day2")
        for z in (-1, 0, 1)
    ]
    scores = read_focus_list(table(tmp_path / "s.csv", "image_path,z_um,focus_score", *lines))
    images = read_focus_list(
        table(tmp_path / "i.csv", "image_path", *(line.split(",")[0] for line in reversed(lines)))
    )
    joined = join_scores(images, scores, "s.csv")
    assert len(joined) == 6
    assert {r.score for r in joined if r.stack_id == "day1/S001"} == {0.9}
    assert {r.score for r in joined if r.stack_id == "day2/S001"} == {0.1}
    assert [r.image_path for r in joined] == [r.image_path for r in images]


@pytest.mark.parametrize(
    "name", ["flat/S001_z3.tif", "S001/S002_z3.tif", "Sample5/Sample5_1_AA.tif", "A/A.tif"]
)
def test_a_stack_or_z_that_nobody_says_is_an_error(name, tmp_path):
    """No group of things unknown, no z of None."""
    with pytest.raises(InputError, match=r"row 2.*stack_id and z_index"):
        read_focus_list(table(tmp_path / "l.csv", "image_path", name))
    stated = table(tmp_path / "k.csv", "image_path,stack_id,z_index", f"{name},mine,-4")
    assert read_focus_list(stated)[0].key == ("mine", "", -4)


def test_doubles_are_named(tmp_path):
    lines = ["a.tif,s,1", "b.tif,s,1"]
    with pytest.raises(InputError, match=r"row 3.*'s'.*z 1 stands in .*row 2"):
        read_focus_list(table(tmp_path / "l.csv", "image_path,stack_id,z_index", *lines))
    apart = ["a.tif,s,1,w1", "b.tif,s,1,w2"]
    rows = read_focus_list(table(tmp_path / "m.csv", "image_path,stack_id,z_index,channel", *apart))
    assert {row.channel for row in rows} == {"w1", "w2"}


def test_an_index_in_the_column_of_um_is_no_um(tmp_path):
    """The older workflow wrote the number of the file name as z_um."""
    head = "image_path,z_um,focus_score"
    index = read_focus_list(table(tmp_path / "a.csv", head, "S1/S1_z-4.tif,-4,0.2"))
    assert (index[0].z_index, index[0].z_um, index[0].distance_um) == (-4, None, None)
    true = read_focus_list(table(tmp_path / "b.csv", head, "S1/S1_z-4.tif,-2.0,0.5"))
    assert (true[0].z_index, true[0].z_um) == (-4, -2.0)
    optics = "image_path,z_um,na,wavelength_nm,refractive_index,voxel_size_um"
    known = table(tmp_path / "c.csv", optics, "S1/S1_z-4.tif,-4,0.5,520,1.33,0.5 1 1")
    assert read_focus_list(known)[0].distance_um == -2.0


def test_tables_are_written_and_read(tmp_path):
    units = FocusUnits(0.5, 520.0, 1.33, (2.0, 0.5, 0.5))
    image = tmp_path / "a" / "x.tif"
    rows = [
        FocusRow(image, "s", 3, "w1", best_z=1.5, score=0.25, stain="DAPI", group="m", units=units),
        FocusRow(image, "s", 4, "w1", plane=7, best_z=1.5, group="m", units=units),
    ]
    (tmp_path / "out").mkdir()
    path = write_focus_list(tmp_path / "out" / "list.csv", rows)
    text = path.read_text()
    assert "../a/x.tif" in text
    assert str(tmp_path) not in text  # no paths of this machine
    read = read_focus_list(path)
    for given, found in zip(rows, read, strict=True):
        assert found.key == given.key
        assert (found.image_path, found.plane, found.score) == (image, given.plane, given.score)
        assert found.distance_um == (given.z_index - 1.5) * 2.0
        assert (found.stain, found.group) == (given.stain, "m")
    scores = write_scores(tmp_path / "scores.csv", rows).read_text().splitlines()
    assert scores[0].startswith("image_path,z_um,focus_score,")
    assert scores[1] == "a/x.tif,3,0.25,s,w1,3"


@pytest.mark.parametrize(
    ("head", "cells", "expected"),
    [
        ("image_path,focus_scor", "a,1", "did you mean 'focus_score'"),
        ("image_path,stack_id,z_index", "a,s,1.5", "whole number"),
        ("image_path,stack_id,z_index,focus_score", "a,s,1,1.77", "expected 0 to 1"),
        ("image_path,stack_id,z_index,z_um", "a,s,1,near", "finite number"),
        ("image_path,stack_id,z_index", "a,s", "2 cells, the header has 3"),
        ("image_path,stack_id,z_index", ",s,1", "no image_path"),
    ],
)
def test_wrong_cells_are_named(head, cells, expected, tmp_path):
    with pytest.raises(InputError, match=expected):
        read_focus_list(table(tmp_path / "l.csv", head, cells))


def test_lists_in_several_folders_mean_the_same_files(tmp_path):
    folder = stacks(tmp_path / "data")
    (tmp_path / "elsewhere").mkdir()
    line = "../data/S002/S002_z1.tif,0.5"
    scores = read_focus_list(
        table(tmp_path / "elsewhere" / "s.csv", "image_path,focus_score", line)
    )
    assert str(tmp_path) not in scores[0].stack_id
    joined = join_scores(read_focus_list(folder), scores, "s.csv")
    assert [(row.key, row.score, row.group) for row in joined] == [(("S002", "", 1), 0.5, "S002")]


def test_lists_without_a_slice_in_common(tmp_path):
    rows = read_focus_list(stacks(tmp_path))
    other = [FocusRow(Path("x"), "T9", 1, score=0.5)]
    with pytest.raises(InputError, match=r"by stack, channel and z.*'T9'.*'S001'"):
        join_scores(rows, other, "scores.csv")


def test_volumes_of_a_dataset_list_are_stacks(tmp_path):
    array = np.arange(3 * 8 * 9, dtype=np.uint16).reshape(3, 8, 9)
    tifffile.imwrite(
        tmp_path / "v.ome.tif", array, photometric="minisblack", metadata={"axes": "ZYX"}, ome=True
    )
    head = "image,best_z,na,wavelength_nm,refractive_index,voxel_size_um,group"
    rows = read_focus_list(table(tmp_path / "d.csv", head, "v.ome.tif,1,0.5,520,1.33,2 1 1,m7"))
    assert [r.distance_um for r in rows] == [-2, 0, 2]
    assert {r.group for r in rows} == {"m7"}
    assert score_unit(rows) == "um"
    assert (read_slice(rows[2]) == array[2]).all()


def test_a_stack_is_not_a_colour_image(tmp_path):
    """Three axes are no colours unless the file says so."""
    tifffile.imwrite(tmp_path / "z.tif", np.zeros((5, 8, 9), np.uint16), metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match=r"axes ZYX.*expected one slice"):
        read_slice(FocusRow(tmp_path / "z.tif", "s", 0))
    rgb = np.zeros((8, 9, 3), np.uint8)
    rgb[..., 1] = 100
    tifffile.imwrite(tmp_path / "c.tif", rgb, photometric="rgb")
    row = FocusRow(tmp_path / "c.tif", "s", 0)
    assert read_slice(row).mean() == pytest.approx(71.52)
    assert read_slice(row, "green").mean() == 100
    assert read_slice(row, "red").mean() == 0


def test_png_by_channel_or_luminance(tmp_path):
    import imagecodecs

    grey = np.arange(72, dtype=np.uint16).reshape(8, 9) * 900
    (tmp_path / "g.png").write_bytes(imagecodecs.png_encode(grey))
    assert (read_slice(FocusRow(tmp_path / "g.png", "s", 0)) == grey).all()
    rgb = np.zeros((8, 9, 3), np.uint8)
    rgb[..., 2] = 50
    (tmp_path / "c.png").write_bytes(imagecodecs.png_encode(rgb))
    assert read_slice(FocusRow(tmp_path / "c.png", "s", 0), "blue").mean() == 50


def test_slices_of_several_sizes(tmp_path):
    folder = stacks(tmp_path, ("S001",))
    tifffile.imwrite(folder / "S001" / "S001_z1.tif", np.zeros((9, 9), np.uint16))
    rows = read_focus_list(folder)
    with pytest.raises(InputError, match=r"S001_z1.tif: \(9, 9\).*one size"):
        list(read_slices(sorted(rows, key=lambda row: row.z_index)))


def test_rows_that_know_nothing_of_focus(tmp_path):
    with pytest.raises(InputError, match="neither focus_score nor"):
        labelled_scores([FocusRow(tmp_path, "s", 1, best_z=0.0), FocusRow(tmp_path, "s", 2)])
