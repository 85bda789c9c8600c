from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.data.open import open_volume


@pytest.fixture
def zyx() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**16, (9, 20, 33)).astype(np.uint16)


def test_the_only_dataset_is_found_with_its_size(tmp_path: Path, zyx: np.ndarray) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("group/stack", data=zyx, chunks=(4, 8, 8), compression="gzip")
        dataset.attrs["element_size_um"] = (0.5, 0.2, 0.1)
        file["table"] = np.zeros((4, 4))
    volume = open_volume(tmp_path / "a.h5")
    assert volume.voxel_size_um == (0.5, 0.2, 0.1)
    assert volume.levels[0].chunks == (4, 8, 8)
    np.testing.assert_array_equal(volume.read()[0], zyx)
    again = pickle.loads(pickle.dumps(volume))
    np.testing.assert_array_equal(again.read((2, 3, 4), (5, 6, 7))[0], zyx[2:7, 3:9, 4:11])


def test_sizes_follow_the_axes(tmp_path: Path, zyx: np.ndarray) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("raw", data=zyx.transpose(2, 1, 0))
        dataset.attrs["element_size_um"] = (0.5, 0.2, 0.1)  # always (z, y, x)
        dataset.attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in "xyz"]})
    volume = open_volume(tmp_path / "a.h5")
    assert volume.voxel_size_um == (0.5, 0.2, 0.1)
    np.testing.assert_array_equal(volume.read()[0], zyx)


def test_image_and_labels_of_one_size_are_told_apart(tmp_path: Path, zyx: np.ndarray) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["label"], file["raw"] = zyx // 1000, zyx
    np.testing.assert_array_equal(open_volume(tmp_path / "a.h5").read()[0], zyx)
    for volume in (
        open_volume(tmp_path / "a.h5", dataset="label"),
        open_volume(tmp_path / "a.h5" / "label"),
    ):
        np.testing.assert_array_equal(volume.read()[0], zyx // 1000)
    with pytest.raises(InputError, match=r"a\.h5: no array 'nope' .*label 9x20x33"):
        open_volume(tmp_path / "a.h5", dataset="nope")


def test_what_cannot_be_told_apart_is_asked_for(tmp_path: Path, zyx: np.ndarray) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["first"], file["second"] = zyx, zyx
    with pytest.raises(InputError, match=r"several arrays of equal size.*first.*second"):
        open_volume(tmp_path / "a.h5")


def test_four_axes_are_asked_for_and_taken(tmp_path: Path, zyx: np.ndarray) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = np.stack([zyx, zyx + 1])
    with pytest.raises(InputError, match="4 axes"):
        open_volume(tmp_path / "a.h5")
    volume = open_volume(tmp_path / "a.h5", axes="czyx")
    assert volume.num_channels == 2
    np.testing.assert_array_equal(volume.read(channels=1)[0], zyx + 1)
    assert open_volume(tmp_path / "a.h5", axes="tzyx").num_times == 2


def test_a_file_without_a_volume_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = np.zeros((20, 30))
    with pytest.raises(InputError, match=r"a\.h5: no 3D array in it.*image 20x30"):
        open_volume(tmp_path / "a.h5")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_file_cut_short_is_one_clear_line(tmp_path: Path, zyx: np.ndarray, share: float) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", data=zyx, chunks=True, compression="gzip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"a\.h5: cannot be read as HDF5") as caught:
        open_volume(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_chunk_is_found_when_it_is_read(tmp_path: Path, zyx: np.ndarray) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("raw", data=zyx, chunks=(3, 20, 33), compression="gzip")
        offset = dataset.id.get_chunk_info(1).byte_offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 30] = bytes(30)
    path.write_bytes(data)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.read((0, 0, 0), (3, 20, 33))[0], zyx[:3])
    with pytest.raises(InputError, match=r"a\.h5: truncated or corrupt HDF5"):
        volume.read()


