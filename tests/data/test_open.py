from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

from luxvox.configs.errors import InputError
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume


@pytest.fixture
def zyx() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**16, (12, 20, 33)).astype(np.uint16)


def test_every_format_gives_the_same_volume(tmp_path: Path, zyx: np.ndarray) -> None:
    size = (2.0, 0.5, 0.25)
    save_volume(zyx, tmp_path / "a.ome.zarr", voxel_size_um=size)
    save_volume(zyx, tmp_path / "b.ome.zarr", voxel_size_um=size, ngff="0.4")
    save_volume(zyx, tmp_path / "c.ome.tif", voxel_size_um=size)
    image = nibabel.Nifti1Image(zyx.T, np.diag([0.25, 0.5, 2.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "d.nii.gz")
    for path in sorted(tmp_path.iterdir()):
        volume = open_volume(str(path))
        assert volume.path == str(path)
        assert volume.voxel_size_um == pytest.approx(size)
        assert volume.shape == zyx.shape
        assert volume.dtype == zyx.dtype
        np.testing.assert_array_equal(volume.read()[0], zyx)


def test_a_typing_error_names_the_nearest_sibling(tmp_path: Path, zyx: np.ndarray) -> None:
    save_volume(zyx, tmp_path / "brain_01.ome.zarr", voxel_size_um=None)
    with pytest.raises(InputError, match=r"brian_01.*did you mean 'brain_01\.ome\.zarr'"):
        open_volume(tmp_path / "brian_01.ome.zarr")
    with pytest.raises(InputError, match=r"folder .*nowhere does not exist"):
        open_volume(tmp_path / "nowhere" / "a.tif")


@pytest.mark.parametrize("name", ["a.czi", "a.npy", "a", "a.png"])
def test_an_unknown_ending_lists_what_can_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(InputError, match=rf"{name}: .*\.nii\.gz.*\.h5"):
        open_volume(tmp_path / name)


def test_a_folder_that_is_no_volume_points_inside(tmp_path: Path, zyx: np.ndarray) -> None:
    with pytest.raises(InputError, match="without Zarr metadata or TIFF slices"):
        open_volume(tmp_path)
    save_volume(zyx, tmp_path / "a.ome.zarr", voxel_size_um=None)
    with pytest.raises(InputError, match=r"did you mean 'a\.ome\.zarr' inside it"):
        open_volume(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_no_permission_is_said(tmp_path: Path, zyx: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", zyx)
    (tmp_path / "a.tif").chmod(0)
    with pytest.raises(InputError, match=r"a\.tif: no permission"):
        open_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("size", [(0, 1, 1), (1, 1), (1, -1, 1), (float("nan"), 1, 1)])
def test_an_impossible_voxel_size_is_refused(tmp_path: Path, zyx: np.ndarray, size) -> None:
    tifffile.imwrite(tmp_path / "a.tif", zyx)
    with pytest.raises(InputError, match=r"a\.tif: voxel size: .*three positive numbers"):
        open_volume(tmp_path / "a.tif", voxel_size_um=size)


def test_an_empty_file_of_each_format_is_one_clear_line(tmp_path: Path) -> None:
    for name in ("a.tif", "a.ome.tif", "a.nii", "a.nii.gz", "a.h5", "a.ims"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(InputError, match=rf"{name}: ") as caught:
            open_volume(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_complex_numbers_are_no_intensities(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6, 7), np.complex64))
    with pytest.raises(InputError, match="complex64"):
        open_volume(tmp_path / "a.tif")


def test_all_real_volumes_of_the_pretraining_list_open(shared_data: Path) -> None:
    files = [
        file
        for file in (shared_data / "pretrain").rglob("*")
        if file.name.endswith((".tif", ".nii.gz"))
    ]
    assert len(files) > 20
    for file in files:
        volume = open_volume(file)
        shape = [min(8, side) for side in volume.shape]
        assert volume.read(shape=shape).shape == (volume.num_channels, *shape)
        if "lsmfm_wu" in file.parts:
            assert volume.voxel_size_um in ((2.0, 1.8, 1.8), (2.0, 1.866, 1.866))
        else:
            assert volume.voxel_size_um is None
