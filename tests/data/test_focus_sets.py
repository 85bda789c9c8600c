"""Adapters of published sets, on made-up trees of their layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from luxvox.configs.errors import InputError
from luxvox.data.focus_lists import read_focus_list
from luxvox.data.focus_row import by_stack, labelled_scores
from luxvox.data.focus_sets.bbbc006 import read_bbbc006
from luxvox.data.focus_sets.fluomix import read_fluomix
from luxvox.data.focus_sets.focuspath import read_focuspath
from luxvox.data.focus_sets.ncsu_sweep import read_ncsu_sweep
from luxvox.data.focus_sets.published import read_published
from luxvox.data.focus_sets.tcga_focus import read_tcga_focus


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_fluomix(tmp_path):
    brain = "D1_Sequence001_Mosaic002_s03_z07_ch01_SV_ALEXA-488"
    other = "D1_Sequence001_Mosaic002_s03_z07_ch02_SV_DAPI"
    liver = "L2_Mosaic005_s11_z20_ch00_SV_DAPI"
    touch(*(tmp_path / f"{name}.tif" for name in (brain, other, liver)))
    train, test = tmp_path / "brain_train.txt", tmp_path / "liver_test.txt"
    train.write_text(f"{brain} 9 Alexa-488\n{other} 9 DAPI\n\n")
    test.write_text(f"{liver}.tif 4 DAPI\n")
    rows = read_fluomix(tmp_path, [train, test])
    assert [r.key for r in rows] == [
        ("D1/001/Mosaic002/s03", "ch01", 7),
        ("D1/001/Mosaic002/s03", "ch02", 7),
        ("L2//Mosaic005/s11", "ch00", 20),
    ]
    assert [(r.level, r.stain, r.split) for r in rows] == [
        (9, "alexa-488", "brain_train"), (9, "dapi", "brain_train"), (4, "dapi", "liver_test"),
    ]  # fmt: skip
    # All channels and z of a field, and its neighbours, lie in one group.
    assert rows[0].group == rows[1].group != rows[2].group
    assert all(r.image_path.is_file() for r in rows)
    test.write_text("L2_Mosaic005_s11_z21_ch00_SV_DAPI 4 DAPI\n")
    with pytest.raises(InputError, match="line 1: no image L2_Mosaic005_s11_z21"):
        read_fluomix(tmp_path, [test])
    assert read_fluomix(tmp_path, [test], missing=True)[0].z_index == 21
    test.write_text("what_is_this.tif 4 DAPI\n")
    with pytest.raises(InputError, match="expected PREFIX_Mosaic"):
        read_fluomix(tmp_path, [test])


def test_bbbc006_meets_by_well_site_and_channel(tmp_path):
    name = "mcf-z-stacks-03212011_{}_s{}_w{}{}.tif"
    for z, mark in ((0, "a1"), (16, "b2"), (33, "c3")):
        folder = tmp_path / f"BBBC006_v1_images_z_{z:02d}"
        for channel in (1, 2):
            # The mark behind the channel is another one at every z.
            uuid = f"{mark}4e9fc1-67de-4c21-8e74-2d1d8b0a5a0{channel}"
            touch(folder / name.format("a01", 1, channel, uuid))
            touch(folder / name.format("p24", 2, channel, uuid))
    rows = read_bbbc006(tmp_path)
    stacks = by_stack(rows)
    assert set(stacks) == {(s, w) for s in ("a01/s1", "p24/s2") for w in ("w1", "w2")}
    sweep = stacks["a01/s1", "w2"]
    assert [r.level for r in sweep] == [-16, 0, 17]
    assert {(r.stain, r.group) for r in sweep} == {("phalloidin", "a01")}
    assert labelled_scores(sweep).argmax() == 1
    touch(tmp_path / "BBBC006_v1_images_z_16" / "thumbs.tif")
    with pytest.raises(InputError, match="thumbs"):
        read_bbbc006(tmp_path)
    with pytest.raises(InputError, match="BBBC006_v1_images_z_00"):
        read_bbbc006(tmp_path / "nowhere")


def test_focuspath_says_tif_and_means_png(tmp_path):
    name = "Slide01_Strip02_Slice{:02d}_Position03"
    touch(*(tmp_path / f"{name.format(n)}.png" for n in (4, 5)))
    table = tmp_path / "list.csv"
    table.write_text(f"{name.format(4)}.tif,1,2,4,3,0.7,-3\n{name.format(5)}.tif,1,2,5,3,0.9,0\n")
    rows = read_focuspath(tmp_path, table)
    assert [(r.key, r.level, r.group) for r in rows] == [
        (("Slide01/Strip02/Position03", "", 4), -3, "Slide01"),
        (("Slide01/Strip02/Position03", "", 5), 0, "Slide01"),
    ]
    assert labelled_scores(rows, sigma=3.0) == pytest.approx([0.5, 1.0])
    table.write_text(f"{name.format(6)}.tif,1,2,6,3,0.7,-3\n")
    with pytest.raises(InputError, match="no image Slide01_Strip02_Slice06"):
        read_focuspath(tmp_path, table)
    table.write_text("a,b\n")
    with pytest.raises(InputError, match="seven cells"):
        read_focuspath(tmp_path, table)


def test_tcga_has_no_stacks(tmp_path):
    for folder, slide in (
        ("In Focus", "TCGA-01"), ("Out of Focus", "TCGA-01"), ("Out of Focus (Marker)", "TCGA-02"),
    ):  # fmt: skip
        touch(tmp_path / folder / "Kidney" / slide / "patch_i_3_j_4.png")
    rows = read_tcga_focus(tmp_path)
    assert [r.level for r in rows] == [0, 1, 1]
    assert rows[0].group == rows[1].group == "Kidney/TCGA-01" != rows[2].group
    assert len(by_stack(rows)) == 3
    with pytest.raises(InputError, match="no patches"):
        read_tcga_focus(tmp_path / "nowhere")


def test_ncsu_sweep_in_um(tmp_path):
    for split, level, place in (
        ("train", 8, "1_2_3"),
        ("train", 26, "1_2_3"),
        ("test", 44, "4_5_6"),
    ):
        touch(tmp_path / split / str(level) / f"{place}_{level:02d}.tiff")
    rows = read_ncsu_sweep(tmp_path)
    assert [(r.stack_id, r.z_um, r.split) for r in rows] == [
        ("1_2_3", 0, "train"), ("1_2_3", -36, "train"), ("4_5_6", 36, "test"),
    ]  # fmt: skip
    assert labelled_scores(rows, sigma=36.0) == pytest.approx([1, 0.5, 0.5])
    touch(tmp_path / "val" / "26" / "7_8_9_29.tiff")
    with pytest.raises(InputError, match="level 29 in the folder of level 26"):
        read_ncsu_sweep(tmp_path)


def test_published_folders_are_known_by_their_layout(tmp_path):
    touch(tmp_path / "tcga" / "In Focus" / "lung" / "a" / "patch_i_1_j_2.png")
    touch(tmp_path / "ncsu" / "test" / "26" / "1_2_3_26.tiff")
    stem = "D1_Mosaic002_s03_z07_ch01_SV_DAPI"
    touch(tmp_path / "fluomix" / f"{stem}.tif", tmp_path / "other" / "S001" / "S001_z0.tif")
    (tmp_path / "fluomix" / "train.txt").write_text(f"{stem} 3 DAPI\n")
    patch = "Slide01_Strip02_Slice03_Position04"
    touch(tmp_path / "focuspath" / f"{patch}.png")
    (tmp_path / "focuspath" / "list.csv").write_text(f"{patch}.tif,1,2,3,4,0.5,-2\n")
    uuid = "mcf-z-stacks-03212011_a01_s1_w1a14e9fc1-67de-4c21-8e74-2d1d8b0a5a01.tif"
    touch(tmp_path / "bbbc006" / "BBBC006_v1_images_z_16" / uuid)
    levels = {"tcga": 0.0, "ncsu": None, "fluomix": 3.0, "focuspath": -2.0, "bbbc006": 0.0}
    for name, level in levels.items():
        assert [row.level for row in read_focus_list(tmp_path / name)] == [level], name
    assert read_published(tmp_path / "other") is None
    assert read_focus_list(tmp_path / "other")[0].stack_id == "S001"