def letters(text: str) -> np.ndarray:
    """Text as Imaris stores it: an array of single characters."""
    return np.array([letter.encode() for letter in text], "S1")


def write_imaris(path: Path, array: np.ndarray) -> None:
    """Write [T, C, Z, Y, X] as Imaris does, with datasets filled up to whole chunks."""
    with h5py.File(path, "w") as file:
        for level, step in enumerate((1, 2)):
            for t, c in np.ndindex(array.shape[:2]):
                name = f"DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}"
                group = file.create_group(name)
                data = array[t, c, ::step, ::step, ::step]
                for axis, size in zip("ZYX", data.shape, strict=True):
                    group.attrs[f"ImageSize{axis}"] = letters(str(size))
                padded = np.pad(data, [(0, -size % 16) for size in data.shape])
                group.create_dataset("Data", data=padded, chunks=(16, 16, 16), compression="gzip")
        image = file.create_group("DataSetInfo/Image")
        image.attrs["Unit"] = letters("um")
        for axis, (low, high) in enumerate(((10.0, 26.5), (0.0, 5.0), (-2.0, 16.0))):  # x, y, z
            image.attrs[f"ExtMin{axis}"] = letters(str(low))
            image.attrs[f"ExtMax{axis}"] = letters(str(high))
        for c in range(array.shape[1]):
            info = file.create_group(f"DataSetInfo/Channel {c}")
            info.attrs["Name"] = letters(f"stain {c}")


def test_imaris_levels_channels_times_and_extents(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 999, (2, 3, 9, 20, 33)).astype(np.uint16)
    write_imaris(tmp_path / "a.ims", array)
    volume = open_volume(tmp_path / "a.ims", time=1)
    assert volume.format == "imaris"
    assert [level.shape for level in volume.levels] == [(9, 20, 33), (5, 10, 17)]
    assert volume.voxel_size_um == pytest.approx((2.0, 0.25, 0.5))
    assert volume.levels[1].voxel_size_um == pytest.approx((3.6, 0.5, 16.5 / 17))
    assert volume.levels[0].translation_um == pytest.approx((-2.0, 0.0, 10.0))
    assert volume.channel_names == ("stain 0", "stain 1", "stain 2")
    assert volume.num_times == 2
    np.testing.assert_array_equal(volume.read(), array[1])
    np.testing.assert_array_equal(volume.read(level=1), array[1, :, ::2, ::2, ::2])
    one = open_volume(tmp_path / "a.ims", channel="stain 2")
    crop = one.read((1, 2, 3), (4, 5, 6))
    np.testing.assert_array_equal(crop, array[0, 2:3, 1:5, 2:7, 3:9])


def test_an_imaris_file_without_extents_is_refused(tmp_path: Path) -> None:
    write_imaris(tmp_path / "a.ims", np.zeros((1, 1, 9, 20, 33), np.uint8))
    with h5py.File(tmp_path / "a.ims", "a") as file:
        del file["DataSetInfo/Image"]
    with pytest.raises(InputError, match=r"a\.ims: damaged Imaris file"):
        open_volume(tmp_path / "a.ims")


def test_real_files(shared_data: Path) -> None:
    path = shared_data / "segment/plant_nuclei/1135_mini.h5"
    volume = open_volume(path)
    assert volume.voxel_size_um == pytest.approx((0.28371837, 0.12678642, 0.12678642))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(volume.read()[0], file["raw"][()])


@pytest.mark.parametrize("sizes", [["a", "b", "c"], [1.0, np.nan, 1.0], [1.0, 2.0]])
def test_sizes_that_are_none_are_unknown_and_noted(tmp_path: Path, zyx: np.ndarray, sizes) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=zyx).attrs["element_size_um"] = sizes
    volume = open_volume(tmp_path / "a.h5")
    assert volume.voxel_size_um is None
    assert any("element_size_um" in note for note in volume.notes)
