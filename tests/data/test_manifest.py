"""Lists: what is read from which layout, what is refused, and how whole groups are held back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from luxvox.configs.errors import InputError
from luxvox.data.manifest import open_labels, open_row, read_dataset, split_rows


def _volume(path: Path, seed: int = 0, shape: tuple[int, ...] = (8, 9, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 500, shape, np.uint16)
    tifffile.imwrite(path, values, photometric="minisblack")
    return path


def _table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    for name in ("a", "b", "c"):
        _volume(folder / "raw" / f"{name}.tif")
    table = folder / "dataset.csv"
    table.write_text(text, encoding=encoding)
    return table


def test_a_table_gives_every_cell_its_type(tmp_path: Path) -> None:
    table = _table(
        tmp_path,
        "id,image,labels,group,split,caption,voxel_size_um,axes,ignore_label,foreground_label,na,"
        "class,best_z\n"
        'one,raw/a.tif,raw/b.tif,m1,VAL,"nuclei, dense",6 1.62 1.62,zyx,0 4,2,0.5,cell,3\n',
    )
    row = read_dataset(table).rows[0]
    assert row.image == tmp_path / "raw" / "a.tif"
    assert row.labels == tmp_path / "raw" / "b.tif"
    assert (row.id, row.group, row.split, row.caption) == ("one", "m1", "val", "nuclei, dense")
    assert row.voxel_size_um == (6.0, 1.62, 1.62)
    assert (row.ignore_label, row.foreground_label) == ((0, 4), 2)
    assert (row.class_name, row.na, row.best_z, row.stain) == ("cell", 0.5, 3.0, None)
    assert row.group_stated


def test_excel_export_with_mark_and_semicolons(tmp_path: Path) -> None:
    table = _table(tmp_path, "image;caption\nraw/a.tif;one, two\n\nraw/b.tif;\n", "utf-8-sig")
    rows = read_dataset(tmp_path).rows
    assert [row.id for row in rows] == ["a", "b"]
    assert [row.caption for row in rows] == ["one, two", None]
    assert rows[1].list_row == 4  # as the spreadsheet counts, blank rows included
    assert read_dataset(table).rows == rows


def test_paths_written_in_two_ways_are_one_file_and_one_group(tmp_path: Path) -> None:
    table = _table(tmp_path, "id,image\n1,raw/a.tif\n2,raw/../raw/a.tif\n")
    first, second = read_dataset(table).rows
    assert first.image == second.image
    assert first.group == second.group


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("image,captoin\nraw/a.tif,x\n", ["unknown column 'captoin'", "did you mean 'caption'"]),
        ("id,labels\n1,raw/a.tif\n", ["no column 'image'", "id, labels"]),
        ("image,image\nraw/a.tif,raw/b.tif\n", ["twice"]),
        ("image\nraw/a.tif\nraw/x.tif\n", ["row 3", "image not found", "x.tif"]),
        ("image\nraw/c.tiff\n", ["row 2", "did you mean 'c.tif'"]),
        ("id,image\n1,raw/a.tif\n1,raw/b.tif\n", ["row 3", "id '1'", "row 2"]),
        ("image,voxel_size_um\nraw/a.tif,6 1.62\n", ["row 2", "voxel_size_um", "z y x"]),
        ("image,voxel_size_um\nraw/a.tif,6 0 1\n", ["row 2", "voxel_size_um", "positive"]),
        ('image,best_z\nraw/a.tif,"3,5"\n', ["row 2", "best_z", "'3,5'", "decimal point"]),
        ("image,na\nraw/a.tif,-1\n", ["row 2", "'na'", "above 0"]),
        ("image,ignore_label\nraw/a.tif,1 x\n", ["ignore_label", "'1 x'", "whole number"]),
        ("image,foreground_label\nraw/a.tif,inf\n", ["foreground_label", "whole number"]),
        ("image,axes\nraw/a.tif,zyq\n", ["row 2", "axes", "'q'"]),
        ("image,split\nraw/a.tif,valid\n", ["'valid'", "train, val or test"]),
        ("image,caption\nraw/a.tif,one, two\n", ["row 2 has 3 cells", "double quotes"]),
        ("image,caption\n,x\n", ["row 2 has no image"]),
        (
            "image,group,split\nraw/a.tif,g,train\nraw/b.tif,g,val\n",
            ["row 3", "group 'g'", "val", "train"],
        ),
        # A row without a split belongs to train where others have one.
        ("image,group,split\nraw/a.tif,g,\nraw/b.tif,g,test\n", ["group 'g'", "test"]),
        ("image\n", ["no rows"]),
        ("", ["empty file"]),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(tmp_path: Path, text: str, parts: list[str]) -> None:
    table = _table(tmp_path, text)
    with pytest.raises(InputError) as error:
        read_dataset(table)
    message = str(error.value)
    assert "\n" not in message
    assert str(table) in message
    for part in parts:
        assert part in message


def test_many_missing_files_are_counted_not_listed(tmp_path: Path) -> None:
    table = _table(tmp_path, "image\n" + "".join(f"no/{i}.tif\n" for i in range(20)))
    with pytest.raises(InputError, match=r"row 4.*and 17 more"):
        read_dataset(table)


def test_latin1_table_is_refused(tmp_path: Path) -> None:
    table = _table(tmp_path, "image,stain\nraw/a.tif,5 µm\n", "latin-1")
    with pytest.raises(InputError, match="UTF-8"):
        read_dataset(table)


def test_folder_and_glob_take_every_volume_once(tmp_path: Path) -> None:
    for day in ("d1", "d2"):
        _volume(tmp_path / day / "x.tif")
        _volume(tmp_path / day / f"only_{day}.tif")
    (tmp_path / "d1" / "notes.txt").write_text("no volume")
    flat = read_dataset(tmp_path / "d1").rows
    assert [row.id for row in flat] == ["only_d1", "x"]
    rows = read_dataset(str(tmp_path / "**" / "*.tif")).rows
    assert {row.group for row in rows} == {"d1/x", "d2/x", "only_d1", "only_d2"}
    assert not any(row.group_stated for row in rows)
    with pytest.raises(InputError, match="matches no volume"):
        read_dataset(str(tmp_path / "*.nii"))
    with pytest.raises(InputError, match="one level deeper"):
        read_dataset(tmp_path)
    with pytest.raises(InputError, match="not found"):
        read_dataset(tmp_path / "nowhere")


def test_folder_of_slices_is_one_volume(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    for z in range(4):
        _volume(folder / f"z{z:03d}.tif", z, (16, 12))
    rows = read_dataset(folder).rows
    assert [row.image for row in rows] == [folder]
    assert open_row(rows[0]).shape == (4, 16, 12)


def test_single_volume_opens_with_what_the_list_states(tmp_path: Path) -> None:
    path = _volume(tmp_path / "a.tif")
    assert open_row(read_dataset(path).rows[0]).shape == (8, 9, 10)
    table = tmp_path / "dataset.csv"
    table.write_text("image,labels,axes,voxel_size_um\na.tif,a.tif,xyz,4 2 1\n")
    row = read_dataset(table).rows[0]
    volume = open_row(row)
    assert volume.shape == open_labels(row).shape == (10, 9, 8)
    assert volume.voxel_size_um == (4.0, 2.0, 1.0)
    with pytest.raises(InputError, match="no labels"):
        open_labels(read_dataset(path).rows[0])


def test_reference_naming_pairs_labels_and_blurred(tmp_path: Path) -> None:
    for name in ("vessels_patch_001_vol006_ch1", "cell_nucleus_patch_001_vol006_ch0"):
        for ending in ("", "_label", "_blurred"):
            _volume(tmp_path / f"{name}{ending}.tif")
    rows = read_dataset(tmp_path).rows
    assert [row.class_name for row in rows] == ["cell_nucleus", "vessels"]
    # The same volume number in two classes is two volumes.
    assert [row.group for row in rows] == ["cell_nucleus_vol006", "vessels_vol006"]
    assert [row.labels.name for row in rows if row.labels] == [
        f"{row.image.stem}_label.tif" for row in rows
    ]
    pairs = read_dataset(tmp_path, restore=True).rows
    assert [row.image.name for row in pairs] == [f"{row.image.stem}_blurred.tif" for row in rows]
    assert [row.target for row in pairs] == [row.image for row in rows]


def test_nnunet_layout(tmp_path: Path) -> None:
    for case in ("m1", "m2"):
        _volume(tmp_path / "imagesTr" / f"{case}_0000.tif")
        _volume(tmp_path / "labelsTr" / f"{case}.tif")
    _volume(tmp_path / "imagesTs" / "m3_0000.tif")
    card = {
        "channel_names": {"0": "DAPI"},
        "labels": {"background": 0, "vessel": 1, "ignore": 2},
    }
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    rows = read_dataset(tmp_path).rows
    assert [(row.group, row.split) for row in rows] == [
        ("m1", "train"),
        ("m2", "train"),
        ("m3", "test"),
    ]
    assert rows[0].labels == tmp_path / "labelsTr" / "m1.tif"
    assert (rows[0].stain, rows[0].structure) == ("DAPI", "vessel")
    assert (rows[0].foreground_label, rows[0].ignore_label) == (1, (2,))


def _grouped(folder: Path, groups: str, splits: str = "") -> Path:
    lines = ["id,image,group,split"]
    for i, group in enumerate(groups):
        _volume(folder / f"{i}.tif")
        split = {"t": "train", "v": "val", "e": "test"}.get(splits[i : i + 1], "")
        lines.append(f"{i},{i}.tif,{group},{split}")
    table = folder / "dataset.csv"
    table.write_text("\n".join(lines))
    return table


def test_stated_split_is_kept_and_test_rows_are_left_out(tmp_path: Path) -> None:
    dataset = read_dataset(_grouped(tmp_path, "aabbcc", "ttvvee"))
    train, val = split_rows(dataset, val_fraction=0.5, seed=0)
    assert [row.id for row in train] == ["0", "1"]
    assert [row.id for row in val] == ["2", "3"]


def test_drawn_split_never_cuts_a_group(tmp_path: Path) -> None:
    dataset = read_dataset(_grouped(tmp_path, "aaabbcccddeeffgh"))
    seen = set()
    for seed in range(12):
        train, val = split_rows(dataset, val_fraction=0.25, seed=seed)
        assert {row.group for row in train}.isdisjoint(row.group for row in val)
        assert len(train) + len(val) == 16
        assert 1 <= len(val) <= 4
        assert split_rows(dataset, val_fraction=0.25, seed=seed) == (train, val)
        seen.add(tuple(row.id for row in val))
    assert len(seen) > 3  # the seed matters


def test_train_and_test_only_still_draws_val_from_train(tmp_path: Path) -> None:
    dataset = read_dataset(_grouped(tmp_path, "abcde", "tttte"))
    train, val = split_rows(dataset, val_fraction=0.25, seed=0)
    assert (len(train), len(val)) == (3, 1)
    assert "4" not in {row.id for row in (*train, *val)}


def test_one_group_cannot_be_validated(tmp_path: Path) -> None:
    dataset = read_dataset(_grouped(tmp_path, "aaa"))
    with pytest.raises(InputError, match="val_fraction to 0"):
        split_rows(dataset, val_fraction=0.2, seed=0)
    assert split_rows(dataset, val_fraction=0, seed=0) == (dataset.rows, ())


def test_large_groups_hold_back_the_smallest(tmp_path: Path) -> None:
    dataset = read_dataset(_grouped(tmp_path, "aaaabbb"))
    _, val = split_rows(dataset, val_fraction=0.1, seed=0)
    assert {row.group for row in val} == {"b"}


def test_nothing_to_train_on(tmp_path: Path) -> None:
    dataset = read_dataset(_grouped(tmp_path, "ab", "ve"))
    with pytest.raises(InputError, match="no row to train on"):
        split_rows(dataset, val_fraction=0.2, seed=0)


def test_the_shared_lists_read_and_open(shared_data: Path) -> None:
    train, val = split_rows(
        read_dataset(shared_data / "pretrain" / "dataset.csv"), val_fraction=0.2, seed=0
    )
    assert (len(train), len(val)) == (44, 12)
    row = read_dataset(shared_data / "segment" / "delivr_cfos").rows[0]
    assert open_row(row).voxel_size_um == (6.0, 1.62, 1.62)
    assert open_row(row).shape == open_labels(row).shape
