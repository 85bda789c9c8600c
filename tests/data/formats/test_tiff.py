from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from luxvox.configs.errors import InputError
from luxvox.data.formats import cache as cache_module
from luxvox.data.formats.cache import ByteCache
from luxvox.data.open import open_volume
from luxvox.data.volume import Volume


@pytest.fixture
def zyx() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**16, (9, 40, 33)).astype(np.uint16)


def check_crops(volume: Volume, array: np.ndarray) -> None:
    """Random boxes equal what numpy cuts from [C, Z, Y, X]."""
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(volume.read(), array)
    for _ in range(20):
        start = [int(rng.integers(0, size)) for size in array.shape[1:]]
        stop = [
            int(rng.integers(a + 1, s + 1)) for a, s in zip(start, array.shape[1:], strict=True)
        ]
        shape = [b - a for a, b in zip(start, stop, strict=True)]
        expected = array[:, start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]]
        crop = volume.read(start, shape)
        assert crop.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(crop, expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib"},
        {"compression": "lzw", "rowsperstrip": 7},
        {"compression": "zstd", "predictor": True, "rowsperstrip": 16},
        {"compression": "zlib", "tile": (16, 16)},
        {"tile": (16, 32)},
        {"bigtiff": True, "compression": "zlib"},
        {"metadata": None, "rowsperstrip": 8},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
    ],
    ids=str,
)
def test_every_layout_gives_the_same_crops(tmp_path: Path, zyx: np.ndarray, options) -> None:
    tifffile.imwrite(tmp_path / "a.tif", zyx, **{"metadata": {"axes": "ZYX"}, **options})
    volume = open_volume(tmp_path / "a.tif")
    assert volume.shape == zyx.shape
    check_crops(volume, zyx[None])
    check_crops(pickle.loads(pickle.dumps(volume)), zyx[None])


