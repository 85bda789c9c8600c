"""Rows become examples, and every mistake in them is one line that says what to do."""

from __future__ import annotations

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.data.normalize import denormalize
from luxvox.finetune.examples import label_values_of, load_example, load_support


def test_an_example_is_the_normalised_image_with_its_labels(labelled_row, balls) -> None:
    image, labels = balls(1)
    example = load_example(labelled_row(1), "segment")
    assert example.image.dtype == np.float32
    assert np.allclose(denormalize(example.image.astype(float), example.stats), image, atol=0.01)
    assert np.array_equal(example.labels, labels > 0)
    assert example.labels.dtype == np.int64
    assert example.counts.all()
    assert example.voxel_size_um == (2.0, 1.0, 1.0)
    assert (example.id, example.group, example.structure) == ("v1", "g1", "nuclei")


def test_one_label_value_may_be_meant_and_others_ignored(labelled_row, balls) -> None:
    _, labels = balls(1)
    example = load_example(labelled_row(1, foreground_label=2, ignore_label=(3, 4)), "segment")
    assert np.array_equal(example.labels, labels == 2)
    assert np.array_equal(example.counts, ~np.isin(labels, (3, 4)))
    told = load_example(labelled_row(1), "segment", foreground_label=5)
    assert np.array_equal(told.labels, labels == 5)


def test_sparse_slices_are_labels_with_the_rest_ignored(labelled_row, balls, write) -> None:
    _, labels = balls(1)
    sparse = np.full_like(labels, 255)
    sparse[5] = labels[5]
    row = labelled_row(1, labels=write("sparse", sparse), ignore_label=(255,))
    (example,) = load_support([row], "segment")
    assert example.counts[5].all()
    assert not np.delete(example.counts, 5, axis=0).any()
    assert example.labels[~example.counts].max() == 0
    assert label_values_of([row]) == tuple(sorted({0, *np.unique(labels[5]).tolist()}))


def test_classes_are_the_values_of_the_support(labelled_row, balls, write) -> None:
    _, labels = balls(1)
    values = np.array([0, 7, 3, 7, 3, 7, 3], np.uint8)[labels]
    row = labelled_row(1, labels=write("classes", values))
    assert label_values_of([row]) == (0, 3, 7)
    (example,) = load_support([row], "segment", classes=True)
    assert np.array_equal(example.labels, np.select([values == 3, values == 7], [1, 2], 0))
    strange = labelled_row(2, labels=write("strange", np.where(values == 7, 9, values)))
    with pytest.raises(InputError, match=r"row 4 \(v2\): labels hold 9, expected only .* 0 3 7"):
        load_example(strange, "segment", (0, 3, 7))


def test_targets_are_normalised_as_their_image_is(labelled_row, balls, write) -> None:
    image, _ = balls(1)
    row = labelled_row(1, target=write("target", image + 50))
    example = load_example(row, "restore")
    restored = denormalize(example.target.astype(float), example.stats)
    assert np.allclose(restored, image + 50, atol=0.01)
    assert example.labels is None
    with pytest.raises(InputError, match=r"target of \(10, 32, 32\).*image of \(20, 32, 32\)"):
        load_example(labelled_row(1, target=write("short", image[:10])), "restore")


@pytest.mark.parametrize(
    ("task", "column"), [("segment", "labels"), ("restore", "target"), ("classify", "class")]
)
def test_a_missing_partner_is_named(labelled_row, task: str, column: str) -> None:
    with pytest.raises(InputError, match=f"no {column}, .*fill the column '{column}'"):
        load_example(labelled_row(1, labels=None), task)


def test_labels_of_another_shape_or_spacing_are_refused(labelled_row, balls, write) -> None:
    _, labels = balls(1)
    with pytest.raises(InputError, match=r"labels of \(20, 16, 32\) voxels .* \(20, 32, 32\)"):
        load_example(labelled_row(1, labels=write("half", labels[:, :16])), "segment")
    other = write("other", labels, (3.0, 1.0, 1.0))
    with pytest.raises(InputError, match=r"2 x 1 x 1 um .*3 x 1 x 1 um"):
        load_example(labelled_row(1, labels=other), "segment")
    # Within tolerance, unknown in one of them, or settled by the list: all fine.
    near, silent = write("near", labels, (2.05, 1.0, 1.0)), write("silent", labels, None)
    load_example(labelled_row(1, labels=near), "segment")
    load_example(labelled_row(1, labels=silent), "segment")
    load_example(labelled_row(1, labels=other, voxel_size_um=(2.0, 1.0, 1.0)), "segment")


def test_labels_without_foreground_or_background_are_refused(labelled_row, balls, write) -> None:
    _, labels = balls(1)
    empty = labelled_row(2, labels=write("empty", np.zeros_like(labels)))
    assert len(load_support([labelled_row(1), empty], "segment")) == 2  # one may be empty
    with pytest.raises(InputError, match=r"without any foreground \(values that count: 0\)"):
        load_support([empty], "segment")
    wrong = [labelled_row(1, foreground_label=99)]
    with pytest.raises(InputError, match="expected the foreground_label 99"):
        load_support(wrong, "segment")
    full = labelled_row(3, labels=write("full", np.ones_like(labels)))
    with pytest.raises(InputError, match="one class only"):
        load_support([full], "segment")
    with pytest.raises(InputError, match="every voxel of the labels is ignored"):
        load_support([labelled_row(3, labels=full.labels, ignore_label=(1,))], "segment")


def test_what_is_no_label_image_is_refused(labelled_row, balls, write) -> None:
    image, labels = balls(1)
    soft = write("soft", labels / np.float32(7))
    with pytest.raises(InputError, match="broken numbers"):
        load_example(labelled_row(1, labels=soft), "segment")
    swapped = labelled_row(1, image=write("a", labels), labels=write("b", image))
    with pytest.raises(InputError, match="as if the two were swapped"):
        load_example(swapped, "segment")


def test_one_class_of_volumes_is_refused(labelled_row) -> None:
    rows = [labelled_row(n, class_name="vessels") for n in (1, 2)]
    with pytest.raises(InputError, match="all of class 'vessels', expected two"):
        load_support(rows, "classify")
