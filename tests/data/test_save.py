from __future__ import annotations

import errno
import json
from collections import Counter
from pathlib import Path
from typing import cast

import nibabel
import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
import zarr.storage
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from luxvox.configs.errors import InputError
from luxvox.data.formats import zarr_writer
from luxvox.data.formats.ome_zarr import missing_chunks
from luxvox.data.formats.pyramid import reduce_mean, reduce_mode
from luxvox.data.open import open_volume
from luxvox.data.save import save_labels, save_volume

SIZE = (6.0, 1.62, 1.62)


@pytest.fixture
def zyx() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**16, (70, 200, 130)).astype(np.uint16)


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
@pytest.mark.parametrize("kind", ["image", "labels"])
def test_a_pyramid_comes_back_with_sizes_and_translations(tmp_path, zyx, ngff, kind) -> None:
    array = zyx if kind == "image" else zyx // 16000
    origin = (100.0, 20.0, 30.0)
    path = save_volume(
        array,
        tmp_path / "a.ome.zarr",
        voxel_size_um=SIZE,
        ngff=ngff,
        kind=kind,
        translation_um=origin,
    )
    volume = open_volume(path)
    assert volume.format == f"ome-zarr {ngff}"
    assert volume.notes == ()
    assert [level.factor for level in volume.levels] == [(1, 1, 1), (1, 2, 2), (1, 4, 4)][
        : len(volume.levels)
    ]
    assert len(volume.levels) == 3
    reduce = reduce_mean if kind == "image" else reduce_mode
    expected = array
    for number, level in enumerate(volume.levels):
        np.testing.assert_array_equal(volume.read(level=number)[0], expected)
        expected = reduce(expected, (1, 2, 2))
        size = np.multiply(SIZE, level.factor)
        assert level.voxel_size_um == pytest.approx(size)
        # The first coarse voxel is centred on the voxels that it was made of.
        shift = 0.5 * (np.array(level.factor) - 1) * SIZE
        assert level.translation_um == pytest.approx(shift + origin)


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["zyx", "czyx"])
@pytest.mark.parametrize("size", [SIZE, None])
def test_others_read_our_stores(tmp_path, zyx, ngff, axes, size) -> None:
    array = zyx if axes == "zyx" else np.stack([zyx, zyx[::-1]])
    names = None if axes == "zyx" else ["DAPI", "GFP"]
    path = save_volume(
        array,
        tmp_path / "a.ome.zarr",
        voxel_size_um=size,
        axes=axes,
        ngff=ngff,
        channel_names=names,
    )
    yaozarrs.validate_zarr_store(path)
    (node,) = list(Reader(parse_url(str(path)))())
    assert [axis["name"] for axis in node.metadata["axes"]] == list(axes)
    np.testing.assert_array_equal(np.asarray(node.data[0]), array)
    for number, level in enumerate(open_volume(path).levels):
        assert node.data[number].shape[-3:] == level.shape
        scale, shift = node.metadata["coordinateTransformations"][number]
        expected = np.multiply(size or (1, 1, 1), level.factor)
        assert scale["scale"][-3:] == pytest.approx(expected)
        half = 0.5 * (np.array(level.factor) - 1) * (size or (1, 1, 1))
        assert shift["translation"][-3:] == pytest.approx(half)
    if names:
        assert node.metadata["channel_names"] == names
        assert open_volume(path, channel="GFP").read()[0, 0, 0, 0] == zyx[-1, 0, 0]
    assert open_volume(path).voxel_size_um == size


def test_every_shard_is_written_once_and_whole(tmp_path, zyx, monkeypatch) -> None:
    written: Counter[str] = Counter()
    set_bytes = zarr.storage.LocalStore.set

    async def counting(self, key, value):
        written[key] += 1
        await set_bytes(self, key, value)

    monkeypatch.setattr(zarr.storage.LocalStore, "set", counting)
    monkeypatch.setattr(zarr_writer, "_BAND_BYTES", 2 * 64**3 * 2)
    path = save_volume(
        zyx, tmp_path / "a.zarr", voxel_size_um=SIZE, chunks=(32, 32, 32), shards=(64, 64, 64)
    )
    shards = [key for key in written if "/c/" in key]
    files = [file for file in path.rglob("*") if file.is_file() and "c" in file.parts[-4:-3]]
    assert len(shards) == len(files) == 2 * 4 * 3 + 2 * 2 * 2 + 2 * 1 * 1
    assert {written[key] for key in shards} == {1}
    np.testing.assert_array_equal(open_volume(path).read()[0], zyx)
    array = zarr.open_array(path / "0", mode="r")
    assert array.shards == (64, 64, 64)
    assert array.chunks == (32, 32, 32)


