"""An OME-TIFF filled block by block, and what its head says."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tifffile

from luxvox.data.block_tiff import BlockTiff
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume

SHAPE, BLOCK = (20, 70, 90), (16, 64, 64)


@pytest.mark.parametrize("channels", [0, 3])
def test_blocks_come_back_with_size_and_place(tmp_path, channels):
    names = ("a", "b", "c") if channels else ()
    store = BlockTiff(
        tmp_path / "out.ome.tif", SHAPE, BLOCK, channels, "uint16", (3, 0.5, 0.5), (7, 0, -2), names
    )
    store.create()
    lead = (channels,) if channels else ()
    image = np.random.default_rng(0).integers(0, 999, (*lead, *SHAPE)).astype(np.uint16)
    other = pickle.loads(pickle.dumps(store))
    for number, z in enumerate((slice(0, 16), slice(16, 20))):
        for y in (slice(0, 64), slice(64, 70)):
            writer = store if number else other
            writer.write((z, y, slice(0, 90)), image[..., z, y, :])
    part = slice(10, 18), slice(60, 70), slice(1, 5)
    assert np.array_equal(store.read(part), image[(..., *part)])
    store.finish()
    volume = open_volume(store.path)
    assert np.array_equal(volume.read(), image.reshape(-1, *SHAPE))
    assert volume.voxel_size_um == (3, 0.5, 0.5)
    assert volume.levels[0].translation_um == (7, 0, -2)
    assert volume.channel_names == (names or ("0",))
    assert tifffile.TiffFile(store.path).is_ome


def test_the_place_survives_conversion_both_ways(tmp_path):
    image = np.random.default_rng(0).integers(0, 99, (4, 20, 20)).astype(np.uint8)
    zarr = save_volume(
        image, tmp_path / "a.ome.zarr", voxel_size_um=(2, 1, 1), translation_um=(5, 6, 7)
    )
    tiff = save_volume(open_volume(zarr), tmp_path / "a.ome.tif", voxel_size_um=None)
    assert open_volume(tiff).levels[0].translation_um == (5, 6, 7)
    plain = save_volume(image, tmp_path / "b.ome.tif", voxel_size_um=(2, 1, 1))
    assert open_volume(plain).levels[0].translation_um == (0, 0, 0)
