from __future__ import annotations

import multiprocessing
import pickle

import h5py
import nibabel
import numpy as np
import pytest
import tifffile

from luxvox.configs.errors import InputError
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.data.volume import Volume, find_channel

SHAPE = (12, 20, 33)


@pytest.fixture(scope="module")
def czyx() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**16, (3, *SHAPE)).astype(np.uint16)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory, czyx: np.ndarray) -> dict[str, Volume]:
    """One volume of every kind of reader, all with the same voxels."""
    folder = tmp_path_factory.mktemp("volumes")
    save_volume(czyx, folder / "a.zarr", voxel_size_um=None, axes="czyx", chunks=(8, 8, 8))
    save_volume(czyx, folder / "a.ome.tif", voxel_size_um=None, axes="czyx")
    tifffile.imwrite(folder / "b.tif", czyx, metadata={"axes": "CZYX"}, compression="zlib")
    nibabel.save(nibabel.Nifti1Image(czyx.T, None), folder / "a.nii.gz")
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("raw", data=czyx, chunks=True, compression="gzip")
    for z in range(SHAPE[0]):
        (folder / "slices").mkdir(exist_ok=True)
        tifffile.imwrite(folder / "slices" / f"{z}.tif", czyx[:, z], photometric="minisblack")
    axes = {"a.nii.gz": "xyzc", "a.h5": "czyx", "slices": "zcyx"}
    return {
        path.name: open_volume(path, axes=axes.get(path.name)) for path in sorted(folder.iterdir())
    }


NAMES = ["a.zarr", "a.ome.tif", "b.tif", "a.nii.gz", "a.h5", "slices"]


@pytest.mark.parametrize("name", NAMES)
def test_channels_are_read_in_the_order_asked(volumes, czyx, name) -> None:
    volume = volumes[name]
    np.testing.assert_array_equal(volume.read(), czyx)
    for channels in (0, [2], [2, 0], [1, 2], ["2", 0, 1], "1"):
        wanted = [int(c) for c in (channels if isinstance(channels, list) else [channels])]
        box = volume.read((2, 3, 4), (5, 6, 7), channels=channels)
        np.testing.assert_array_equal(box, czyx[wanted, 2:7, 3:9, 4:11])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_belongs_to_the_caller(volumes, czyx, name) -> None:
    first = volumes[name].read()
    assert first.flags.c_contiguous
    assert first.dtype.isnative
    first[...] = 0
    np.testing.assert_array_equal(volumes[name].read(), czyx)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("origin", "shape"),
    [
        ((0, 0, 0), (13, 1, 1)),
        ((-1, 0, 0), (2, 2, 2)),
        ((0, 20, 0), (1, 1, 1)),
        ((0, 0, 0), (1, 0, 1)),
        ((0, 0, 30), (1, 1, 4)),
        ((0, 0), (1, 1)),
    ],
)
def test_a_box_outside_is_refused(volumes, name, origin, shape) -> None:
    with pytest.raises(InputError, match="box"):
        volumes[name].read(origin, shape)


def test_levels_and_channels_that_are_not_there(volumes) -> None:
    volume = volumes["a.zarr"]
    with pytest.raises(InputError, match="no level 1, expected 0 to 0"):
        volume.read(level=1)
    with pytest.raises(InputError, match="no channel 3; there is 0 '0', 1 '1', 2 '2'"):
        volume.read(channels=3)
    with pytest.raises(InputError, match="several channels are called 'gfp'"):
        find_channel("gfp", ["GFP", "gfp"], "a.tif")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_what_we_read(volumes, czyx, method) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    for volume in volumes.values():
        volume.read()  # handles are open when the workers start
    jobs = [(name, z) for name in NAMES for z in range(SHAPE[0])]
    with multiprocessing.get_context(method).Pool(2) as pool:
        boxes = [
            pool.apply_async(volumes[name].read, ((z, 0, 0), (1, *SHAPE[1:]))) for name, z in jobs
        ]
        # The parent reads at the same time: nobody may move another's file position.
        for _ in range(3):
            for name in NAMES:
                np.testing.assert_array_equal(volumes[name].read(), czyx)
        for (_, z), box in zip(jobs, boxes, strict=True):
            np.testing.assert_array_equal(box.get(timeout=30), czyx[:, z : z + 1])


@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_is_small(volumes, name) -> None:
    volumes[name].read()
    assert len(pickle.dumps(volumes[name])) < 5000