class Recorder:
    """An array that exists only where it is looked at, and keeps account."""

    shape, dtype = (300, 400, 500), np.dtype(np.uint8)

    def __init__(self) -> None:
        self.blocks: list[int] = []

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        shape = [part.stop - part.start for part in box]
        self.blocks.append(int(np.prod(shape)))
        ramp = np.arange(box[2].start, box[2].stop) % 251
        return np.broadcast_to(ramp.astype(np.uint8), shape)


def test_a_volume_is_streamed_in_bounded_blocks(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(zarr_writer, "_BAND_BYTES", 20 * 2**20)
    source, told = Recorder(), []
    path = save_volume(
        source,
        tmp_path / "a.zarr",
        voxel_size_um=None,
        shards=(128, 128, 128),
        progress=lambda done, total: told.append((done, total)),
    )
    assert max(source.blocks) <= 20 * 2**20
    assert sum(source.blocks) == np.prod(Recorder.shape)  # each voxel once
    assert told[-1][0] == told[-1][1]
    assert told == sorted(told)
    volume = open_volume(path)
    assert volume.read((299, 399, 490), (1, 1, 10)).ravel().tolist() == [
        x % 251 for x in range(490, 500)
    ]


def test_all_chunks_are_stored_so_a_missing_one_is_an_error(tmp_path) -> None:
    for ngff in ("0.4", "0.5"):
        path = save_volume(
            np.zeros((100, 100, 100), np.uint8),
            tmp_path / f"{ngff}.zarr",
            voxel_size_um=SIZE,
            ngff=ngff,
        )
        volume = open_volume(path)
        assert all(missing == 0 for missing, _ in missing_chunks(volume))
        assert not volume.read().any()
        keep = "0/0/0/0" if ngff == "0.4" else "0/c/0/0/0"
        (path / keep).rename(path / "lost")
        if ngff == "0.5":
            (path / "0/c/0/0/1").write_bytes(b"so that the level is not empty")
        volume = open_volume(path)
        assert missing_chunks(volume)[0][0] == 1
        with pytest.raises(InputError, match=r"chunk \(0, 0, 0\) is missing from a store"):
            volume.read()


def test_crops_touch_few_chunks() -> None:
    assert zarr_writer.layout_of((96, 96, 96), None, None) == ((96, 96, 96), (96, 96, 96))
    assert zarr_writer.layout_of((30, 100, 1000), None, None) == ((30, 64, 64), (30, 128, 256))
    with pytest.raises(InputError, match="no multiple"):
        zarr_writer.layout_of((100, 100, 100), (32, 32, 32), (48, 64, 64))


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif", "a.nii.gz"])
def test_what_stands_there_is_kept_unless_told_otherwise(tmp_path, zyx, name) -> None:
    path = save_volume(zyx, tmp_path / name, voxel_size_um=SIZE)
    with pytest.raises(InputError, match=rf"{name}: exists already"):
        save_volume(zyx + 1, path, voxel_size_um=SIZE)
    np.testing.assert_array_equal(open_volume(path).read()[0], zyx)
    save_volume(zyx[:50], path, voxel_size_um=SIZE, overwrite=True)
    np.testing.assert_array_equal(open_volume(path).read()[0], zyx[:50])
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_foreign_folder_is_never_removed(tmp_path, zyx) -> None:
    (tmp_path / "a.zarr").mkdir()
    save_volume(zyx, tmp_path / "a.zarr", voxel_size_um=None)  # an empty one may be used
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="no Zarr store"):
        save_volume(zyx, tmp_path / "b.zarr", voxel_size_um=None, overwrite=True)
    assert (tmp_path / "b.zarr" / "thesis.txt").exists()


class Broken:
    """Fails after some blocks, as a damaged source or a full disk does."""

    shape, dtype = (300, 300, 300), np.dtype(np.uint8)

    def __init__(self, error: BaseException) -> None:
        self.error, self.blocks = error, 0

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        self.blocks += 1
        if self.blocks > 1:
            raise self.error
        return np.ones([part.stop - part.start for part in box], np.uint8)


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif", "a.nii.gz"])
@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), InputError, "the disk is full"),
        (InputError("source.tif: truncated"), InputError, "truncated"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
)
def test_nothing_half_written_stays(
    tmp_path, zyx, monkeypatch, name, error, raised, message
) -> None:
    monkeypatch.setattr(zarr_writer, "_BAND_BYTES", 2**20)
    with pytest.raises(raised, match=message):
        save_volume(Broken(error), tmp_path / name, voxel_size_um=SIZE, shards=(64, 64, 64))
    assert list(tmp_path.iterdir()) == []
    path = save_volume(zyx, tmp_path / name, voxel_size_um=SIZE)
    with pytest.raises(raised, match=message):
        save_volume(Broken(error), path, voxel_size_um=SIZE, shards=(64, 64, 64), overwrite=True)
    np.testing.assert_array_equal(open_volume(path).read()[0], zyx)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("axes", ["zyx", "czyx"])
