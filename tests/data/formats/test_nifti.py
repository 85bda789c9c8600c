from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.data.formats import nifti
from luxvox.data.formats.cache import ByteCache
from luxvox.data.open import open_volume


def write(
    path: Path,
    array: np.ndarray,
    zooms: tuple[float, ...] = (1.0, 1.0, 1.0),
    unit: str = "unknown",
    affine: np.ndarray | None = None,
    slope: tuple[float, float] | None = None,
) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_zooms((*zooms, *[1.0] * (array.ndim - 3)))
    image.header.set_xyzt_units(unit)
    if slope is not None:
        image.header.set_slope_inter(*slope)
    nibabel.save(image, path)
    return path


@pytest.fixture
def xyz() -> np.ndarray:
    """An array (x, y, z) of unequal sides, all voxels different."""
    return np.arange(5 * 7 * 11, dtype=np.uint16).reshape(5, 7, 11)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_xyz_is_turned_to_zyx(tmp_path: Path, xyz: np.ndarray, name: str) -> None:
    volume = open_volume(write(tmp_path / name, xyz, (0.5, 0.4, 2.0), "micron"))
    assert volume.shape == (11, 7, 5)
    assert volume.voxel_size_um == pytest.approx((2.0, 0.4, 0.5))
    np.testing.assert_array_equal(volume.read()[0], xyz.transpose(2, 1, 0))
    crop = volume.read((3, 2, 1), (4, 3, 2))
    np.testing.assert_array_equal(crop[0], xyz.transpose(2, 1, 0)[3:7, 2:5, 1:3])
    assert crop.flags.c_contiguous
    assert crop.flags.writeable


def test_axes_say_how_the_array_lies_in_the_file(tmp_path: Path, xyz: np.ndarray) -> None:
    volume = open_volume(write(tmp_path / "a.nii", xyz, (6, 2, 1), "micron"), axes="zyx")
    assert volume.voxel_size_um == (6, 2, 1)
    np.testing.assert_array_equal(volume.read()[0], xyz)


@pytest.mark.parametrize(
    ("unit", "zooms", "expected"),
    [
        ("unknown", (1.0, 1.0, 1.0), None),  # a header that nobody filled in
        ("unknown", (0.0018, 0.0018, 0.002), (2.0, 1.8, 1.8)),  # mm is NIfTI's default
        ("mm", (0.0018, 0.0018, 0.002), (2.0, 1.8, 1.8)),
        ("micron", (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
        ("meter", (1e-6, 1e-6, 2e-6), (2.0, 1.0, 1.0)),
    ],
)
def test_units_of_the_header(tmp_path: Path, xyz, unit, zooms, expected) -> None:
    volume = open_volume(write(tmp_path / "a.nii.gz", xyz, zooms, unit))
    assert volume.voxel_size_um == expected  # to the digit: 1.8, not 1.79999997
    stated = unit != "unknown" or expected is None
    assert any("mm" in note for note in volume.notes) != stated


def test_sform_wins_over_pixdim_unless_it_was_never_set(tmp_path: Path, xyz) -> None:
    affine = np.diag([0.3, 0.4, 0.5, 1.0])
    image = nibabel.Nifti1Image(xyz, affine)
    image.header.set_xyzt_units("micron")
    image.header["pixdim"][1:4] = (9, 9, 9)
    nibabel.save(image, tmp_path / "sform.nii")
    volume = open_volume(tmp_path / "sform.nii")
    assert volume.voxel_size_um == pytest.approx((0.5, 0.4, 0.3))
    # nibabel users write sizes into the header and leave an identity affine behind.
    path = write(tmp_path / "eye.nii", xyz, (0.3, 0.4, 0.5), "micron", affine=np.eye(4))
    volume = open_volume(path)
    assert volume.voxel_size_um == pytest.approx((0.5, 0.4, 0.3))
    assert any("disagree" in note for note in volume.notes)


def test_trailing_single_axes_are_dropped_and_time_is_kept(tmp_path: Path) -> None:
    single = np.random.default_rng(0).integers(0, 9, (4, 5, 6, 1)).astype(np.uint8)
    assert open_volume(write(tmp_path / "a.nii", single)).num_times == 1
    series = np.random.default_rng(0).integers(0, 9, (4, 5, 6, 3)).astype(np.uint8)
    volume = open_volume(write(tmp_path / "b.nii", series), time=2)
    assert volume.num_times == 3
    np.testing.assert_array_equal(volume.read()[0], series[..., 2].T)


def test_scaled_intensities_come_out_scaled(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    path = write(tmp_path / "a.nii", array.astype(np.float64) * 0.5 + 3, slope=(0.5, 3.0))
    raw = nibabel.load(path)
    volume = open_volume(path)
    np.testing.assert_allclose(volume.read()[0], np.asarray(raw.dataobj).T, rtol=1e-6)


def test_a_gzip_is_decoded_once(tmp_path: Path, xyz, monkeypatch) -> None:
    volume = open_volume(write(tmp_path / "a.nii.gz", xyz))
    calls = []
    decode = nifti._fast_gunzip
    monkeypatch.setattr(nifti, "_fast_gunzip", lambda *a: calls.append(1) or decode(*a))
    for z in range(5):
        volume.read((z, 0, 0), (2, 2, 2))
    pickle.loads(pickle.dumps(volume)).read((0, 0, 0), (1, 1, 1))
    assert len(calls) == 1


def test_a_gzip_larger_than_the_cache_is_still_read(tmp_path: Path, xyz, monkeypatch) -> None:
    path = write(tmp_path / "a.nii.gz", xyz)
    monkeypatch.setattr(nifti, "decoded_cache", lambda: ByteCache(10))
    volume = open_volume(path)
    assert any("convert" in note for note in volume.notes)
    crop = volume.read((3, 2, 1), (4, 3, 2))[0]
    np.testing.assert_array_equal(crop, xyz.transpose(2, 1, 0)[3:7, 2:5, 1:3])


def test_a_gzip_of_several_members_is_read(tmp_path: Path, xyz) -> None:
    plain = write(tmp_path / "a.nii", xyz).read_bytes()
    half = len(plain) // 2
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(plain[:half]) + gzip.compress(plain[half:]))
    np.testing.assert_array_equal(open_volume(path).read()[0], xyz.T)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_cut_short_is_one_clear_line(tmp_path: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 2**16, (20, 20, 20)).astype(np.uint16)
    path = write(tmp_path / name, noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=name) as caught:
        open_volume(path).read()
    assert "\n" not in str(caught.value)


def test_a_damaged_gzip_is_one_clear_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2**16, (20, 20, 20)).astype(np.uint16)
    path = write(tmp_path / "a.nii.gz", noise)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.nii\.gz: truncated or corrupt"):
        open_volume(path).read()


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1)])
def test_a_2d_image_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), None), tmp_path / "a.nii")
    with pytest.raises(InputError, match="2D image"):
        open_volume(tmp_path / "a.nii")


def test_no_nifti_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"this is no image")
    with pytest.raises(InputError, match=r"a\.nii: cannot be read as NIfTI"):
        open_volume(tmp_path / "a.nii")


def test_a_damaged_header_is_said_once(tmp_path: Path, xyz, capfd) -> None:
    path = write(tmp_path / "a.nii", xyz)
    content = bytearray(path.read_bytes())
    content[70:72] = b"\xff\x7f"  # the number type
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.nii: cannot be read as NIfTI"):
        open_volume(path)
    assert capfd.readouterr().err == ""  # nibabel prints its own view of it
