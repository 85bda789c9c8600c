"""Tables: equal to scikit-image, whatever the boxes; across faces, in regions, along tubes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.measure import label, regionprops

from luxvox.configs.errors import InputError
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.data.volume import Volume
from luxvox.predict.tables.measure import Tables, measure
from luxvox.predict.tables.regions import atlas_regions, grid_regions
from luxvox.predict.union_find import UnionFind

SIZE = (4.0, 2.0, 1.0)
SHAPE = (50, 70, 90)


def saved(folder: Path, name: str, voxels: NDArray, size=SIZE, **options) -> Volume:
    kind = "labels" if voxels.dtype.kind in "ui" and "kind" not in options else "image"
    options = {"kind": kind, **options}
    path = save_volume(voxels, folder / f"{name}.ome.zarr", voxel_size_um=size, **options)
    return open_volume(path)


@pytest.fixture(scope="module")
def mask() -> NDArray[np.uint8]:
    """Winding pieces of two classes that touch each other, and a few single voxels."""
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.random(SHAPE), 2.5)
    found = (smooth > np.quantile(smooth, 0.85)).astype(np.uint8)
    found[:, 35:] *= 2
    found[rng.integers(0, 50, 20), rng.integers(0, 70, 20), rng.integers(0, 90, 20)] = 1
    return found


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint16]:
    return np.random.default_rng(1).poisson(300, SHAPE).astype(np.uint16)


@pytest.fixture(scope="module")
def volumes(mask, image, tmp_path_factory) -> tuple[Volume, Volume, Volume]:
    """Classes, their pieces as instances, and an image."""
    folder = tmp_path_factory.mktemp("tables")
    pieces = np.asarray(label(mask, connectivity=3)).astype(np.uint32)
    pieces[pieces > 0] += 1000  # numbers need not begin at 1
    return (
        saved(folder, "classes", mask), saved(folder, "pieces", pieces),
        saved(folder, "image", image, kind="image"),
    )  # fmt: skip


def same(one: Tables, other: Tables) -> None:
    for ours, theirs in zip(one, other, strict=True):
        assert (ours is None) == (theirs is None)
        for name in ours or {}:
            assert np.array_equal(ours[name], theirs[name]), name


def test_objects_are_those_of_scikit_image(volumes, image):
    _, pieces, picture = volumes
    table = measure(pieces, instances=True, image=picture, side=32).objects
    expected = regionprops(pieces.read()[0].astype(np.int64), image)
    assert len(expected) > 20
    rows = {number: row for row, number in enumerate(table["id"])}
    assert set(rows) == {int(one.label) for one in expected}
    for one in expected:
        row = rows[int(one.label)]
        got = {name: column[row] for name, column in table.items()}
        assert got["voxels"] == one.area
        assert got["volume_um3"] == one.area * 8
        assert np.allclose([got["z"], got["y"], got["x"]], one.centroid)
        assert np.allclose([got["z_um"], got["y_um"], got["x_um"]], one.centroid * np.array(SIZE))
        box = [got[f"{axis}_first"] for axis in "zyx"] + [got[f"{axis}_last"] + 1 for axis in "zyx"]
        assert tuple(box) == one.bbox
        assert np.isclose(got["extent"], one.extent)
        assert np.isclose(got["diameter_um"], 2 * one.equivalent_diameter_area)  # 8 um3 a voxel
        assert np.isclose(got["intensity_mean"], one.intensity_mean)
        assert np.isclose(got["intensity_sd"], one.intensity_std)
        assert got["intensity_max"] == one.intensity_max
        # Second moments in um, a voxel being a box.
        spread = np.cov((one.coords * SIZE).T, bias=True) if one.area > 1 else np.zeros((3, 3))
        axes = np.sqrt(20 * np.linalg.eigvalsh(spread + np.diag(np.square(SIZE)) / 12))
        found = [got[f"{name}_axis_um"] for name in ("short", "middle", "long")]
        assert np.allclose(found, axes, atol=1e-6)
        assert np.isclose(got["elongation"], axes[2] / axes[1])
        assert np.isclose(got["flatness"], axes[1] / axes[0])


def test_a_ball_has_its_diameter_and_a_rod_is_long(tmp_path):
    z, y, x = np.mgrid[:40, :40, :80] - np.array([20, 20, 20])[:, None, None, None]
    voxels = (z**2 + y**2 + x**2 <= 12.5**2).astype(np.uint32)
    voxels[18:22, 18:22, 40:80] = 2
    table = measure(saved(tmp_path, "two", voxels, (2, 2, 2)), instances=True).objects
    for name in ("diameter_um", "long_axis_um", "short_axis_um"):
        assert table[name][0] == pytest.approx(50, rel=0.02)
    assert table["elongation"][0] == pytest.approx(1, abs=0.01)
    assert table["elongation"][1] == pytest.approx(10, rel=0.02)
    assert table["flatness"][1] == pytest.approx(1)


@pytest.mark.parametrize("side", [64, 96, 128])
def test_neither_boxes_nor_shards_leave_a_trace(volumes, mask, image, tmp_path, side):
    """Classes over boxes of any size, and stored in shards of any size."""
    classes, _, picture = volumes
    regions = grid_regions(SHAPE, (25, 30, 40))
    expected = measure(classes, instances=False, image=picture, regions=regions, side=17)
    shards = saved(tmp_path, "shards", mask, chunks=(32, 32, 32), shards=(side, side, side))
    found = measure(shards, instances=False, image=picture, regions=regions, side=side // 2)
    same(found, expected)


def test_pieces_are_those_of_the_whole_volume(volumes, mask):
    classes, _, _ = volumes
    whole = np.asarray(label(mask, connectivity=3))
    for side in (11, 23, 200):
        table = measure(classes, instances=False, side=side).objects
        assert np.array_equal(table["id"], np.arange(1, whole.max() + 1))
        assert np.array_equal(table["voxels"], np.bincount(whole.reshape(-1))[1:])
        firsts = np.unique(whole, return_index=True)[1][1:]
        assert np.array_equal(table["label"], mask.reshape(-1)[firsts])


def test_structures_and_regions_add_up(volumes, mask):
    classes, _, _ = volumes
    side = (25, 30, 40)
    tables = measure(
        classes, instances=False, regions=grid_regions(SHAPE, side), names={2: "soma"}, side=33
    )
    whole, parts = tables.structures, tables.regions
    assert parts is not None
    assert list(whole["label"]) == [1, 2]
    assert list(whole["name"]) == ["", "soma"]
    voxels = [(mask == value).sum() for value in (1, 2)]
    assert list(whole["voxels"]) == voxels
    assert np.allclose(whole["volume_fraction"], np.array(voxels) / mask.size)
    mm3 = mask.size * 8e-9
    assert np.allclose(whole["objects_per_mm3"], whole["objects"] / mm3)
    assert whole["objects"].sum() == len(tables.objects["id"])
    assert list(parts["region"]) == sorted([*range(1, 2 * 3 * 3 + 1)] * 2)
    assert parts["region_voxels"].sum() == 2 * mask.size
    for value, total in zip((1, 2), voxels, strict=True):
        ours = parts["label"] == value
        assert parts["voxels"][ours].sum() == total
        assert parts["objects"][ours].sum() == (tables.objects["label"] == value).sum()
    # Region 6 is the second along x, in the second row of the first layer of 3 x 3.
    row = (parts["region"] == 5) & (parts["label"] == 1)
    assert parts["voxels"][row] == (mask[:25, 30:60, 40:80] == 1).sum()
    table = tables.objects
    at = np.floor(np.stack([table[axis] for axis in "zyx"], 1) + 0.5) // side
    assert np.array_equal(table["region"], 1 + at @ [9, 3, 1])


def test_an_atlas_of_other_voxels_lies_on_the_labels(volumes, mask, tmp_path):
    classes, _, _ = volumes
    # Areas of 2 x 2 x 2 labels voxels, numbered as atlases do, with a hole.
    coarse = np.random.default_rng(2).choice([0, 7, 614454277], (25, 35, 45)).astype(np.uint32)
    atlas = saved(tmp_path, "atlas", coarse, (8, 4, 2))
    fine = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    parts = measure(
        classes, instances=False, regions=atlas_regions(atlas, classes), side=29
    ).regions
    assert parts is not None
    assert sorted(set(parts["region"])) == [0, 7, 614454277]
    for region, value, voxels, space in zip(
        parts["region"], parts["label"], parts["voxels"], parts["region_voxels"], strict=True
    ):
        assert voxels == ((mask == value) & (fine == region)).sum()
        assert space == (fine == region).sum()
    # An atlas that says where it lies is taken at its word; beyond it is region 0.
    moved = saved(tmp_path, "moved", coarse, (8, 4, 2), translation_um=(2.0 + 40, 1.0, 0.5))
    read = atlas_regions(moved, classes)((slice(0, 50), slice(0, 70), slice(0, 90)))
    assert np.array_equal(read[10:], fine[:40])
    assert not read[:10].any()


def planes(number: int, side: int = 6, first: int = 1) -> NDArray[np.uint32]:
    """[number, side, side], every plane along z an area of its own."""
    return np.full((number, side, side), 1, np.uint32) * np.arange(
        first, first + number, dtype=np.uint32
    ).reshape(-1, 1, 1)


def test_labels_of_a_crop_find_the_areas_of_the_whole(tmp_path):
    everywhere = (slice(0, 8), slice(0, 6), slice(0, 6))
    # 30 planes of areas; the labels are planes 20 to 27 of the frame.
    atlas = saved(tmp_path, "atlas", planes(30), (1, 1, 1))
    crop = saved(tmp_path, "crop", planes(8), (1, 1, 1), translation_um=(20.0, 0.0, 0.0))
    assert np.array_equal(atlas_regions(atlas, crop)(everywhere), planes(8, first=21))
    parts = measure(crop, instances=False, regions=atlas_regions(atlas, crop)).regions
    assert parts is not None
    assert sorted(set(parts["region"])) == list(range(21, 29))
    # Coarse areas, 8 um of planes of 2 um: the crop counts where the whole counts, at every plane.
    coarse = saved(tmp_path, "coarse", planes(10), (8, 8, 8))
    whole = saved(tmp_path, "whole", planes(40, 24), (2, 2, 2))
    read = atlas_regions(coarse, whole)
    for first in (1, 7, 20):
        place = (2.0 * first, 2.0 * 5, 0.0)
        cut = saved(tmp_path, f"cut{first}", planes(8), (2, 2, 2), translation_um=place)
        there = (slice(first, first + 8), slice(5, 11), slice(0, 6))
        assert np.array_equal(atlas_regions(coarse, cut)(everywhere), read(there)), first
    # Both say where they lie: as many voxels at other places are no common grid.
    beside = saved(tmp_path, "beside", planes(8), (1, 1, 1), translation_um=(24.0, 0.0, 0.0))
    found = atlas_regions(beside, crop)(everywhere)
    assert not found[:4].any()
    assert np.array_equal(found[4:], planes(4))


def test_what_does_not_fit_is_said_in_one_line(volumes, tmp_path):
    classes, _, picture = volumes
    share = saved(tmp_path, "share", np.ones((4, 4, 4), np.float32))
    unknown = saved(tmp_path, "unknown", np.ones((4, 4, 4), np.uint8), None)
    far = saved(tmp_path, "far", np.ones((4, 4, 4), np.uint8), translation_um=(9e6, 0.0, 0.0))
    several = saved(tmp_path, "several", np.ones((2, 4, 4, 4), np.uint8), axes="czyx")
    half = saved(tmp_path, "half", np.full(SHAPE, 0.5, np.float32))
    minus = saved(tmp_path, "minus", np.full((4, 4, 4), -1, np.int16))
    for attempt, expected in (
        (lambda: measure(picture, instances=False, image=several), "2 channels, expected one"),
        (lambda: measure(several, instances=False), "expected labels of one channel"),
        (lambda: measure(share, instances=False), "expected labels, which are whole numbers"),
        (lambda: measure(unknown, instances=False, lengths=True), "the voxel size is unknown"),
        (lambda: measure(classes, instances=False, image=unknown), "convert it with --voxel-size"),
        (lambda: atlas_regions(far, classes), "lies beside"),
        (lambda: grid_regions(SHAPE, (0, 4, 4)), "expected sides of at least 1"),
        (
            lambda: measure(classes, instances=False, regions=atlas_regions(half, classes)),
            "no area numbers",
        ),
        (lambda: measure(minus, instances=True), "a label of -1, expected 0 or more"),
    ):
        with pytest.raises(InputError, match=expected) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_background_unknown_sizes_and_nothing(tmp_path):
    voxels = np.full((8, 8, 8), 9, np.uint8)
    empty = measure(saved(tmp_path, "e", voxels, None), instances=False, background=9)
    assert len(empty.objects["id"]) == len(empty.structures["label"]) == 0
    voxels[2:4, 2:4, 2:5] = 3
    tables = measure(saved(tmp_path, "v", voxels, None), instances=False, background=9)
    assert tables.objects["voxels"].tolist() == [12]
    assert np.isnan(tables.objects["volume_um3"]).all()
    assert np.isnan(tables.structures["objects_per_mm3"]).all()
    assert tables.objects["extent"].tolist() == [1]
    tables.write(tmp_path / "out")
    with (tmp_path / "out" / "objects.csv").open() as file:
        row = next(csv.DictReader(file))
    assert row["volume_um3"] == ""
    assert row["z_last"] == "3"
    from pyarrow import parquet

    read = parquet.read_table(tmp_path / "out" / "objects.parquet").to_pydict()
    assert read["volume_um3"] == [None]
    assert list(read) == list(row) == list(tables.objects)
    assert not (tmp_path / "out" / "regions.csv").exists()


def tube(points: NDArray, radius: float, shape, size) -> NDArray[np.uint8]:
    """Everything within `radius` um of a line through points (um)."""
    from scipy.ndimage import distance_transform_edt

    seeds = np.ones(shape, bool)
    seeds[tuple(np.rint(points / size).astype(int).T)] = False
    return (np.asarray(distance_transform_edt(seeds, sampling=size)) <= radius).astype(np.uint8)


@pytest.mark.parametrize("size", [(2.0, 2.0, 2.0), (4.0, 2.0, 2.0)])
def test_tubes_have_their_length_and_boxes_count_a_line_once(tmp_path, size):
    shape = (40, 90, 130)
    along = np.linspace(0, 1, 3000)[:, None]
    ends = np.array([[16.0, 20, 20], [16 + 30, 140, 230]])
    straight = ends[0] + along * (ends[1] - ends[0])
    around = np.pi * (0.2 + 1.6 * along)
    arc = np.hstack([0 * along + 40, 90 + 60 * np.sin(around), 130 + 60 * np.cos(around)])
    for line, length in (
        (straight, np.linalg.norm(ends[1] - ends[0])),
        (arc, 60 * 1.6 * np.pi),
    ):
        voxels = tube(line, 5.0, shape, size)
        found = saved(tmp_path / str(length), "tube", voxels, size)
        sums = []
        for side in (48, 64, 200):
            tables = measure(found, instances=False, lengths=True, side=side)
            sums.append(float(tables.structures["length_um"][0]))
        assert sums == pytest.approx([length] * 3, rel=0.03), length
        assert sums[:2] == pytest.approx([sums[2]] * 2, rel=0.01)
        mm3 = np.prod(shape) * np.prod(size) * 1e-9
        density = tables.structures["length_mm_per_mm3"][0]
        assert density == pytest.approx(sums[2] / 1000 / mm3)


def test_lengths_go_to_the_region_and_structure_they_lie_in(tmp_path):
    voxels = np.zeros((12, 24, 120), np.uint8)
    voxels[4:7, 4:7, 10:110] = 1
    voxels[4:7, 14:17, 10:60] = 2
    found = saved(tmp_path, "two", voxels, (1, 1, 1))
    regions = grid_regions(found.shape, (12, 24, 30))
    tables = measure(found, instances=False, lengths=True, regions=regions, side=50)
    parts = tables.regions
    assert parts is not None
    long = parts["length_um"][parts["label"] == 1]
    assert long == pytest.approx([19, 30, 30, 19], abs=1.6)
    assert parts["length_um"][parts["label"] == 2] == pytest.approx([19, 29, 0, 0], abs=1.6)
    assert tables.structures["length_um"] == pytest.approx([98, 48], abs=2.1)


def test_union_find_keeps_the_smallest():
    found = UnionFind()
    assert list(found.add(3)) == [1, 2, 3]
    assert list(found.add(4)) == [4, 5, 6, 7]
    for pair in ((2, 7), (7, 5), (6, 5), (1, 3)):
        found.join(*pair)
    assert list(found.roots()) == [0, 1, 2, 1, 4, 2, 2, 2]
    assert len(found) == 7