def test_ome_tiff(tmp_path, zyx, axes) -> None:
    array = zyx if axes == "zyx" else np.stack([zyx, zyx + 1])
    names = None if axes == "zyx" else ("DAPI", "GFP")
    path = save_volume(
        array, tmp_path / "a.ome.tif", voxel_size_um=SIZE, axes=axes, channel_names=names
    )
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        assert file.series[0].axes == axes.upper()
        assert file.series[0].dataoffset is not None  # so crops are mapped
        np.testing.assert_array_equal(file.asarray(), array)
    volume = open_volume(path)
    assert volume.voxel_size_um == pytest.approx(SIZE)
    assert volume.channel_names == (names or ("0",))
    np.testing.assert_array_equal(volume.read(), array if names else array[None])


def test_an_ome_tiff_may_be_called_tif(tmp_path, zyx) -> None:
    volume = open_volume(save_volume(zyx[:8], tmp_path / "a.TIF", voxel_size_um=SIZE))
    assert volume.voxel_size_um == pytest.approx(SIZE)
    np.testing.assert_array_equal(volume.read()[0], zyx[:8])


def test_a_large_ome_tiff_is_bigtiff(tmp_path, zyx, monkeypatch) -> None:
    monkeypatch.setattr("luxvox.data.formats.tiff_writer._CLASSIC_LIMIT", zyx.nbytes - 1)
    path = save_volume(zyx, tmp_path / "a.ome.tif", voxel_size_um=None)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
    assert open_volume(path).voxel_size_um is None
    np.testing.assert_array_equal(open_volume(path).read()[0], zyx)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", ">u2", "uint32", "float16", "float32", "bool"])
def test_nifti(tmp_path, zyx, name, dtype) -> None:
    array = (zyx[:9] % 120).astype(dtype)
    origin = (100.0, 20.0, 30.0)
    path = save_volume(array, tmp_path / name, voxel_size_um=SIZE, translation_um=origin)
    other = cast(nibabel.Nifti1Image, nibabel.load(path))  # what any other program reads
    np.testing.assert_array_equal(np.asarray(other.dataobj), array.T)  # (x, y, z)
    assert other.header.get_xyzt_units()[0] == "mm"
    assert other.header.get_zooms() == pytest.approx((0.00162, 0.00162, 0.006))
    expected = np.diag([0.00162, 0.00162, 0.006, 1])
    expected[:3, 3] = 0.03, 0.02, 0.1
    for affine, code in (other.get_sform(coded=True), other.get_qform(coded=True)):
        assert code == 1
        assert affine == pytest.approx(expected, abs=1e-6)
    volume = open_volume(path)
    assert volume.voxel_size_um == SIZE
    assert volume.notes == ()
    np.testing.assert_array_equal(volume.read()[0], array)
    # The same volume gives the same bytes, under any name.
    again = save_volume(array, tmp_path / f"b{name}", voxel_size_um=SIZE, translation_um=origin)
    assert again.read_bytes() == path.read_bytes()


def test_nifti_of_channels_of_unknown_size_and_of_long_sides(tmp_path, zyx, monkeypatch) -> None:
    array = np.stack([zyx, zyx + 1])
    path = save_volume(array, tmp_path / "a.nii.gz", voxel_size_um=None, axes="czyx")
    volume = open_volume(path)
    assert volume.voxel_size_um is None
    np.testing.assert_array_equal(volume.read(), array)
    long = np.arange(3 * 2 * 40000, dtype=np.uint16).reshape(3, 2, 40000)
    path = save_volume(long, tmp_path / "long.nii", voxel_size_um=SIZE)
    assert isinstance(nibabel.load(path), nibabel.Nifti2Image)
    volume = open_volume(path)
    assert volume.voxel_size_um == SIZE
    np.testing.assert_array_equal(volume.read()[0], long)