def test_a_crop_of_an_uncompressed_file_does_not_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, shape=(512, 1024, 1024), dtype=np.uint8, metadata={"axes": "ZYX"})
    code = f"""
import os
from luxvox.data.open import open_volume
volume = open_volume({str(path)!r})
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
assert volume.read((200, 300, 300), (32, 32, 32)).shape == (1, 32, 32, 32)
print(resident() - before)
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc on this system")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 64 * 2**20  # of the 512 MiB of the file


def test_a_compressed_strip_is_decoded_once_and_only_where_touched(
    tmp_path: Path, zyx: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", zyx, compression="zlib", rowsperstrip=10)
    monkeypatch.setattr(cache_module, "_cache", ByteCache(2**20))
    volume = open_volume(tmp_path / "a.tif")
    decoded = []
    decode = tifffile.TiffPage.decode
    patched = property(
        lambda page: lambda *a, **k: decoded.append(a[1]) or decode.func(page)(*a, **k)
    )
    monkeypatch.setattr(tifffile.TiffPage, "decode", patched)
    volume.read((2, 12, 0), (3, 5, 5))  # three planes, the second strip of each
    assert decoded == [1, 1, 1]
    volume.read((2, 11, 3), (3, 9, 9))
    assert len(decoded) == 3


def test_ome_tiff_gives_axes_sizes_and_channel_names(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 99, (2, 3, 4, 20, 30)).astype(np.uint16)
    metadata = {
        "axes": "TCZYX",
        "PhysicalSizeX": 250.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.25,
        "PhysicalSizeZ": 0.002,
        "PhysicalSizeZUnit": "mm",
        "Channel": {"Name": ["DAPI", "GFP", "far red"]},
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", array, metadata=metadata)
    volume = open_volume(tmp_path / "a.ome.tif", time=1)
    assert volume.format == "ome-tiff"
    assert volume.voxel_size_um == pytest.approx((2.0, 0.25, 0.25))
    assert volume.channel_names == ("DAPI", "GFP", "far red")
    assert volume.num_times == 2
    check_crops(volume, array[1])
    for channel in ("gfp", 1, "1"):
        one = open_volume(tmp_path / "a.ome.tif", channel=channel)
        assert one.channel_names == ("GFP",)
        check_crops(one, array[0, 1:2])
    np.testing.assert_array_equal(volume.read(channels=["far red", "DAPI"]), array[1][[2, 0]])


def test_pyramids_in_ome_tiff_are_levels(tmp_path: Path) -> None:
    fine = np.random.default_rng(0).integers(0, 99, (6, 64, 64)).astype(np.uint16)
    coarse = fine[:, ::2, ::2].copy()
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        sizes = {f"PhysicalSize{axis}": 0.5 for axis in "ZYX"}
        options = {"tile": (32, 32), "compression": "zlib"}
        file.write(fine, subifds=1, metadata={"axes": "ZYX", **sizes}, **options)
        file.write(coarse, subfiletype=1, **options)
    volume = open_volume(tmp_path / "a.ome.tif")
    assert [level.shape for level in volume.levels] == [(6, 64, 64), (6, 32, 32)]
    assert volume.levels[1].voxel_size_um == (0.5, 1.0, 1.0)
    np.testing.assert_array_equal(volume.read(level=1)[0], coarse)


@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m", "microns"])
def test_imagej_spacing_and_unit(tmp_path: Path, zyx: np.ndarray, unit: str) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        zyx,
        imagej=True,
        resolution=(1 / 0.25, 1 / 0.5),
        metadata={"axes": "ZYX", "spacing": 3.0, "unit": unit},
    )
    volume = open_volume(tmp_path / "a.tif")
    assert volume.format == "imagej tiff"
    assert volume.voxel_size_um == pytest.approx((3.0, 0.5, 0.25))


@pytest.mark.parametrize(
    "metadata", [{"unit": "pixel", "spacing": 3.0}, {"spacing": 3.0}, {"unit": "um"}]
)
def test_imagej_without_unit_or_spacing_is_unknown(tmp_path: Path, zyx, metadata) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        zyx,
        imagej=True,
        resolution=(4, 4),
        metadata={"axes": "ZYX", **metadata},
    )
    assert open_volume(tmp_path / "a.tif").voxel_size_um is None


def test_a_printers_resolution_is_no_voxel_size(tmp_path: Path, zyx: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", zyx, resolution=(72, 72), resolutionunit="inch")
    volume = open_volume(tmp_path / "a.tif")
    assert volume.voxel_size_um is None
    given = open_volume(tmp_path / "a.tif", voxel_size_um=(6, 1.62, 1.62))
    assert given.voxel_size_um == (6, 1.62, 1.62)


def test_colour_samples_are_channels(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (5, 20, 30, 3)).astype(np.uint8)
    for name, options in {"a.tif": {}, "b.tif": {"compression": "zlib"}}.items():
        tifffile.imwrite(tmp_path / name, colour, photometric="rgb", **options)
        check_crops(open_volume(tmp_path / name), colour.transpose(3, 0, 1, 2))


def test_axes_override_what_the_file_says(tmp_path: Path, zyx: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", zyx, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(InputError, match=r"2D image.*axes"):
        open_volume(tmp_path / "a.tif")
    check_crops(open_volume(tmp_path / "a.tif", axes="zyx"), zyx[None])
    turned = open_volume(tmp_path / "a.tif", axes="xyz")
    check_crops(turned, zyx.transpose(2, 1, 0)[None])


def test_spacing_stays_with_the_pages_whatever_they_are_called(tmp_path: Path, zyx) -> None:
    metadata = {"spacing": 3.0, "unit": "um"}
    options = {"imagej": True, "resolution": (1 / 0.25, 1 / 0.5)}
    tifffile.imwrite(tmp_path / "a.tif", zyx, metadata={"axes": "ZYX", **metadata}, **options)
    turned = open_volume(tmp_path / "a.tif", axes="xyz")
    assert turned.voxel_size_um == pytest.approx((0.25, 0.5, 3.0))
    tifffile.imwrite(tmp_path / "b.tif", zyx, metadata={"axes": "TYX", **metadata}, **options)
    pages = open_volume(tmp_path / "b.tif", axes="zyx")
    assert pages.voxel_size_um == pytest.approx((3.0, 0.5, 0.25))


@pytest.mark.parametrize("axes", ["zy", "zyq", "zzx", "tcyx", "czyx"])
def test_axes_that_cannot_be_are_refused(tmp_path: Path, zyx: np.ndarray, axes: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", zyx)
    with pytest.raises(InputError, match=r"a\.tif.*axes|axes"):
        open_volume(tmp_path / "a.tif", axes=axes)


def test_slices_are_sorted_by_number(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 99, (12, 20, 30)).astype(np.uint16)
    for z, plane in enumerate(stack):
        compression = "zlib" if z % 2 else None
        tifffile.imwrite(tmp_path / f"slice_{z}.tif", plane, compression=compression)
    (tmp_path / "notes.txt").write_text("not a slice")
    volume = open_volume(tmp_path)
    assert volume.format == "tiff slices"
    check_crops(pickle.loads(pickle.dumps(volume)), stack[None])


def test_slices_of_several_sizes_are_refused_by_name(tmp_path: Path) -> None:
    for z, side in enumerate((20, 20, 21)):
        tifffile.imwrite(tmp_path / f"slice_{z}.tif", np.zeros((side, 20), np.uint8))
    with pytest.raises(InputError, match=r"slice_2\.tif: .*21.*slice_0\.tif"):
        open_volume(tmp_path)


def test_a_folder_of_stacks_is_refused(tmp_path: Path, zyx: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", zyx)
    tifffile.imwrite(tmp_path / "b.tif", zyx)
    with pytest.raises(InputError, match="expected 2D slices"):
        open_volume(tmp_path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95, 0.999])
@pytest.mark.parametrize("kind", ["plain", "zlib", "imagej", "ome", "pages", "slices"])
def test_a_file_cut_short_is_never_a_smaller_volume(
    tmp_path: Path, zyx: np.ndarray, kind: str, share: float
) -> None:
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    if kind == "pages":
        with tifffile.TiffWriter(path) as file:
            for plane in zyx:
                file.write(plane, contiguous=False, metadata=None, compression="zlib")
    elif kind == "slices":
        path = tmp_path / "stack" / "9.tif"
        path.parent.mkdir()
        tifffile.imwrite(path.parent / "1.tif", zyx[0])
        tifffile.imwrite(path, zyx[1])
    else:
        options = {"zlib": {"compression": "zlib"}, "imagej": {"imagej": True}}
        tifffile.imwrite(path, zyx, metadata={"axes": "ZYX"}, **options.get(kind, {}))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=path.name) as caught:
        open_volume(path.parent if kind == "slices" else path)
    assert "\n" not in str(caught.value)
    assert "2D image" not in str(caught.value)


def test_a_damaged_strip_is_found_when_it_is_read(tmp_path: Path, zyx: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, zyx, compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[5].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + 20] = bytes(20)
    path.write_bytes(data)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.read((0, 0, 0), (5, 40, 33))[0], zyx[:5])
    with pytest.raises(InputError, match=r"a\.tif: truncated or corrupt"):
        volume.read()


def test_a_2d_image_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30), np.uint8))
    with pytest.raises(InputError, match=r"a\.tif: a 2D image, expected a volume"):
        open_volume(tmp_path / "a.tif")


def test_no_tiff_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"this is no image at all, only text")
    with pytest.raises(InputError, match=r"a\.tif: cannot be read as TIFF"):
        open_volume(tmp_path / "a.tif")


def test_real_files_agree_with_tifffile(shared_data: Path) -> None:
    for name in (
        "pretrain/bdp2_microglia/volume_T001.tif",
        "pretrain/flybrain_confocal/flybrain.tif",
        "focus/neubias_small_stacks/xyz_8bit__chromosomes.tif",
        "pretrain/cellseg3d_nuclei/test_very_small.tif",
    ):
        check_crops(open_volume(shared_data / name), tifffile.imread(shared_data / name)[None])
    chromosomes = open_volume(shared_data / "focus/neubias_small_stacks/xyz_8bit__chromosomes.tif")
    assert chromosomes.voxel_size_um == pytest.approx((0.15, 0.033854, 0.033854), rel=1e-4)


@pytest.mark.parametrize("content", [b"II*", b"II*\0\0\0\0\0", b"II*\0\x08\0\0\0\x01"])
def test_a_file_of_a_few_bytes_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tif: .*fetch the file again") as caught:
        open_volume(tmp_path / "a.tif")
    assert "\n" not in str(caught.value)


def test_broken_ome_xml_is_one_clear_line(tmp_path: Path, zyx: np.ndarray) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, zyx, ome=True, metadata={"axes": "ZYX"})
    path.write_bytes(path.read_bytes().replace(b"<Pixels", b"<Pix&ls"))
    with pytest.raises(InputError, match=r"a\.ome\.tif: cannot be read as TIFF"):
        open_volume(path)


@pytest.mark.parametrize(
    ("numbers", "noted"), [([0, 1, 2, 4], True), ([0, 5, 10, 15], False), ([7, 8, 9, 10], False)]
)
def test_a_slice_that_is_missing_is_noted(tmp_path: Path, numbers: list[int], noted: bool) -> None:
    for number in numbers:
        tifffile.imwrite(tmp_path / f"s_{number:03}.tif", np.zeros((8, 9), np.uint8))
    notes = open_volume(tmp_path).notes
    assert any("s_004.tif follows s_002.tif" in note for note in notes) is noted


def test_three_planes_that_were_taken_for_colours_are_read_as_planes(tmp_path):
    """tifffile writes three pages as the colours of one, as it once did by default."""
    planes = np.random.default_rng(0).integers(0, 999, (3, 20, 24), np.uint16)
    path = tmp_path / "planes.tif"
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    volume = open_volume(path, axes="zyx")
    assert volume.levels[0].shape == (3, 20, 24)
    assert len(volume.levels[0].chunks) == 3
    np.testing.assert_array_equal(volume.read()[0], planes)
