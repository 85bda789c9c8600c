from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, GzipCodec, TransposeCodec, ZstdCodec

from luxvox.configs.errors import InputError
from luxvox.data.formats.ome_zarr import missing_chunks
from luxvox.data.formats.zarr_chunks import plain_layout
from luxvox.data.open import open_volume
from luxvox.data.volume import Volume

UM = {"type": "space", "unit": "micrometer"}
AXES = [{"name": axis, **UM} for axis in "zyx"]


@pytest.fixture
def zyx() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**16, (30, 40, 50)).astype(np.uint16)


def check_crops(volume: Volume, array: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(volume.read(), array)
    for _ in range(20):
        start = [int(rng.integers(0, size)) for size in array.shape[1:]]
        shape = [
            int(rng.integers(1, s - a + 1)) for a, s in zip(start, array.shape[1:], strict=True)
        ]
        spans = [slice(a, a + n) for a, n in zip(start, shape, strict=True)]
        crop = volume.read(start, shape)
        assert crop.dtype == array.dtype
        np.testing.assert_array_equal(crop, array[(slice(None), *spans)])


def write_store(
    path: Path, arrays: list[np.ndarray], entry: dict[str, Any], version: str, **extra: Any
) -> Path:
    """A store as another program would write it: metadata given word for word."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    for number, array in enumerate(arrays):
        group.create_array(str(number), data=array, chunks=(16,) * array.ndim)
    if version == "0.4":
        group.attrs.update({"multiscales": [{"version": version, **entry}], **extra})
    else:
        group.attrs.update({"ome": {"version": version, "multiscales": [entry], **extra}})
    return path


def datasets(*transforms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"path": str(number), "coordinateTransformations": each}
        for number, each in enumerate(transforms)
    ]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_transformations_of_level_and_pyramid_are_composed(tmp_path: Path, zyx, version) -> None:
    entry = {
        "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"],
        "datasets": datasets(
            [{"type": "scale", "scale": [2, 1, 1]}],
            [
                {"type": "scale", "scale": [2, 2, 2]},
                {"type": "translation", "translation": [0, 0.5, 0.5]},
            ],
        ),
        "coordinateTransformations": [
            {"type": "scale", "scale": [1000, 400, 500]},
            {"type": "translation", "translation": [7000, 0, 100]},
        ],
    }
    volume = open_volume(write_store(tmp_path / "a.zarr", [zyx, zyx[:, ::2, ::2]], entry, version))
    assert volume.format == f"ome-zarr {version}"
    assert volume.notes == ()
    fine, coarse = volume.levels
    assert fine.voxel_size_um == pytest.approx((2.0, 0.4, 0.5))
    assert fine.translation_um == pytest.approx((7.0, 0.0, 0.1))
    assert coarse.voxel_size_um == pytest.approx((2.0, 0.8, 1.0))
    assert coarse.translation_um == pytest.approx((7.0, 0.2, 0.35))
    assert coarse.factor == pytest.approx((1, 2, 2))
    np.testing.assert_array_equal(volume.read(level=1)[0], zyx[:, ::2, ::2])


def test_channels_and_times_by_name_and_index(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 99, (2, 3, 20, 21, 22)).astype(np.uint8)
    entry = {
        "axes": [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, *AXES],
        "datasets": datasets([{"type": "scale", "scale": [1, 1, 4, 2, 2]}]),
    }
    window = {"start": 0, "min": 0, "end": 1, "max": 1}
    names = ["DAPI", "GFP", "far red"]
    omero = {"channels": [{"label": n, "color": "FFFFFF", "window": window} for n in names]}
    path = write_store(tmp_path / "a.zarr", [array], entry, "0.5", omero=omero)
    volume = open_volume(path, time=1)
    assert volume.channel_names == tuple(names)
    assert volume.num_times == 2
    check_crops(volume, array[1])
    check_crops(open_volume(path, channel="far red"), array[0, 2:])
    check_crops(open_volume(path, channel=0, time=1), array[1, :1])
    np.testing.assert_array_equal(volume.read(channels=["gfp"])[0], array[1, 1])
    with pytest.raises(InputError, match=r"no channel 'RFP'; there is 0 'DAPI', 1 'GFP'"):
        open_volume(path, channel="RFP")
    with pytest.raises(InputError, match="no channel 3"):
        open_volume(path, channel=3)
    with pytest.raises(InputError, match="no time point 2, expected 0 to 1"):
        open_volume(path, time=2)


def test_axes_in_any_order_are_turned(tmp_path: Path, zyx: np.ndarray) -> None:
    entry = {
        "axes": [{"name": axis, **UM} for axis in "xyz"],
        "datasets": datasets([{"type": "scale", "scale": [0.1, 0.2, 0.5]}]),
    }
    volume = open_volume(write_store(tmp_path / "a.zarr", [zyx.transpose(2, 1, 0)], entry, "0.5"))
    assert volume.voxel_size_um == pytest.approx((0.5, 0.2, 0.1))
    check_crops(volume, zyx[None])


def test_no_unit_means_no_voxel_size_but_the_factors_stay(tmp_path: Path, zyx: np.ndarray) -> None:
    entry = {
        "axes": [{"name": axis, "type": "space"} for axis in "zyx"],
        "datasets": datasets(
            [{"type": "scale", "scale": [3, 1, 1]}], [{"type": "scale", "scale": [3, 2, 2]}]
        ),
    }
    path = write_store(tmp_path / "a.zarr", [zyx, zyx[:, ::2, ::2]], entry, "0.5")
    volume = open_volume(path)
    assert volume.voxel_size_um is None
    assert volume.levels[1].factor == (1, 2, 2)
    assert any("without a known unit" in note for note in volume.notes)
    given = open_volume(path, voxel_size_um=(6, 1.5, 1.5))
    assert given.levels[1].voxel_size_um == (6, 3, 3)
    assert given.levels[1].translation_um == (0, 0.75, 0.75)


def test_older_and_careless_metadata_are_read_with_a_note(tmp_path: Path, zyx: np.ndarray) -> None:
    array = zyx[None, None]
    group = zarr.open_group(str(tmp_path / "old.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=array, chunks=(1, 1, 16, 16, 16))
    group.attrs["multiscales"] = [{"version": "0.1", "datasets": [{"path": "0"}]}]
    volume = open_volume(tmp_path / "old.zarr")
    assert volume.voxel_size_um is None
    assert any("0.1" in note for note in volume.notes)
    check_crops(volume, zyx[None])
    entry = {"axes": AXES, "datasets": [{"path": "0"}]}  # no transformations: refused by the model
    volume = open_volume(write_store(tmp_path / "b.zarr", [zyx], entry, "0.5"))
    assert any("not valid NGFF 0.5" in note for note in volume.notes)
    check_crops(volume, zyx[None])


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64", ">u2", "bool"])
def test_plain_arrays(tmp_path: Path, zyx: np.ndarray, zarr_format: int, dtype: str) -> None:
    array = (zyx % 3).astype(dtype)
    store = zarr.create_array(
        tmp_path / "a.zarr",
        shape=array.shape,
        dtype=dtype,
        chunks=(16,) * 3,
        zarr_format=zarr_format,
    )
    store[...] = array
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.format == f"zarr v{zarr_format}"
    assert volume.voxel_size_um is None
    check_crops(volume, array.astype(np.dtype(dtype).newbyteorder("="))[None])


LAYOUTS = {
    "uncompressed": {"compressors": None},
    "blosc": {"compressors": BloscCodec(cname="lz4", shuffle="shuffle")},
    "zstd": {"compressors": ZstdCodec(level=1)},
    "gzip": {"compressors": GzipCodec(level=1)},
    "sharded": {"shards": (32, 32, 32), "compressors": BloscCodec(cname="zstd")},
    "sharded uncompressed": {"shards": (32, 16, 48), "compressors": None},
    "one shard": {"shards": (48, 48, 64)},
    "dots": {"chunk_key_encoding": {"name": "default", "separator": "."}},
    "v2 keys": {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "v2": {"zarr_format": 2, "compressors": numcodecs.Blosc("zstd", 3)},
    "v2 zlib": {"zarr_format": 2, "compressors": numcodecs.Zlib()},
    "v2 lz4": {"zarr_format": 2, "compressors": numcodecs.LZ4()},
    "v2 nested": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "v2 column order": {"zarr_format": 2, "order": "F"},
    "v2 filter": {"zarr_format": 2, "filters": [numcodecs.Delta("<u2")]},
    "transposed": {"filters": [TransposeCodec(order=(2, 0, 1))]},
}
ONLY_ZARR_READS = ("v2 column order", "v2 filter", "transposed")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_what_zarr_gives(tmp_path: Path, zyx: np.ndarray, layout: str) -> None:
    options = {"chunks": (16, 16, 16), "fill_value": 7, **LAYOUTS[layout]}
    store = zarr.create_array(tmp_path / "a.zarr", shape=zyx.shape, dtype=zyx.dtype, **options)
    store[:16, :32] = zyx[:16, :32]  # the rest is not there and reads as the fill value
    volume = open_volume(tmp_path / "a.zarr")
    assert (plain_layout(tmp_path / "a.zarr") is None) == (layout in ONLY_ZARR_READS)
    expected = np.asarray(zarr.open_array(tmp_path / "a.zarr", mode="r")[...])
    assert (expected[16:] == 7).all()
    check_crops(volume, expected[None])
    check_crops(pickle.loads(pickle.dumps(volume)), expected[None])
    missing, of = missing_chunks(volume)[0]
    if "shard" not in layout:
        assert (missing, of) == (2 * 3 * 4 - 2 * 4, 2 * 3 * 4)


def test_special_fill_values(tmp_path: Path) -> None:
    for number, fill in enumerate((np.nan, -np.inf, 1.5)):
        path = tmp_path / f"{number}.zarr"
        store = zarr.create_array(
            path, shape=(20, 20, 20), chunks=(10, 10, 10), dtype="f4", fill_value=fill
        )
        store[:10] = 1
        np.testing.assert_array_equal(open_volume(path).read()[0, 10:], np.float32(fill))
    path = tmp_path / "u8.zarr"
    store = zarr.create_array(
        path, shape=(20, 20, 20), chunks=(10, 10, 10), dtype="u8", fill_value=2**64 - 1
    )
    store[:10] = 1
    assert open_volume(path).read()[0, 10, 0, 0] == 2**64 - 1


def test_only_touched_chunks_are_read(tmp_path: Path, zyx: np.ndarray) -> None:
    store = zarr.create_array(
        tmp_path / "a.zarr", shape=zyx.shape, dtype=zyx.dtype, chunks=(10, 10, 10)
    )
    store[...] = zyx
    for file in (tmp_path / "a.zarr" / "c").rglob("*"):
        if file.is_file() and file.relative_to(tmp_path / "a.zarr" / "c").as_posix() != "1/2/3":
            file.write_bytes(b"rubbish")
    volume = open_volume(tmp_path / "a.zarr")
    np.testing.assert_array_equal(
        volume.read((12, 20, 30), (8, 10, 7))[0], zyx[12:20, 20:30, 30:37]
    )
    with pytest.raises(InputError, match="damaged"):
        volume.read((12, 20, 29), (8, 10, 7))


def test_groups_arrays_inside_and_labels(tmp_path: Path, zyx: np.ndarray) -> None:
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    group.create_array("deep/raw", data=zyx, chunks=(16, 16, 16))
    group.create_array("deep/labels", data=zyx // 9000, chunks=(16, 16, 16))
    check_crops(open_volume(tmp_path / "g.zarr"), zyx[None])
    check_crops(open_volume(tmp_path / "g.zarr", dataset="deep/labels"), zyx[None] // 9000)
    check_crops(open_volume(tmp_path / "g.zarr" / "deep" / "labels"), zyx[None] // 9000)
    with pytest.raises(InputError, match="nothing called 'deep/x'"):
        open_volume(tmp_path / "g.zarr", dataset="deep/x")
    group = zarr.open_group(str(tmp_path / "labels"), mode="w")
    group.attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
    with pytest.raises(InputError, match=r"label images.*open .*labels/cells"):
        open_volume(tmp_path / "labels")
    group = zarr.open_group(str(tmp_path / "plate.zarr"), mode="w")
    group.attrs["ome"] = {"version": "0.5", "plate": {}}
    with pytest.raises(InputError, match="a plate"):
        open_volume(tmp_path / "plate.zarr")


def test_a_bioformats2raw_folder_opens_its_first_image(tmp_path: Path, zyx: np.ndarray) -> None:
    entry = {"axes": AXES, "datasets": datasets([{"type": "scale", "scale": [2, 1, 1]}])}
    zarr.open_group(str(tmp_path / "b.zarr"), mode="w").attrs["ome"] = {
        "version": "0.5",
        "bioformats2raw.layout": 3,
    }
    write_store(tmp_path / "b.zarr" / "0", [zyx], entry, "0.5")
    assert open_volume(tmp_path / "b.zarr").voxel_size_um == (2, 1, 1)


def test_dimension_names_are_axes(tmp_path: Path, zyx: np.ndarray) -> None:
    array = np.stack([zyx, zyx + 1])
    zarr.create_array(
        tmp_path / "a.zarr",
        data=array,
        chunks=(1, 16, 16, 16),
        dimension_names=["c", "z", "y", "x"],
    )
    check_crops(open_volume(tmp_path / "a.zarr"), array)
    zarr.create_array(tmp_path / "b.zarr", data=array, chunks=(1, 16, 16, 16))
    with pytest.raises(InputError, match="4 axes"):
        open_volume(tmp_path / "b.zarr")
    assert open_volume(tmp_path / "b.zarr", axes="tzyx").num_times == 2


@pytest.mark.parametrize("axes", ["angle", "q", ""])
def test_unknown_axes_are_named(tmp_path: Path, zyx: np.ndarray, axes: str) -> None:
    entry = {
        "axes": [{"name": axes}, *AXES],
        "datasets": datasets([{"type": "scale", "scale": [1, 2, 1, 1]}]),
    }
    path = write_store(tmp_path / "a.zarr", [np.stack([zyx, zyx])], entry, "0.5")
    with pytest.raises(InputError, match=rf"a\.zarr: unknown axis '{axes}'"):
        open_volume(path)
    volume = open_volume(path, axes="czyx")
    assert volume.num_channels == 2
    assert volume.voxel_size_um == (2, 1, 1)


@pytest.fixture
def store(tmp_path: Path, zyx: np.ndarray) -> Path:
    entry = {"axes": AXES, "datasets": datasets([{"type": "scale", "scale": [2, 1, 1]}])}
    return write_store(tmp_path / "a.zarr", [zyx], entry, "0.5")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "zarr.json").unlink(), "missing or damaged Zarr metadata"),
        (lambda path: (path / "zarr.json").write_text('{"attr'), "damaged Zarr metadata"),
        (lambda path: (path / "0" / "zarr.json").unlink(), "no zarr.json"),
        (lambda path: (path / "0" / "zarr.json").write_text("{}"), "expected an array"),
        (lambda path: shutil.rmtree(path / "0" / "c"), "no chunk of its data"),
        (lambda path: shutil.rmtree(path / "0"), "no zarr.json"),
    ],
)
def test_missing_metadata_and_data_are_one_clear_line(store: Path, damage, message: str) -> None:
    damage(store)
    with pytest.raises(InputError, match=rf"a\.zarr.*{message}") as caught:
        open_volume(store)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"datasets": []},
        {"datasets": [{"coordinateTransformations": []}]},
        {"axes": AXES[:2]},
        {"datasets": datasets([{"type": "scale", "scale": [2, 1]}])},
    ],
)
def test_damaged_multiscales_are_one_clear_line(store: Path, change: dict[str, Any]) -> None:
    document = json.loads((store / "zarr.json").read_text())
    document["attributes"]["ome"]["multiscales"][0].update(change)
    (store / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"a\.zarr: ") as caught:
        open_volume(store)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "layout", ["blosc", "zstd", "gzip", "uncompressed", "sharded", "v2 filter"]
)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_chunks_cut_short_are_found(
    tmp_path: Path, zyx: np.ndarray, layout: str, share: float
) -> None:
    path = tmp_path / "a.zarr"
    options = {"chunks": (16, 16, 16), **LAYOUTS[layout]}
    array = zarr.create_array(path, shape=zyx.shape, dtype=zyx.dtype, **options)
    array[...] = zyx
    files = [f for f in path.rglob("*") if f.is_file() and not f.name.startswith((".z", "zarr"))]
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"a\.zarr"):
        open_volume(path).read()


def test_missing_chunks_are_counted_and_read_as_fill(store: Path, zyx: np.ndarray) -> None:
    assert missing_chunks(open_volume(store)) == [(0, 24)]
    (store / "0" / "c" / "0" / "0" / "0").unlink()
    volume = open_volume(store)
    assert missing_chunks(volume) == [(1, 24)]
    assert not volume.read((0, 0, 0), (16, 16, 16)).any()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_no_permission_is_said(store: Path) -> None:
    store.chmod(0)
    try:
        with pytest.raises(InputError, match="no permission"):
            open_volume(store)
    finally:
        store.chmod(0o755)


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_an_ome_store_without_its_metadata_is_refused(tmp_path: Path, zyx, ngff: str) -> None:
    from luxvox.data.save import save_volume

    path = save_volume(zyx, tmp_path / "a.ome.zarr", voxel_size_um=(2.0, 1.0, 1.0), ngff=ngff)
    if ngff == "0.4":
        (path / ".zattrs").unlink()
    else:
        group = json.loads((path / "zarr.json").read_text())
        (path / "zarr.json").write_text(json.dumps(group | {"attributes": {}}))
    with pytest.raises(InputError, match=r"a\.ome\.zarr: .*'multiscales'"):
        open_volume(path)


def test_a_store_that_goes_away_is_no_volume_of_fill_values(tmp_path: Path, zyx) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=zyx.shape, chunks=(8, 8, 8), dtype="u2")
    array[:] = zyx
    volume = open_volume(tmp_path / "a.zarr")
    shutil.rmtree(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"a\.zarr: the array is gone"):
        volume.read()