def test_a_volume_brings_its_own_size_and_names(tmp_path, zyx) -> None:
    first = save_volume(
        np.stack([zyx, zyx + 1]),
        tmp_path / "a.ome.tif",
        voxel_size_um=SIZE,
        axes="czyx",
        channel_names=["DAPI", "GFP"],
    )
    volume = open_volume(save_volume(open_volume(first), tmp_path / "b.zarr", voxel_size_um=None))
    assert volume.voxel_size_um == pytest.approx(SIZE)
    assert volume.channel_names == ("DAPI", "GFP")
    np.testing.assert_array_equal(volume.read(), open_volume(first).read())
    one = open_volume(first, channel="GFP")
    volume = open_volume(save_volume(one, tmp_path / "c.zarr", voxel_size_um=(1, 1, 1)))
    assert volume.voxel_size_um == (1, 1, 1)
    np.testing.assert_array_equal(volume.read()[0], zyx + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out": "a.png"}, "cannot tell the format"),
        ({"out": "a.gz"}, "cannot tell the format"),
        ({"axes": "xyz"}, "expected 'zyx' or 'czyx'"),
        ({"axes": "czyx"}, "for axes 'czyx'"),
        ({"source": np.zeros((2, 3, 4), complex)}, "complex128"),
        ({"source": np.zeros((20, 3, 4), float), "kind": "labels"}, "labels of type float64"),
        ({"source": np.zeros((0, 3, 4))}, r"shape \(0, 3, 4\)"),
        ({"voxel_size_um": (1, 0, 1)}, "three positive"),
        ({"channel_names": ["a", "b"]}, "2 channel names for 1"),
        ({"ngff": "0.6"}, "expected '0.5' or '0.4'"),
        ({"chunks": (0, 64, 64)}, "positive sizes"),
        ({"shards": (100, 64, 64), "chunks": (64, 64, 64)}, "no multiple"),
    ],
)
def test_what_cannot_be_saved_is_said(tmp_path, zyx, change, message) -> None:
    options = {"source": zyx, "out": "a.zarr", "voxel_size_um": None, **change}
    with pytest.raises(InputError, match=message) as caught:
        save_volume(options.pop("source"), tmp_path / options.pop("out"), **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_volume_is_not_written_over_itself(tmp_path, zyx) -> None:
    path = save_volume(zyx, tmp_path / "a.zarr", voxel_size_um=None)
    with pytest.raises(InputError, match="its own source"):
        save_volume(open_volume(path), path, voxel_size_um=None, overwrite=True)


def test_a_place_that_cannot_be_written_is_said(tmp_path, zyx) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="its folder cannot be made"):
        save_volume(zyx, tmp_path / "file" / "a.zarr", voxel_size_um=None)


def test_masks_become_bytes(tmp_path, zyx) -> None:
    path = save_volume(zyx > 2**15, tmp_path / "a.zarr", voxel_size_um=None, kind="labels")
    volume = open_volume(path)
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(volume.read()[0], zyx > 2**15)
    document = json.loads((path / "zarr.json").read_text())
    assert "image-label" in document["attributes"]["ome"]


def test_labels_are_written_into_the_store_of_their_image(tmp_path):
    store = tmp_path / "image.ome.zarr"
    labels = np.zeros((6, 20, 24), np.uint16)
    labels[2:4, 5:9, 3:20] = 7
    for ngff in ("0.5", "0.4"):
        save_volume(labels, store, voxel_size_um=(3.0, 1.0, 1.0), ngff=ngff, overwrite=True)
        for name in ("cells", "a_second"):
            where = save_labels(labels, store, name, voxel_size_um=(3.0, 1.0, 1.0), ngff=ngff)
            volume = open_volume(where)
            assert np.array_equal(volume.read()[0], labels)
            assert volume.voxel_size_um == pytest.approx((3.0, 1.0, 1.0))
        yaozarrs.validate_zarr_store(store)
        nodes = list(Reader(parse_url(str(store)))())
        found = {Path(str(node.zarr)).name.split()[0] for node in nodes}
        assert found >= {"cells", "a_second"}


def test_labels_that_cannot_be_written_are_refused(tmp_path):
    labels = np.zeros((4, 8, 8), np.uint8)
    with pytest.raises(InputError, match="write the image first"):
        save_labels(labels, tmp_path / "none.ome.zarr", "cells", voxel_size_um=None)
    store = save_volume(labels, tmp_path / "image.ome.zarr", voxel_size_um=None)
    for name in ("../up", "two words", ""):
        with pytest.raises(InputError, match="one word"):
            save_labels(labels, store, name, voxel_size_um=None)
    with pytest.raises(InputError, match="expected integers"):
        save_labels(labels.astype(float), store, "cells", voxel_size_um=None)
    save_labels(labels, store, "cells", voxel_size_um=None)
    with pytest.raises(InputError, match="exists already"):
        save_labels(labels, store, "cells", voxel_size_um=None)
    save_labels(labels + 1, store, "cells", voxel_size_um=None, overwrite=True)
    assert open_volume(store / "labels" / "cells").read().min() == 1
