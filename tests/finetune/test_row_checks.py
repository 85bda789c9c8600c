"""Labels and targets that would teach something wrong are refused; channels are spoken of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tifffile

from luxvox.configs.errors import InputError
from luxvox.finetune.examples import label_values_of, load_example, load_support


@pytest.mark.parametrize("broken", [np.inf, -np.inf, np.nan, 0.5])
def test_labels_that_are_no_whole_numbers(labelled_row, balls, write, broken: float) -> None:
    labels = balls(1)[1].astype(np.float32)
    labels[0, 0, 0] = broken
    with pytest.raises(InputError, match=rf"v1\): labels hold broken numbers \(such as {broken}\)"):
        load_example(labelled_row(1, labels=write("broken", labels)), "segment")


def test_labels_below_zero_have_to_be_named(labelled_row, balls, write) -> None:
    labels = balls(1)[1].astype(np.int16)
    labels[:3] = -1
    row = labelled_row(1, labels=write("below", labels))
    with pytest.raises(InputError, match=r"row 3 \(v1\): labels hold -1, .*'ignore_label'"):
        load_example(row, "segment")
    with pytest.raises(InputError, match="labels hold -1"):
        label_values_of([row])
    example = load_example(labelled_row(1, labels=row.labels, ignore_label=(-1,)), "segment")
    assert example.counts is not None
    assert not example.counts[:3].any()
    assert example.counts[3:].all()


def test_the_first_channel_is_used_and_that_is_said(labelled_row, balls, tmp_path, capsys) -> None:
    def stacked(name: str, *arrays: Any) -> Any:
        path = tmp_path / f"{name}.ome.tif"
        tifffile.imwrite(path, np.stack(arrays), metadata={"axes": "CZYX"})
        return path

    image, labels = balls(1)
    several = load_example(labelled_row(1, image=stacked("two", image, image[::-1])), "segment")
    assert "warning: row 3 (v1): 2 channels, only the first is used" in capsys.readouterr().err
    alone = load_example(labelled_row(1), "segment")
    assert capsys.readouterr().err == ""
    assert np.allclose(several.image, alone.image)
    with pytest.raises(InputError, match="labels of 2 channels"):
        load_example(labelled_row(1, labels=stacked("l", labels, labels)), "segment")


def test_targets_that_show_nothing(labelled_row, balls, write) -> None:
    image, _ = balls(1)
    flat = labelled_row(1, target=write("flat", np.full_like(image, 5)))
    with pytest.raises(InputError, match=r"row 3 \(v1\): the target is flat .*both 5\)"):
        load_example(flat, "restore")
    holes = image.astype(np.float32)
    holes[2, :2, 0] = np.nan, np.inf
    with pytest.raises(InputError, match=r"row 3 \(v1\): 2 voxels of the target are NaN"):
        load_example(labelled_row(1, target=write("holes", holes)), "restore")


def test_ignored_values_are_not_named_as_found(labelled_row) -> None:
    row = labelled_row(1, foreground_label=1, ignore_label=(1,))
    with pytest.raises(InputError, match=r"that count: 0 2 3 .*foreground_label 1 .*ignore_label"):
        load_support([row], "segment")


def test_pairs_in_other_units_are_warned_of(labelled_row, write, balls, capsys) -> None:
    image, labels = balls(1)
    dye = write("dye", (labels > 0).astype(np.float32))
    load_example(labelled_row(1, target=dye), "restore")
    assert "target 1 " in capsys.readouterr().err
    same = write("same", (image * 0.5).astype(np.float32))
    load_example(labelled_row(1, target=same), "restore")
    assert not capsys.readouterr().err
